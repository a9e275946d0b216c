# METADATA
# scope: package
# title: How many may leave
# description: >-
#   More than a share of the members needs approval; a small team may always lose a few. More than max_count are refused. Those
#   who left in the last hours by runs that nobody approved count too: many small plans take no more away than a large one.
package nthlayer.rules.removals

import data.nthlayer.lib

params := data.nthlayer.params.removals

leaving := input.plan.count.remove_member + input.recent.removed

members := input.before.count.members + input.recent.removed

allowed := max([params.floor, floor(params.share * members)])

default already := ""

already := sprintf("; %d of them left in the last %d hours by runs that nobody approved", [input.recent.removed, input.recent.hours]) if {
	input.recent.removed > 0
}

violation contains {"verdict": "require_approval", "reason": reason, "by": lib.by} if {
	input.plan.count.remove_member > 0
	leaving > allowed
	reason := sprintf("the plan would remove %d of %d members, more than the %d that may leave without approval%s", [leaving, members, allowed, already])
}

violation contains {"verdict": "deny", "reason": reason} if {
	input.plan.count.remove_member > 0
	params.max_count > 0
	leaving > params.max_count
	reason := sprintf("the plan would remove %d members, more than the %d that may leave at all%s", [leaving, params.max_count, already])
}
