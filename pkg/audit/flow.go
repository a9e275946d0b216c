package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/flow"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// Source is asked for teams of which the catalogue gave no members.
type Source interface {
	Team(ctx context.Context, teamID string) (ownership.Desired, error)
}

// Target reads the target. Each answer is whole or an error.
type Target interface {
	Observe(ctx context.Context, targetID string) (ownership.Observed, error)
	Members(ctx context.Context, targetID string) ([]ownership.ObservedMember, error)
	FindTeams(ctx context.Context, name string) ([]ownership.TeamRef, error)
	FindUsers(ctx context.Context, emails []string) ([]ownership.User, error)
}

// Subject is a team of the fleet's snapshot, with what is known of the target teams that it may stand for.
type Subject struct {
	Desired ownership.Desired // Members is nil where the snapshot does not tell them
	Link    string            // the target team it is linked to; empty: none
	Targets []Known           // the linked one, the declared one, those of its name; as far as the target lists them
	// Listed says that the target's list of teams is whole: what is not in it does not exist.
	Listed bool
	// Ignores are the ignore rules that are in force for the team.
	Ignores []ownership.IgnoreRule
}

// Known is what is known of a target team without reading it.
type Known struct {
	ID, Name, Description string
	LinkedTo              string // the team of the source that it is linked to; empty: none
	Members               []ownership.ObservedMember
	Trusted               bool // nothing has changed them since, as far as the target's records tell
	Fresh                 bool // they need not be read
	Rotation              ownership.Rotation
}

// Flow runs team.audit. It is safe for concurrent use.
type Flow struct {
	parts Parts
	graph *flow.Graph[State]
}

// Parts are what the flow works with.
type Parts struct {
	Source      Source
	Target      Target
	Roles       ownership.RoleMap
	CreateTeams bool // a team that the target lacks is one to be created
}

// New makes a flow of its parts.
func New(parts Parts) (*Flow, error) {
	f := &Flow{parts: parts}
	graph, err := flow.New[State]("team.audit").
		Step("resolve", f.resolve).
		Step("observe", f.observe).
		Step("match", f.match).
		Step("compare", f.compare).
		Step("inspect", f.inspect).
		When("resolve", "observe", "there is a target team", func(s *State) bool { return s.target != nil }).
		When("resolve", "match", "it is to be created", func(s *State) bool { return s.target == nil && !s.lost }).
		When("resolve", "inspect", "there is nothing to compare with", func(s *State) bool { return s.lost }).
		Edge("observe", "match").
		Edge("match", "compare").
		Edge("compare", "inspect").
		Build()
	if err != nil {
		return nil, err
	}
	f.graph = graph
	return f, nil
}

// Mermaid draws team.audit.
func Mermaid() (string, error) {
	f, err := New(Parts{})
	if err != nil {
		return "", err
	}
	return f.graph.Mermaid(), nil
}

// State is what is known of a team while it is audited.
type State struct {
	Subject   Subject
	TargetID  string                     // set by resolve; empty: there is none
	Read      []ownership.ObservedMember // set by observe: members as the target gave them just now; nil: they were known
	Missed    bool                       // set by observe: they were taken for known, and are others
	Unlisted  string                     // set by observe: the target team's name, where the target's list may not have it
	Described string                     // and its description
	Plan      ownership.Plan             // set by compare, or by inspect where there was nothing to compare
	Findings  []Finding                  // set by inspect

	target   *Known
	gone     []string // target teams that are not there any more
	lost     bool
	observed ownership.Observed
	wanted   []ownership.Wanted
	issues   []ownership.Issue
}

// Audit compares one team.
func (f *Flow) Audit(ctx context.Context, subject Subject) (*State, error) {
	state := &State{Subject: subject}
	return state, f.graph.Run(ctx, state, flow.Hooks{})
}

// resolve finds the target team that the team stands for, by the rules of team.reconcile: the linked one, the one that the
// source declares, the only one of its name.
func (f *Flow) resolve(ctx context.Context, s *State) error {
	d := &s.Subject.Desired
	if d.Members == nil {
		read, err := f.parts.Source.Team(ctx, d.TeamID)
		if err != nil {
			return fmt.Errorf("read team %s from the source: %w", d.TeamID, err)
		}
		read.TargetID = d.TargetID
		*d = read
	}
	if d.Archived {
		s.lose(ownership.Archived(d.TeamID))
		return nil
	}
	return f.find(ctx, s)
}

