package ownership

import "fmt"

// The issues with which a team has no target team to be compared with.

// Archived says that the source has put the team away.
func Archived(teamID string) Issue {
	return lost(ArchivedTeam, teamID, "the team is archived in the source; nothing is changed on the target, take it down there by hand")
}

// Ambiguous says that several target teams have the team's name.
func Ambiguous(teamID, name string, teams int) Issue {
	return lost(AmbiguousTeam, teamID, fmt.Sprintf(
		"%d teams on the target are named %q; name one in the source's custom data pagerduty-team-id, or rename the others", teams, name))
}

// Nameless says that no target team has the team's id for a name, and that no other name is known.
func Nameless(teamID string) Issue {
	return lost(TeamNotFound, teamID, fmt.Sprintf(
		"team %s is not linked, no team on the target is named so, and the request declares no name; declare one, or reconcile once from the source", teamID))
}

// Nowhere says that no target team has the team's name, and that none may be made.
func Nowhere(teamID, name string) Issue {
	return lost(TeamNotFound, teamID, fmt.Sprintf(
		"no team on the target is named %q; create it there, name it in the source's custom data pagerduty-team-id, or allow NthLayer to create teams", name))
}

// Gone says that the team of a rollback is not on the target, or never was.
func Gone(teamID string) Issue {
	return lost(TeamNotFound, teamID, "the target has no team that is linked to this one: there is nothing to undo")
}

// DeclaredNowhere says that the source names a target team that is not there.
func DeclaredNowhere(teamID, targetID string) Issue {
	return lost(TeamNotFound, teamID, fmt.Sprintf(
		"the source names team %s, which the target does not have; correct the custom data pagerduty-team-id", targetID))
}

// Elsewhere says that the target team is another team's.
func Elsewhere(teamID, targetID, owner string) Issue {
	return lost(LinkedElsewhere, teamID, fmt.Sprintf(
		"team %s on the target belongs to %s already; name another in the source's custom data pagerduty-team-id", targetID, owner))
}

func lost(kind IssueKind, teamID, message string) Issue {
	return Issue{Kind: kind, EntityRef: "team:" + teamID, Message: message, BlocksRemovals: true}
}
