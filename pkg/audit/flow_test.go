package audit_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// platforms are both sides as a test declares them. Every question is noted.
type platforms struct {
	declared map[string]ownership.Desired
	teams    []ownership.Observed
	users    []ownership.User
	fails    error // of every question
	asked    []string
}

func (p *platforms) ask(question, about string) error {
	p.asked = append(p.asked, question+" "+about)
	return p.fails
}

func (p *platforms) Team(_ context.Context, id string) (ownership.Desired, error) {
	if err := p.ask("team", id); err != nil {
		return ownership.Desired{}, err
	}
	d, ok := p.declared[id]
	if !ok {
		return d, fault.New(fault.NotFound, "no such team", nil)
	}
	return d, nil
}

func (p *platforms) Observe(_ context.Context, id string) (ownership.Observed, error) {
	if err := p.ask("observe", id); err != nil {
		return ownership.Observed{}, err
	}
	i := slices.IndexFunc(p.teams, func(o ownership.Observed) bool { return o.TargetID == id })
	if i < 0 {
		return ownership.Observed{}, fault.New(fault.NotFound, "no such team", nil)
	}
	return p.teams[i], nil
}

func (p *platforms) Members(ctx context.Context, id string) ([]ownership.ObservedMember, error) {
	if err := p.ask("members", id); err != nil {
		return nil, err
	}
	o, err := (&platforms{teams: p.teams}).Observe(ctx, id)
	return o.Members, err
}

func (p *platforms) FindTeams(_ context.Context, name string) (found []ownership.TeamRef, err error) {
	for _, o := range p.teams {
		if ownership.NormalizeName(o.Name) == ownership.NormalizeName(name) {
			found = append(found, ownership.TeamRef{ID: o.TargetID, Name: o.Name})
		}
	}
	return found, p.ask("find", name)
}

func (p *platforms) FindUsers(_ context.Context, emails []string) (found []ownership.User, err error) {
	for _, u := range p.users {
		if slices.Contains(emails, u.Email) {
			found = append(found, u)
		}
	}
	return found, p.fails
}

func user(name string) ownership.User {
	return ownership.User{ID: "U" + name, Email: name + "@example.org", Base: ownership.BaseUser}
}

func members(names ...string) []ownership.ObservedMember {
	list := []ownership.ObservedMember{}
	for _, name := range names {
		list = append(list, ownership.ObservedMember{User: user(name), Role: ownership.Responder})
	}
	return list
}

func declares(name string, people ...string) ownership.Desired {
	d := ownership.Desired{TeamID: "t", Name: name, Members: []ownership.Member{}}
	for _, who := range people {
		d.Members = append(d.Members, ownership.Member{Email: who + "@example.org"})
	}
	return d
}

func known(id, name string, people ...string) audit.Known {
	return audit.Known{ID: id, Name: name, Members: members(people...)}
}

func there(id, name string, people ...string) ownership.Observed {
	return ownership.Observed{TargetID: id, Name: name, Members: members(people...)}
}

func newFlow(t require.TestingT, p *platforms, create bool) *audit.Flow {
	f, err := audit.New(audit.Parts{Source: p, Target: p, Roles: ownership.DefaultRoleMap(), CreateTeams: create})
	require.NoError(t, err)
	return f
}

func kinds(s *audit.State) []string {
	list := []string{}
	for _, f := range s.Findings {
		list = append(list, f.Kind)
	}
	return list
}

