package rules_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
)

func engine(t testing.TB, own rules.Files) *rules.Engine {
	t.Helper()
	bundle, err := rules.Load(own)
	require.NoError(t, err)
	e, err := rules.NewEngine(t.Context(), bundle)
	require.NoError(t, err)
	return e
}

// team is a team with so many managers, responders and observers.
type team struct{ managers, responders, observers int }

// asks is the input for a team that loses the first of each role and gains others.
func asks(before, leave, join team) rules.Input {
	o := &ownership.Observed{TargetID: "PT1"}
	p := ownership.Plan{TeamID: "payments", TargetID: "PT1"}
	add := func(role ownership.Role, members, leaving, joining int) {
		for i := range members {
			user := ownership.User{ID: fmt.Sprint(role, i), Email: fmt.Sprintf("%s-%d@example.com", role, i)}
			o.Members = append(o.Members, ownership.ObservedMember{User: user, Role: role})
			if i < leaving {
				p.Changes = append(p.Changes, ownership.Change{
					ID: "remove_member:" + user.ID, Kind: ownership.RemoveMember, EntityRef: user.ID, UserID: user.ID,
					Before: &ownership.Entity{Email: user.Email, Role: role},
				})
			}
		}
		for i := range joining {
			id := fmt.Sprint("new-", role, i)
			p.Changes = append(p.Changes, ownership.Change{
				ID: "add_member:" + id, Kind: ownership.AddMember, EntityRef: id, UserID: id,
				After: &ownership.Entity{Email: id + "@example.com", Role: role},
			})
		}
	}
	add(ownership.Manager, before.managers, leave.managers, join.managers)
	add(ownership.Responder, before.responders, leave.responders, join.responders)
	add(ownership.Observer, before.observers, leave.observers, join.observers)
	p.Members = len(o.Members)
	return rules.Ask(rules.Question{
		Plan: p, Desired: ownership.Desired{TeamID: "payments", Name: "Payments"}, Observed: o,
		Request: rules.Request{By: "ann", Roles: []string{"viewer", "operator"}}, Of: 24 * time.Hour, Now: noon,
	})
}

