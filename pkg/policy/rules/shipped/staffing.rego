# METADATA
# scope: package
# title: Who a team keeps at least
# description: >-
#   A plan that leaves a team with fewer members, managers or people to page than its tier asks for needs approval. A plan
#   that makes a team no smaller is never held up: it may be a step towards what the tier asks for. The tier is the first
#   one of which the source names a group; "default" is for all other teams.
package nthlayer.rules.staffing

import data.nthlayer.lib

params := data.nthlayer.params.staffing

tiers := [name | some name, tier in params.tiers; some group in input.team.groups; lib.match(tier.groups, group)]

tier := tiers[0] if count(tiers) > 0

else := "default"

# Whoever is not an observer may be paged.
counts(team) := {
	"members": team.count.members,
	"managers": team.count.managers,
	"responders": team.count.managers + team.count.responders,
}

before := counts(input.before)

after := counts(input.after)

violation contains {"verdict": "require_approval", "reason": reason} if {
	some what, least in params.tiers[tier].at_least
	after[what] < least
	after[what] < before[what]
	reason := sprintf("the plan would leave the team %d %s of %d; teams of tier %s keep at least %d", [after[what], what, before[what], tier, least])
}