func TestAudit_WhichTargetTeam_AndWhatIsWrongWithIt(t *testing.T) {
	linked := func(k audit.Known, team string) audit.Known { k.LinkedTo = team; return k }
	declared := func(d ownership.Desired, target string) ownership.Desired { d.TargetID = target; return d }
	archived := declares("A")
	archived.Archived = true
	cases := map[string]struct {
		subject audit.Subject
		there   []ownership.Observed
		create  bool
		target  string // the team compared with; empty: none
		status  ownership.SyncStatus
		kinds   []string
		asked   []string
	}{
		"linked, whatever its name": {
			subject: audit.Subject{Desired: declared(declares("", "ann", "bob"), "P2"), Link: "P1", Listed: true, Targets: []audit.Known{linked(known("P1", "Other"), "t"), known("P2", "A")}},
			there:   []ownership.Observed{there("P1", "Other", "ann", "bob")},
			target:  "P1", status: ownership.InSync, kinds: []string{}, asked: []string{"members P1"},
		},
		"linked to a team that is gone: by the declared one": {
			subject: audit.Subject{Desired: declared(declares("A", "ann", "bob"), "P2"), Link: "P1", Listed: true, Targets: []audit.Known{known("P2", "A")}},
			there:   []ownership.Observed{there("P2", "A", "ann", "bob")},
			target:  "P2", status: ownership.InSync, kinds: []string{}, asked: []string{"members P2"},
		},
		"declared": {
			subject: audit.Subject{Desired: declared(declares("A", "ann", "bob"), "P2"), Listed: true, Targets: []audit.Known{known("P2", "B")}},
			there:   []ownership.Observed{there("P2", "B", "ann", "cid")},
			target:  "P2", status: ownership.OutOfSync, kinds: []string{"update_team", "add_member", "remove_member"}, asked: []string{"members P2"},
		},
		"declared, and the target has none": {
			subject: audit.Subject{Desired: declared(declares("A"), "P9"), Listed: true, Targets: []audit.Known{known("P1", "A")}}, create: true,
			status: ownership.Unknown, kinds: []string{"team_not_found"},
		},
		"by name, spelled with other blanks": {
			subject: audit.Subject{Desired: declares(" A  team", "ann", "bob"), Listed: true, Targets: []audit.Known{known("P1", "A team")}},
			there:   []ownership.Observed{there("P1", "A team", "ann", "bob")},
			target:  "P1", status: ownership.InSync, kinds: []string{}, asked: []string{"members P1"},
		},
		"without a name, by its id": {
			subject: audit.Subject{Desired: declares("", "ann", "bob"), Listed: true, Targets: []audit.Known{known("P1", "t")}},
			there:   []ownership.Observed{there("P1", "t", "ann", "bob")},
			target:  "P1", status: ownership.InSync, kinds: []string{}, asked: []string{"members P1"},
		},
		"several of its name": {
			subject: audit.Subject{Desired: declares("A"), Listed: true, Targets: []audit.Known{known("P1", "A"), known("P2", "A")}}, create: true,
			status: ownership.Unknown, kinds: []string{"ambiguous_team"},
		},
		"nameless": {
			subject: audit.Subject{Desired: declares(""), Listed: true}, create: true,
			status: ownership.Unknown, kinds: []string{"team_not_found"},
		},
		"another team's": {
			subject: audit.Subject{Desired: declares("A"), Listed: true, Targets: []audit.Known{linked(known("P1", "A"), "other")}}, create: true,
			status: ownership.Unknown, kinds: []string{"linked_elsewhere"},
		},
		"archived": {
			subject: audit.Subject{Desired: archived, Link: "P1", Listed: true, Targets: []audit.Known{known("P1", "A", "ann")}},
			status:  ownership.Unknown, kinds: []string{"team_archived"},
		},
		"nowhere, and none may be made": {
			subject: audit.Subject{Desired: declares("A", "ann"), Listed: true},
			status:  ownership.Unknown, kinds: []string{"team_not_found"},
		},
		"nowhere, to be created": {
			subject: audit.Subject{Desired: declares("A", "ann"), Listed: true}, create: true,
			status: ownership.OutOfSync, kinds: []string{"create_team", "add_member"},
		},
		"gone since it was listed, to be created": {
			subject: audit.Subject{Desired: declares("A", "ann"), Listed: true, Targets: []audit.Known{known("P1", "A")}}, create: true,
			status: ownership.OutOfSync, kinds: []string{"create_team", "add_member"}, asked: []string{"members P1"},
		},
		"gone since it was listed, and none may be made": {
			subject: audit.Subject{Desired: declares("A", "ann"), Listed: true, Targets: []audit.Known{known("P1", "A")}},
			status:  ownership.Unknown, kinds: []string{"team_not_found"}, asked: []string{"members P1"},
		},
		"gone since it was listed, and nameless": {
			subject: audit.Subject{Desired: declares("", "ann"), Link: "P1", Listed: true, Targets: []audit.Known{known("P1", "A")}}, create: true,
			status: ownership.Unknown, kinds: []string{"team_not_found"}, asked: []string{"members P1"},
		},
		"the declared one gone since it was listed": {
			subject: audit.Subject{Desired: declared(declares("A"), "P1"), Listed: true, Targets: []audit.Known{known("P1", "A")}}, create: true,
			status: ownership.Unknown, kinds: []string{"team_not_found"}, asked: []string{"members P1"},
		},
		"the linked one gone since it was listed: by name": {
			subject: audit.Subject{Desired: declares("A", "ann", "bob"), Link: "P1", Listed: true, Targets: []audit.Known{known("P1", "A"), known("P2", "A")}},
			there:   []ownership.Observed{there("P2", "A", "ann", "bob")},
			target:  "P2", status: ownership.InSync, kinds: []string{}, asked: []string{"members P1", "members P2"},
		},
		"no whole list: by name": {
			subject: audit.Subject{Desired: declares("A", "ann", "bob")},
			there:   []ownership.Observed{there("P1", "A", "ann", "bob"), there("P2", "B")},
			target:  "P1", status: ownership.InSync, kinds: []string{}, asked: []string{"find A", "observe P1"},
		},
		"no whole list: linked, and not seen yet": {
			subject: audit.Subject{Desired: declares("A", "ann", "bob"), Link: "P1"},
			there:   []ownership.Observed{there("P1", "A", "ann", "bob")},
			target:  "P1", status: ownership.InSync, kinds: []string{}, asked: []string{"observe P1"},
		},
		"no whole list: the name that is known may be an old one": {
			subject: audit.Subject{Desired: declares("A", "ann", "bob"), Link: "P1", Targets: []audit.Known{known("P1", "A", "ann", "bob")}},
			there:   []ownership.Observed{there("P1", "B", "ann", "bob")},
			target:  "P1", status: ownership.OutOfSync, kinds: []string{"update_team"}, asked: []string{"observe P1"},
		},
		"no whole list: the linked one is gone": {
			subject: audit.Subject{Desired: declares("A", "ann", "bob"), Link: "P1"},
			there:   []ownership.Observed{there("P2", "A", "ann", "bob")},
			target:  "P2", status: ownership.InSync, kinds: []string{}, asked: []string{"observe P1", "find A", "observe P2"},
		},
		"no whole list: nowhere": {
			subject: audit.Subject{Desired: declares("A")},
			status:  ownership.Unknown, kinds: []string{"team_not_found"}, asked: []string{"find A"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := &platforms{teams: c.there, users: []ownership.User{user("ann"), user("bob"), user("cid")}}
			s, err := newFlow(t, p, c.create).Audit(t.Context(), c.subject)
			require.NoError(t, err)
			require.Equal(t, c.target, s.TargetID)
			require.Equal(t, c.status, s.Plan.SyncStatus())
			require.Equal(t, c.kinds, kinds(s))
			require.Equal(t, c.asked, p.asked)
			for _, f := range s.Findings {
				require.Equal(t, "t", f.TeamID)
				require.Equal(t, c.target, f.TargetID)
				require.NotEmpty(t, f.EntityRef)
				require.NotEmpty(t, f.Message)
			}
		})
	}
}