// noon is when everything is asked.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func TestShippedRules(t *testing.T) {
	const (
		tiered    = "staffing: {tiers: {default: {at_least: {members: 2, managers: 1, responders: 2}}}}"
		protected = "protected_teams: {teams: [core-*, payments]}"
		bounded   = "removals: {max_count: 5, floor: 20}"
		noManager = "roles: {never_granted: [manager]}"
	)
	first := func(in rules.Input) rules.Input { in.Team.Groups = []string{"europe", "tier-1"}; return in }
	made := func(in rules.Input) rules.Input {
		in.Plan.Count[ownership.CreateTeam] = 1
		in.Plan.Changes = append(in.Plan.Changes, rules.Change{ID: "create_team:payments", Kind: ownership.CreateTeam, EntityRef: "payments"})
		return in
	}
	after := func(removed int, in rules.Input) rules.Input { in.Recent.Removed = removed; return in }
	cases := []struct {
		name   string
		params string
		in     rules.Input
		want   policy.Verdict
		rules  []string
	}{
		{"nothing to do", protected, asks(team{1, 9, 0}, team{}, team{}), policy.Allow, nil},
		{"adds only", "", asks(team{}, team{}, team{responders: 50}), policy.Allow, nil},
		{"a small team changes by its floor", "", asks(team{responders: 6}, team{responders: 3}, team{}), policy.Allow, nil},
		{"the share of a large team", "", asks(team{responders: 40}, team{responders: 10}, team{}), policy.Allow, nil},
		{"one more than the share", "", asks(team{responders: 40}, team{responders: 11}, team{}), policy.RequireApproval, []string{"removals"}},
		{"one more than the floor", "", asks(team{responders: 8}, team{responders: 4}, team{}), policy.RequireApproval, []string{"removals"}},
		{"as many as are allowed at all", bounded, asks(team{responders: 90}, team{responders: 5}, team{}), policy.Allow, nil},
		{"one more than are allowed at all", bounded, asks(team{responders: 90}, team{responders: 6}, team{}), policy.Deny, []string{"removals"}},
		{"everybody", "", asks(team{responders: 2}, team{responders: 2}, team{}), policy.Deny, []string{"empty_team", "staffing"}},
		{"everybody of many: deny wins over approval", "", asks(team{responders: 40}, team{responders: 40}, team{}), policy.Deny, []string{"empty_team", "removals", "staffing"}},
		{"everybody is replaced", "", asks(team{responders: 2}, team{responders: 2}, team{responders: 2}), policy.Allow, nil},
		{"a protected team", protected, asks(team{1, 9, 0}, team{}, team{responders: 1}), policy.RequireApproval, []string{"protected_teams"}},
		{"the last manager", tiered, asks(team{1, 4, 0}, team{managers: 1}, team{}), policy.RequireApproval, []string{"staffing"}},
		{"one of two managers", tiered, asks(team{2, 4, 0}, team{managers: 1}, team{}), policy.Allow, nil},
		{"a manager may be paged", tiered, asks(team{1, 2, 3}, team{responders: 1}, team{}), policy.Allow, nil},
		{"an observer may not", tiered, asks(team{1, 1, 3}, team{responders: 1}, team{}), policy.RequireApproval, []string{"staffing"}},
		{"too few, and no fewer than before", tiered, asks(team{0, 1, 3}, team{observers: 1}, team{}), policy.Allow, nil},
		{"too few, and more than before", tiered, asks(team{0, 0, 3}, team{}, team{responders: 1}), policy.Allow, nil},
		{"another tier than the default", "", first(asks(team{1, 2, 0}, team{responders: 1}, team{})), policy.RequireApproval, []string{"staffing"}},
		{"the default tier", "", asks(team{1, 2, 0}, team{responders: 1}, team{}), policy.Allow, nil},
		{"a new team of a tier that is too small", "", first(made(asks(team{}, team{}, team{1, 0, 1}))), policy.RequireApproval, []string{"staffing"}},
		{"a new team of a tier with one to page", "", first(made(asks(team{}, team{}, team{1, 0, 9}))), policy.RequireApproval, []string{"staffing"}},
		{"a new team that is large enough", "", first(made(asks(team{}, team{}, team{1, 2, 0}))), policy.Allow, nil},
		{"a new team without anybody", "", made(asks(team{}, team{}, team{})), policy.RequireApproval, []string{"staffing"}},
		{"many small plans: as many as may leave", "", after(3, asks(team{responders: 27}, team{responders: 4}, team{})), policy.Allow, nil},
		{"many small plans: one more", "", after(4, asks(team{responders: 26}, team{responders: 4}, team{})), policy.RequireApproval, []string{"removals"}},
		{"many small plans: the floor is for all of them", "", after(3, asks(team{responders: 5}, team{responders: 1}, team{})), policy.RequireApproval, []string{"removals"}},
		{"many small plans: the largest number is for all of them", bounded, after(5, asks(team{responders: 90}, team{responders: 1}, team{})), policy.Deny, []string{"removals"}},
		{"many have left, and nobody would", bounded, after(50, asks(team{responders: 9}, team{}, team{responders: 1})), policy.Allow, nil},
		{"a role that may not be granted", noManager, asks(team{0, 5, 0}, team{}, team{managers: 1}), policy.Deny, []string{"roles"}},
		{"a role that may not be granted leaves", noManager, asks(team{2, 5, 0}, team{managers: 1}, team{}), policy.Allow, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, err := engine(t, files{"params.yaml": c.params}.bytes()).Decide(t.Context(), c.in)
			require.NoError(t, err)
			require.Equal(t, c.want, d.Verdict, d.Reasons)
			var rules []string
			for _, v := range d.Violations {
				if len(rules) == 0 || rules[len(rules)-1] != v.Rule {
					rules = append(rules, v.Rule)
				}
			}
			require.Equal(t, c.rules, rules)
			require.Len(t, d.Reasons, len(d.Violations))
		})
	}
}

