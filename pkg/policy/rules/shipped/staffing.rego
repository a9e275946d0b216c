# METADATA
# scope: package
# title: Who a team keeps at least
# description: >-
#   A plan that leaves a team with fewer members, managers or people to page than its tier asks for needs approval, where it
#   lowers their number or creates the team. A plan that makes a team no smaller is never held up: it may be a step towards
#   what the tier asks for. The tier is the first one of which the source names a group; "default" is for all other teams.
package nthlayer.rules.staffing

import data.nthlayer.lib

params := data.nthlayer.params.staffing

# Whoever is not an observer may be paged.
staff(count) := {
	"members": count.members,
	"managers": count.managers,
	"responders": count.managers + count.responders,
}

before := staff(input.before.count)

after := staff(input.after.count)

violation contains {"verdict": "require_approval", "reason": reason, "by": lib.by} if {
	some what, least in params.tiers[lib.tier].at_least
	after[what] < least
	after[what] < before[what]
	reason := sprintf("the plan would leave the team %d %s of %d; teams of tier %s keep at least %d", [after[what], what, before[what], lib.tier, least])
}

violation contains {"verdict": "require_approval", "reason": reason, "by": lib.by} if {
	input.plan.count.create_team > 0
	some what, least in params.tiers[lib.tier].at_least
	after[what] < least
	reason := sprintf("the plan would create the team with %d %s; teams of tier %s have at least %d", [after[what], what, lib.tier, least])
}