func TestAudit_MembersAreFresh_TheTargetIsNotAsked(t *testing.T) {
	p := &platforms{fails: nil}
	fresh := known("P1", "A", "ann", "bob")
	fresh.Trusted, fresh.Fresh = true, true
	s, err := newFlow(t, p, false).Audit(t.Context(), audit.Subject{Desired: declares("A", "ann"), Listed: true, Targets: []audit.Known{fresh}})
	require.NoError(t, err)
	require.Empty(t, p.asked)
	require.Nil(t, s.Read, "nothing was read that could be remembered")
	require.Equal(t, []string{"remove_member"}, kinds(s))

	fresh.Fresh = false
	p.teams = []ownership.Observed{there("P1", "A", "ann", "bob")}
	_, err = newFlow(t, p, false).Audit(t.Context(), audit.Subject{Desired: declares("A", "ann"), Listed: true, Targets: []audit.Known{fresh}})
	require.NoError(t, err)
	require.Equal(t, []string{"members P1"}, p.asked)
}

// A team without members was read, and is not one of which nothing is known.
func TestAudit_NobodyIsThere_IsAReadThatFoundNobody(t *testing.T) {
	p := &platforms{teams: []ownership.Observed{{TargetID: "P1", Name: "A"}}}
	s, err := newFlow(t, p, false).Audit(t.Context(), audit.Subject{Desired: declares("A"), Listed: true, Targets: []audit.Known{known("P1", "A")}})
	require.NoError(t, err)
	require.NotNil(t, s.Read)
	require.Empty(t, s.Read)
}

