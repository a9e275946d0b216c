# METADATA
# scope: package
# title: How many may leave in one run
# description: >-
#   More than a share of the members needs approval; a small team may always lose a few. More than max_count are refused.
package nthlayer.rules.removals

params := data.nthlayer.params.removals

leaving := input.plan.count.remove_member

members := input.before.count.members

allowed := max([params.floor, floor(params.share * members)])

violation contains {"verdict": "require_approval", "reason": reason} if {
	leaving > allowed
	reason := sprintf("the plan would remove %d of %d members, more than the %d that may leave in one run without approval", [leaving, members, allowed])
}

violation contains {"verdict": "deny", "reason": reason} if {
	params.max_count > 0
	leaving > params.max_count
	reason := sprintf("the plan would remove %d members, more than the %d that may leave in one run at all", [leaving, params.max_count])
}
