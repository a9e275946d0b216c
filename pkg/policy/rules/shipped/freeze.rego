# METADATA
# scope: package
# title: Times in which nothing is changed
# description: >-
#   While a freeze window lasts, plans for the teams that it is for are refused, and nobody may approve them. Whoever holds one
#   of the roles that may override it can ask for the run with a reason to do so; the decision says who did.
package nthlayer.rules.freeze

import data.nthlayer.lib

params := data.nthlayer.params.freeze

lasting contains freeze if {
	some freeze in input.freezes
	lib.covers(params.windows[freeze.name])
}

roles(name) := object.get(params.windows[name], "override_roles", params.override_roles)

overriding(name) := [role |
	input.request.override_freeze != ""
	some role in input.request.roles
	role in roles(name)
]

violation contains {"verdict": "deny", "reason": reason} if {
	some freeze in lasting
	count(overriding(freeze.name)) == 0
	reason := sprintf("changes are frozen until %s (%s); of the roles %s somebody may override this with a reason", [freeze.until, freeze.name, concat(", ", roles(freeze.name))])
}

violation contains {"verdict": "allow", "reason": reason} if {
	some freeze in lasting
	with_role := overriding(freeze.name)[0]
	reason := sprintf("the freeze %s until %s is overridden by %s (%s): %s", [freeze.name, freeze.until, input.request.by, with_role, input.request.override_freeze])
}