func TestAudit_WasTakenForKnown_SaysWhetherItWasSo(t *testing.T) {
	led := members("ann", "bob")
	led[0].Role = ownership.Manager
	for name, c := range map[string]struct {
		trusted bool
		known   []ownership.ObservedMember
		missed  bool
	}{
		"as it was":           {true, members("bob", "ann"), false},
		"somebody more":       {true, members("ann"), true},
		"somebody else":       {true, members("ann", "cid"), true},
		"somebody fewer":      {true, members("ann", "bob", "cid"), true},
		"another role":        {true, led, true},
		"nothing was trusted": {false, members("cid"), false},
	} {
		t.Run(name, func(t *testing.T) {
			p := &platforms{teams: []ownership.Observed{there("P1", "A", "ann", "bob")}}
			k := audit.Known{ID: "P1", Name: "A", Members: c.known, Trusted: c.trusted}
			s, err := newFlow(t, p, false).Audit(t.Context(), audit.Subject{Desired: declares("A", "ann", "bob"), Listed: true, Targets: []audit.Known{k}})
			require.NoError(t, err)
			require.Equal(t, c.missed, s.Missed)
			require.Equal(t, ownership.InSync, s.Plan.SyncStatus(), "what was read counts, not what was known")
		})
	}
}

func TestAudit_OnePersonIsPagedForEverything_IsAFindingAlthoughBothSidesAgree(t *testing.T) {
	p := &platforms{teams: []ownership.Observed{there("P1", "A", "ann")}}
	s, err := newFlow(t, p, false).Audit(t.Context(), audit.Subject{Desired: declares("A", "ann"), Listed: true, Targets: []audit.Known{known("P1", "A")}})
	require.NoError(t, err)
	require.Equal(t, ownership.InSync, s.Plan.SyncStatus())
	require.Equal(t, []string{audit.SinglePersonTeam}, kinds(s))
	require.Equal(t, "Uann", s.Findings[0].UserID)
	require.Equal(t, audit.Structure, audit.CategoryOf(s.Findings[0].Kind))
}

