# METADATA
# scope: package
# title: Teams whose every change needs approval
# description: The approval is that of so many people as the parameter approvals says; where it does not, of the usual ones.
package nthlayer.rules.protected_teams

import data.nthlayer.lib

params := data.nthlayer.params.protected_teams

default by := {}

by := {"count": params.approvals}

violation contains {"verdict": "require_approval", "reason": reason, "by": by} if {
	pattern := lib.match(params.teams, input.team.id)
	reason := sprintf("the team is protected (%s): each change to it needs approval", [pattern])
}
