# METADATA
# scope: package
# title: Roles that no run may grant
package nthlayer.rules.roles

violation contains {"verdict": "deny", "reason": reason} if {
	some role in data.nthlayer.params.roles.never_granted
	some change in input.plan.changes
	change.kind in {"add_member", "change_role"}
	change.after.role == role
	reason := sprintf("%s would become %s of the team; that role may not be granted here", [change.after.email, role])
}
