# METADATA
# scope: package
# title: A team is never emptied
# description: >-
#   An empty team is far more often a broken source than a wish, and its pages reach nobody. There is nothing to set here,
#   and nobody may approve it.
package nthlayer.rules.empty_team

violation contains {"verdict": "deny", "reason": reason} if {
	removals := input.plan.count.remove_member
	removals > 0
	input.after.count.members == 0
	reason := sprintf("the plan would remove all %d members of the team and leave it empty; if the team is gone, archive it in the source", [removals])
}