// find picks the target team of those that are there.
func (f *Flow) find(ctx context.Context, s *State) error {
	d := &s.Subject.Desired
	if link := s.Subject.Link; link != "" && s.stand(link) {
		return nil
	}
	targetID := d.TargetID
	if targetID == "" {
		name := cmp.Or(d.Name, d.TeamID)
		named, err := f.named(ctx, s, name)
		switch {
		case err != nil:
			return err
		case len(named) > 1:
			s.lose(ownership.Ambiguous(d.TeamID, name, len(named)))
			return nil
		case len(named) == 0 && d.Name == "":
			s.lose(ownership.Nameless(d.TeamID))
			return nil
		case len(named) == 0 && !f.parts.CreateTeams:
			s.lose(ownership.Nowhere(d.TeamID, name))
			return nil
		case len(named) == 0:
			return nil
		}
		targetID = named[0]
	}
	if i := s.known(targetID); i >= 0 {
		if owner := s.Subject.Targets[i].LinkedTo; owner != "" && owner != d.TeamID {
			s.lose(ownership.Elsewhere(d.TeamID, targetID, owner))
			return nil
		}
	}
	if !s.stand(targetID) {
		s.lose(ownership.DeclaredNowhere(d.TeamID, targetID))
	}
	return nil
}

// named gives the target teams of a name.
func (f *Flow) named(ctx context.Context, s *State, name string) ([]string, error) {
	var ids []string
	for _, t := range s.Subject.Targets {
		if ownership.NormalizeName(t.Name) == ownership.NormalizeName(name) && !slices.Contains(s.gone, t.ID) {
			ids = append(ids, t.ID)
		}
	}
	if len(ids) > 0 || s.Subject.Listed {
		return ids, nil
	}
	found, err := f.parts.Target.FindTeams(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look for team %q on the target: %w", name, err)
	}
	for _, t := range found {
		if !slices.Contains(s.gone, t.ID) {
			ids = append(ids, t.ID)
		}
	}
	return ids, nil
}

func (s *State) known(targetID string) int {
	return slices.IndexFunc(s.Subject.Targets, func(t Known) bool { return t.ID == targetID })
}

// stand makes a target team the one to compare with, if there is one of that id as far as the target lists its teams.
func (s *State) stand(targetID string) bool {
	if slices.Contains(s.gone, targetID) {
		return false
	}
	if i := s.known(targetID); i >= 0 {
		s.target, s.TargetID = &s.Subject.Targets[i], targetID
		return true
	}
	if s.Subject.Listed {
		return false
	}
	s.target, s.TargetID = &Known{ID: targetID}, targetID
	return true
}

func (s *State) lose(why ownership.Issue) {
	s.lost = true
	s.issues = append(s.issues, why)
}

// observe reads the members of the target team, unless they are known well enough.
func (f *Flow) observe(ctx context.Context, s *State) error {
	t := s.target
	s.observed = ownership.Observed{TargetID: t.ID, Name: t.Name, Description: t.Description, Members: t.Members}
	if t.Fresh {
		return nil
	}
	var err error
	if s.Subject.Listed {
		s.observed.Members, err = f.parts.Target.Members(ctx, t.ID)
	} else { // its name and description may not be known, or have changed
		s.observed, err = f.parts.Target.Observe(ctx, t.ID)
		s.Unlisted, s.Described = s.observed.Name, s.observed.Description
	}
	if fault.Is(err, fault.NotFound) { // gone since it was listed: another may stand for the team, by the same rules
		s.gone = append(s.gone, t.ID)
		s.target, s.TargetID, s.observed = nil, "", ownership.Observed{}
		if err := f.find(ctx, s); err != nil || s.target == nil {
			return err
		}
		return f.observe(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("read team %s on the target: %w", t.ID, err)
	}
	s.Read = s.observed.Members
	if s.Read == nil {
		s.Read = []ownership.ObservedMember{}
	}
	s.Missed = t.Trusted && !same(t.Members, s.Read)
	return nil
}

// same reports equal memberships, whatever the order.
func same(a, b []ownership.ObservedMember) bool {
	roles := make(map[string]ownership.Role, len(a))
	for _, m := range a {
		roles[m.User.ID] = m.Role
	}
	for _, m := range b {
		if role, ok := roles[m.User.ID]; !ok || role != m.Role {
			return false
		}
	}
	return len(a) == len(b)
}

// match finds each person's account on the target.
func (f *Flow) match(ctx context.Context, s *State) error {
	if s.lost {
		return nil
	}
	found, err := f.parts.Target.FindUsers(ctx, ownership.Unmatched(s.Subject.Desired, s.observed))
	if err != nil {
		return fmt.Errorf("look people up on the target: %w", err)
	}
	s.wanted, s.issues = ownership.Match(s.Subject.Desired, s.observed, found, f.parts.Roles)
	return nil
}

// compare makes the plan that a run would make.
func (f *Flow) compare(_ context.Context, s *State) error {
	if s.lost {
		return nil
	}
	s.Plan = ownership.Diff(s.Subject.Desired, s.observed, s.wanted)
	s.Plan.Issues = s.issues
	s.Plan = s.Plan.Ignore(s.Subject.Ignores)
	var rotation ownership.Rotation
	if s.target != nil {
		rotation = s.target.Rotation
	}
	s.Plan = s.Plan.HoldRemovals(rotation)
	return nil
}
