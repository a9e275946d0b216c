package audit

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// inspect says what is wrong with the team: what a run would change, what keeps it from being compared in full, and what
// should not be so although both sides agree on it.
func (f *Flow) inspect(_ context.Context, s *State) error {
	d := s.Subject.Desired
	if s.lost {
		s.Plan = ownership.Plan{TeamID: d.TeamID, TeamName: cmp.Or(d.Name, d.TeamID), Issues: s.issues, Incomparable: true}.
			Ignore(s.Subject.Ignores)
	}
	for _, c := range s.Plan.Changes {
		s.find(string(c.Kind), c.EntityRef, Describe(c), c.UserID)
	}
	for _, i := range s.Plan.Issues {
		s.find(string(i.Kind), i.EntityRef, i.Message, "")
	}
	if !s.lost && s.TargetID != "" && len(s.observed.Members) == 1 {
		who := s.observed.Members[0].User
		// It is the team's: a rule about the person does not hide it.
		single := ownership.Plan{TeamID: d.TeamID, Issues: []ownership.Issue{{Kind: SinglePersonTeam, EntityRef: "team:" + d.TeamID, Message: fmt.Sprintf(
			"%s is the only member on the target: nobody is there when this one person is not; add a second", cmp.Or(ownership.NormalizeEmail(who.Email), who.ID),
		)}}}.Ignore(s.Subject.Ignores)
		for _, i := range single.Issues {
			s.find(SinglePersonTeam, i.EntityRef, i.Message, who.ID)
		}
		s.Plan.Ignored = append(s.Plan.Ignored, single.Ignored...)
	}
	return nil
}

func (s *State) find(kind, entity, message, userID string) {
	s.Findings = append(s.Findings, Finding{
		TeamID: s.Subject.Desired.TeamID, Kind: kind, EntityRef: entity, Message: message, TargetID: s.TargetID, UserID: userID,
	})
}

// Describe says in words how the target differs where a change would mend it.
func Describe(c ownership.Change) string {
	_, who, _ := strings.Cut(c.EntityRef, ":")
	switch c.Kind {
	case ownership.AddMember:
		return fmt.Sprintf("%s is declared as %s and is not a member on the target", who, c.After.Role)
	case ownership.ChangeRole:
		return fmt.Sprintf("%s is %s on the target and is declared as %s", who, c.Before.Role, c.After.Role)
	case ownership.RemoveMember:
		return fmt.Sprintf("%s is %s on the target and is not declared", who, c.Before.Role)
	case ownership.CreateTeam:
		return fmt.Sprintf("the target has no team %q", c.After.Name)
	case ownership.UpdateTeam:
		var parts []string
		if c.After.Name != "" {
			parts = append(parts, fmt.Sprintf("is named %q on the target and is declared as %q", c.Before.Name, c.After.Name))
		}
		if c.After.Description != "" {
			parts = append(parts, "has another description on the target than is declared")
		}
		return "the team " + strings.Join(parts, ", and ")
	default:
		return "the target differs: " + string(c.Kind)
	}
}
