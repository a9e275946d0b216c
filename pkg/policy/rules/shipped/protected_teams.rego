# METADATA
# scope: package
# title: Teams whose every change needs approval
package nthlayer.rules.protected_teams

import data.nthlayer.lib

violation contains {"verdict": "require_approval", "reason": reason} if {
	pattern := lib.match(data.nthlayer.params.protected_teams.teams, input.team.id)
	reason := sprintf("the team is protected (%s): each change to it needs approval", [pattern])
}