// What a rule hides is no finding, and is told as hidden; a rule about a person does not hide what is the team's.
func TestAudit_IgnoreRules_HideFindings(t *testing.T) {
	person := ownership.IgnoreRule{ID: "1", Kind: ownership.IgnorePerson, Value: "ann@example.org"}
	team := ownership.IgnoreRule{ID: "2", Kind: ownership.IgnoreTeam, Value: "t"}
	drifted := audit.Subject{Desired: declares("A", "ben"), Listed: true, Targets: []audit.Known{known("P1", "A")}}
	nowhere := audit.Subject{Desired: declares("B", "ben"), Listed: true}
	for name, c := range map[string]struct {
		subject audit.Subject
		rules   []ownership.IgnoreRule
		kinds   []string
		ignored []string
		status  ownership.SyncStatus
	}{
		"no rule":               {drifted, nil, []string{"add_member", "remove_member", audit.SinglePersonTeam}, nil, ownership.OutOfSync},
		"one about the person":  {drifted, []ownership.IgnoreRule{person}, []string{"add_member", audit.SinglePersonTeam}, []string{"remove_member"}, ownership.OutOfSync},
		"one about the team":    {drifted, []ownership.IgnoreRule{team}, []string{}, []string{"add_member", "remove_member", audit.SinglePersonTeam}, ownership.InSync},
		"no team, and no rule":  {nowhere, nil, []string{"team_not_found"}, nil, ownership.Unknown},
		"no team, and one rule": {nowhere, []ownership.IgnoreRule{team}, []string{}, []string{"team_not_found"}, ownership.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			p := &platforms{teams: []ownership.Observed{there("P1", "A", "ann")}, users: []ownership.User{user("ben")}}
			c.subject.Ignores = c.rules
			s, err := newFlow(t, p, false).Audit(t.Context(), c.subject)
			require.NoError(t, err)
			require.Equal(t, c.kinds, kinds(s))
			var ignored []string
			for _, i := range s.Plan.Ignored {
				ignored = append(ignored, i.Kind())
			}
			require.Equal(t, c.ignored, ignored)
			require.Equal(t, c.status, s.Plan.SyncStatus())
		})
	}
}

func TestAudit_SnapshotHasNoMembers_TheSourceIsAsked(t *testing.T) {
	p := &platforms{
		declared: map[string]ownership.Desired{"t": declares("A", "ann", "bob")},
		teams:    []ownership.Observed{there("P7", "B", "ann")}, users: []ownership.User{user("bob")},
	}
	bare := ownership.Desired{TeamID: "t", TargetID: "P7"}
	s, err := newFlow(t, p, false).Audit(t.Context(), audit.Subject{Desired: bare, Listed: true, Targets: []audit.Known{known("P7", "B")}})
	require.NoError(t, err)
	require.Equal(t, []string{"team t", "members P7"}, p.asked)
	require.Equal(t, "P7", s.TargetID, "the catalogue's word on the target team stays")
	require.Equal(t, []string{"update_team", "add_member", audit.SinglePersonTeam}, kinds(s))

	delete(p.declared, "t")
	_, err = newFlow(t, p, false).Audit(t.Context(), audit.Subject{Desired: bare, Listed: true})
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

// What cannot be read is an error and never a finding.
func TestAudit_APlatformIsAway_FindsNothing(t *testing.T) {
	for name, subject := range map[string]audit.Subject{
		"the source":       {Desired: ownership.Desired{TeamID: "t"}},
		"a team":           {Desired: declares("A", "ann"), Listed: true, Targets: []audit.Known{known("P1", "A")}},
		"an unlisted team": {Desired: declares("A", "ann"), Link: "P1"},
		"names":            {Desired: declares("A", "ann")},
		"people":           {Desired: declares("A", "ann"), Listed: true, Targets: []audit.Known{{ID: "P1", Name: "A", Fresh: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &platforms{fails: fault.New(fault.Unavailable, "away", nil)}
			s, err := newFlow(t, p, true).Audit(t.Context(), subject)
			require.Equal(t, fault.Unavailable, fault.KindOf(err))
			require.Empty(t, s.Findings)
		})
	}
}

func TestMermaid_ShowsEveryStep(t *testing.T) {
	drawing, err := audit.Mermaid()
	require.NoError(t, err)
	for _, step := range []string{"resolve", "observe", "match", "compare", "inspect"} {
		require.Contains(t, drawing, step)
	}
}