const own = `package nthlayer.rules.friends
violation contains {"verdict": "deny", "reason": reason} if {
	some m in input.after.members
	m.email == data.nthlayer.params.friends.unwanted
	reason := sprintf("%s is nobody's friend", [m.email])
}
`

func TestLoad_OwnRule_StandsBesideTheShippedOnes(t *testing.T) {
	e := engine(t, files{"friends/rule.rego": own, "params.yaml": "friends: {unwanted: new-manager0@example.com}"}.bytes())
	d, err := e.Decide(t.Context(), asks(team{1, 3, 0}, team{managers: 1, responders: 3}, team{managers: 1}))
	require.NoError(t, err)
	require.Len(t, e.Revision(), 12)
	require.Equal(t, policy.Decision{
		Verdict: policy.Deny, Revision: e.Revision(), Approvers: []policy.Approvers{{Role: policy.DefaultApprover, Count: 1}},
		Reasons: []string{"new-manager0@example.com is nobody's friend", "the plan would remove 4 of 4 members, more than the 3 that may leave without approval"},
		Violations: []policy.Violation{
			{Rule: "friends", Verdict: policy.Deny, Reason: "new-manager0@example.com is nobody's friend"},
			{Rule: "removals", Verdict: policy.RequireApproval, Reason: "the plan would remove 4 of 4 members, more than the 3 that may leave without approval", By: &policy.Approvers{Role: policy.DefaultApprover, Count: 1}},
		},
	}, d)
}

