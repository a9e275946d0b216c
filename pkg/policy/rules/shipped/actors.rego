# METADATA
# scope: package
# title: Who may have which teams changed
# description: >-
#   Teams may be reserved: only whoever holds one of the roles, or is one of the subjects, that an entry for the team names may
#   have it changed. Other teams may be changed by everybody who may ask for runs.
package nthlayer.rules.actors

import data.nthlayer.lib

params := data.nthlayer.params.actors

reserved contains name if {
	some name, entry in params.reserved
	lib.covers(entry)
}

listed if {
	some name in reserved
	some role in input.request.roles
	role in object.get(params.reserved[name], "roles", [])
}

listed if {
	some name in reserved
	lib.match(object.get(params.reserved[name], "subjects", []), input.request.by)
}

violation contains {"verdict": "deny", "reason": reason} if {
	count(reserved) > 0
	not listed
	reason := sprintf("%s may not have this team changed: it is reserved (%s)", [input.request.by, concat(", ", sort(reserved))])
}