func TestLoad_DocumentedRule_Works(t *testing.T) {
	text, err := os.ReadFile("../../../docs/policy.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "```rego\n")
	require.True(t, ok)
	rule, _, ok := strings.Cut(rest, "```")
	require.True(t, ok)
	_, rest, ok = strings.Cut(rest, "with `")
	require.True(t, ok)
	params, _, ok := strings.Cut(rest, "`")
	require.True(t, ok)

	e := engine(t, files{"night.rego": rule, "params.yaml": strings.ReplaceAll(params, "*.lead@", "responder-*@")}.bytes())
	d, err := e.Decide(t.Context(), asks(team{1, 3, 0}, team{responders: 1}, team{}))
	require.NoError(t, err)
	require.Equal(t, []string{"responder-0@example.com leads a night shift"}, d.Reasons)
	d, err = e.Decide(t.Context(), asks(team{2, 3, 0}, team{managers: 1}, team{}))
	require.NoError(t, err)
	require.Equal(t, policy.Allow, d.Verdict)
}

func TestLoad_DocumentedParameters_AreGood(t *testing.T) {
	text, err := os.ReadFile("../../../docs/policy.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "```yaml\n")
	require.True(t, ok)
	params, _, ok := strings.Cut(rest, "```")
	require.True(t, ok)
	in := asked("ann", "lead")
	in.Team.ID, in.Now = "payments-eu", instant(t, "2026-12-24T12:00:00Z")
	d := decide(t, params, in)
	require.Equal(t, policy.Deny, d.Verdict)
	require.Equal(t, []policy.Approvers{{Role: "approver", Count: 2}}, d.Approvers)
	require.Len(t, d.Reasons, 3)
}

// A bundle that is wrong is refused when it is loaded: it would otherwise hold rules that never find anything.
func TestLoad_WrongBundle_SaysWhatIsWrong(t *testing.T) {
	rule := func(body string) string {
		return "package nthlayer.rules.mine\nviolation contains {\"verdict\": \"deny\", \"reason\": \"no\"} if {\n" + body + "\n}\n"
	}
	cases := []struct {
		name string
		own  files
		want string
	}{
		{"no such rule", files{"params.yaml": "removal: {share: 1}"}, "params.yaml: removal: there is no rule of that name; there are actors, empty_team, freeze, protected_teams, removals, roles, staffing, approval"},
		{"no such parameter", files{"params.yaml": "removals: {shares: 1}"}, "additional properties 'shares' not allowed"},
		{"another kind of value", files{"params.yaml": "removals: {share: most}"}, "params.yaml: removals.share"},
		{"out of range", files{"params.yaml": "removals: {share: 1.5}"}, "params.yaml: removals.share"},
		{"a rule without its parameters", files{"params.yaml": "removals: null"}, "params.yaml: removals"},
		{"no YAML", files{"params.yaml": "removals: ["}, "params.yaml"},
		{"no Rego", files{"a.rego": "package nthlayer.rules.mine\nviolation contains"}, "a.rego"},
		{"another package", files{"a.rego": "package nthlayer\nviolations contains 1"}, "a rule's package is nthlayer.rules.<name>"},
		{"below a rule", files{"a.rego": "package nthlayer.rules.removals.more"}, "a rule's package is nthlayer.rules.<name>"},
		{"the approvers' name", files{"a.rego": "package nthlayer.rules.approval"}, "choose another name"},
		{"no role approves", files{"params.yaml": "approval: {role: ''}"}, "params.yaml: approval.role"},
		{"nobody approves", files{"params.yaml": "approval: {count: 0}"}, "params.yaml: approval.count"},
		{"too many approve", files{"params.yaml": "protected_teams: {approvals: 11}"}, "params.yaml: protected_teams.approvals"},
		{"a reserve for nobody", files{"params.yaml": "actors: {reserved: {core: {teams: [core]}}}"}, "params.yaml: actors.reserved.core"},
		{"no cron", files{"params.yaml": "freeze: {windows: {night: {cron: '61 * * * *', duration: 1h}}}"}, "params.yaml: freeze.windows.night.cron: must be five fields"},
		{"no zone", files{"params.yaml": "freeze: {windows: {night: {cron: '@daily', duration: 1h, zone: Europe/Atlantis}}}"}, "params.yaml: freeze.windows.night.zone"},
		{"this machine's zone", files{"params.yaml": "freeze: {windows: {night: {cron: '@daily', duration: 1h, zone: Local}}}"}, "params.yaml: freeze.windows.night.zone"},
		{"no duration", files{"params.yaml": "freeze: {windows: {night: {cron: '@daily'}}}"}, "params.yaml: freeze.windows.night.duration"},
		{"for ever", files{"params.yaml": "freeze: {windows: {night: {cron: '@daily', duration: 745h}}}"}, "params.yaml: freeze.windows.night.duration"},
		{"both kinds of window", files{"params.yaml": "freeze: {windows: {night: {cron: '@daily', duration: 1h, from: 2026-01-01T00:00:00Z}}}"}, "a window is either of them"},
		{"neither kind of window", files{"params.yaml": "freeze: {windows: {night: {}}}"}, "params.yaml: freeze.windows.night.from"},
		{"a duration alone", files{"params.yaml": "freeze: {windows: {night: {duration: 1h}}}"}, "params.yaml: freeze.windows.night.cron: is not set"},
		{"no time", files{"params.yaml": "freeze: {windows: {xmas: {from: 2026-12-20T00:00:00Z, until: soon}}}"}, "params.yaml: freeze.windows.xmas.until"},
		{"backwards", files{"params.yaml": "freeze: {windows: {xmas: {from: 2026-12-20T00:00:00Z, until: 2026-12-20T00:00:00Z}}}"}, "is not after from"},
		{"a shipped rule's name", files{"a.rego": "package nthlayer.rules.removals"}, "there is a shipped rule of that name"},
		{"one name twice", files{"a.rego": own, "b.rego": own}, "there is another rule of that name"},
		{"a field that is not there", files{"a.rego": rule(`input.team.tags[_] == "x"`)}, "undefined ref: input.team.tags"},
		{"a field of a change that is not there", files{"a.rego": rule("some c in input.plan.changes\nc.action == \"x\"")}, "undefined ref"},
		{"a parameter that is not there", files{"a.rego": own}, "friends.unwanted"},
		{"a parameter read by a part of its name", files{"a.rego": strings.NewReplacer("violation contains", "import data.nthlayer.params.friends as f\nviolation contains", "data.nthlayer.params.friends", "f").Replace(own), "params.yaml": "friends: {unwanted: x}"}, "read each parameter by its full name"},
		{"a rule among the tests", files{"friends_test.rego": own, "params.yaml": "friends: {unwanted: x}"}, "tests, and nothing else"},
		{"a test among the rules", files{"a.rego": "package nthlayer.rules.mine_test\ntest_x if true"}, "tests, and nothing else"},
		{"data that is not there", files{"a.rego": rule(`data.nthlayer.parms.mine.x`)}, "there is no such data"},
		{"data by a computed name", files{"a.rego": rule("some x\ndata[x]")}, "recursive"},
		{"no violation", files{"a.rego": "package nthlayer.rules.mine\nviolations contains 1"}, "there is none"},
		{"a violation that is a text", files{"a.rego": "package nthlayer.rules.mine\nviolation contains \"no\""}, "must be object"},
		{"the network", files{"a.rego": rule(`http.send({"url": "http://example.com", "method": "GET"}).status_code == 200`)}, "undefined function http.send"},
		{"the clock", files{"a.rego": rule(`time.now_ns() > 0`)}, "undefined function time.now_ns"},
		{"the environment", files{"a.rego": rule(`opa.runtime().env.HOME == "x"`)}, "undefined function opa.runtime"},
		{"a variable that is not used", files{"a.rego": rule(`x := input.team.id`)}, "unused"},
		{"nothing but a comment", files{"a.rego": "# later"}, "a.rego"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bundle, err := rules.Load(c.own.bytes())
			if err == nil {
				_, err = rules.NewEngine(t.Context(), bundle)
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

// Whatever a rule answers that is no violation is an error: nothing may be applied.
func TestDecide_AnswerIsNoViolation_Fails(t *testing.T) {
	for name, c := range map[string]struct{ violation, want string }{
		"unknown verdict": {`{"verdict": "warn", "reason": "x"}`, `verdict "warn"`},
		"by of a denial":  {`{"verdict": "deny", "reason": "x", "by": {"count": 2}}`, "by goes with require_approval"},
		"by of a note":    {`{"verdict": "allow", "reason": "x", "by": {}}`, "by goes with require_approval"},
		"nobody":          {`{"verdict": "require_approval", "reason": "x", "by": {"count": 0}}`, "by.count is 0; it must be between 1 and 10"},
		"everybody":       {`{"verdict": "require_approval", "reason": "x", "by": {"count": 11}}`, "by.count is 11"},
		"half a person":   {`{"verdict": "require_approval", "reason": "x", "by": {"count": 1.5}}`, "count"},
		"no role":         {`{"verdict": "require_approval", "reason": "x", "by": {"role": ""}}`, "by.role is empty"},
		"many words":      {`{"verdict": "require_approval", "reason": "x", "by": {"roles": ["admin"]}}`, "roles"},
		"no reason":       {`{"verdict": "deny"}`, "gives no reason"},
		"unknown field":   {`{"verdict": "deny", "reason": "x", "severity": 1}`, "severity"},
		"a failing call":  {`{"verdict": "deny", "reason": sprintf("%d", [to_number(input.team.id)])}`, "to_number"},
	} {
		t.Run(name, func(t *testing.T) {
			e := engine(t, files{"a.rego": "package nthlayer.rules.mine\nviolation contains v if {\n v := " + c.violation + "\n}"}.bytes())
			_, err := e.Decide(t.Context(), asks(team{1, 3, 0}, team{}, team{responders: 1}))
			require.ErrorContains(t, err, c.want)
		})
	}
}

// The schema is what rules are checked against, so the input must be exactly what it says, in both its forms.
func TestInput_IsWhatTheSchemaSays(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(rules.Schema)))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("input", doc))
	schema, err := c.Compile("input")
	require.NoError(t, err)

	whole := ownership.Plan{TeamID: "payments", TeamName: "Payments", Changes: []ownership.Change{
		{ID: "create_team:payments", Kind: ownership.CreateTeam, EntityRef: "payments", After: &ownership.Entity{Name: "Payments", Description: "Money"}},
		{ID: "add_member:a", Kind: ownership.AddMember, EntityRef: "a", UserID: "PA", After: &ownership.Entity{Email: "a@example.com", Role: ownership.Manager}},
	}}
	for name, in := range map[string]rules.Input{
		"empty": rules.Ask(rules.Question{Plan: ownership.Plan{TeamID: "x"}}),
		"a new team": rules.Ask(rules.Question{
			Plan: whole, Desired: ownership.Desired{Groups: []string{"tier-1"}}, Removed: []string{"PX"}, Of: 24 * time.Hour, Now: noon,
			Request: rules.Request{Kind: rules.Rollback, By: "ann", Roles: []string{"admin"}, Reason: "a mistake", OverrideFreeze: "urgent", DryRun: true},
		}),
		"a change": asks(team{2, 3, 1}, team{1, 1, 1}, team{1, 0, 1}),
	} {
		t.Run(name, func(t *testing.T) {
			in.Freezes = []rules.Freeze{{Name: "night", Until: noon}}
			text, err := json.Marshal(in)
			require.NoError(t, err)
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
			require.NoError(t, err)
			require.NoError(t, schema.Validate(value))

			asJSON, err := ast.ValueFromReader(strings.NewReader(string(text)))
			require.NoError(t, err)
			require.Zero(t, asJSON.Compare(rules.Value(in)), "the evaluator is given what the schema says")
		})
	}
}

// BenchmarkDecide is what a decision costs by the shipped rules, and with one rule more that looks at every change or at every
// member. Everybody is replaced, which makes twice as many changes as there are members, or half of them are.
func BenchmarkDecide(b *testing.B) {
	for _, with := range []struct {
		what string
		own  rules.Files
	}{
		{"shipped", nil},
		{"changes", files{"params.yaml": "roles: {never_granted: [observer]}"}.bytes()},
		{"members", files{"friends.rego": own, "params.yaml": "friends: {unwanted: mallory@example.com}"}.bytes()},
	} {
		e := engine(b, with.own)
		for _, size := range []struct{ members, changes int }{{10, 20}, {500, 500}, {500, 1000}} {
			b.Run(fmt.Sprintf("rules=%s/members=%d/changes=%d", with.what, size.members, size.changes), func(b *testing.B) {
				in := turnover(size.members, size.changes)
				b.ReportAllocs()
				for b.Loop() {
					_, err := e.Decide(b.Context(), in)
					require.NoError(b, err)
				}
			})
		}
	}
}

type files map[string]string

func (f files) bytes() rules.Files {
	m := rules.Files{}
	for name, text := range f {
		m[name] = []byte(text)
	}
	return m
}

// turnover is a team of which so many leave or join.
func turnover(members, changes int) rules.Input {
	p := ownership.Plan{TeamID: "payments", TargetID: "PT1", Members: members}
	o := &ownership.Observed{TargetID: "PT1"}
	for i := range members {
		user := fmt.Sprint("P", i)
		email := fmt.Sprintf("person-%d@example.com", i)
		o.Members = append(o.Members, ownership.ObservedMember{User: ownership.User{ID: user, Email: email}, Role: ownership.Responder})
		p.Changes = append(p.Changes,
			ownership.Change{ID: "add:" + user, Kind: ownership.AddMember, EntityRef: "new" + user, UserID: "N" + user, After: &ownership.Entity{Email: "new-" + email, Role: ownership.Responder}},
			ownership.Change{ID: "remove:" + user, Kind: ownership.RemoveMember, EntityRef: user, UserID: user, Before: &ownership.Entity{Email: email, Role: ownership.Responder}},
		)
	}
	p.Changes = p.Changes[:changes]
	return rules.Ask(rules.Question{Plan: p, Desired: ownership.Desired{TeamID: "payments", Name: "Payments"}, Observed: o, Now: noon})
}
