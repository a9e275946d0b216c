package rules_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
)

// asked is a plan by which somebody joins the team payments, asked for by somebody.
func asked(by string, roles ...string) rules.Input {
	in := asks(team{1, 3, 0}, team{}, team{responders: 1})
	in.Request.By, in.Request.Roles = by, roles
	return in
}

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return at
}

func decide(t *testing.T, params string, in rules.Input) policy.Decision {
	t.Helper()
	d, err := engine(t, files{"params.yaml": params}.bytes()).Decide(t.Context(), in)
	require.NoError(t, err)
	return d
}

// Who has to approve, by the parameters of the rules that ask for it.
func TestApproval_ByWhom(t *testing.T) {
	many := asks(team{responders: 8}, team{responders: 4}, team{}) // rule removals
	tiered := asks(team{1, 2, 0}, team{responders: 1}, team{})     // rule staffing
	tiered.Team.Groups = []string{"tier-1"}
	one := policy.Approvers{Role: "approver", Count: 1}
	for name, c := range map[string]struct {
		params string
		in     rules.Input
		want   []policy.Approvers
	}{
		"as shipped":                        {"", many, []policy.Approvers{one}},
		"as shipped, the first tier":        {"", tiered, []policy.Approvers{one}},
		"another role":                      {"approval: {role: admin}", many, []policy.Approvers{{Role: "admin", Count: 1}}},
		"two people":                        {"approval: {count: 2}", many, []policy.Approvers{{Role: "approver", Count: 2}}},
		"whoever asked may":                 {"approval: {self: true}", many, []policy.Approvers{{Role: "approver", Count: 1, Requester: true}}},
		"two people of a tier":              {"staffing: {tiers: {'1': {approvals: 2}}}", tiered, []policy.Approvers{{Role: "approver", Count: 2}}},
		"not of that tier":                  {"staffing: {tiers: {'1': {approvals: 2}}}", many, []policy.Approvers{one}},
		"of that tier, by another rule":     {"staffing: {tiers: {default: {approvals: 3}}}", many, []policy.Approvers{{Role: "approver", Count: 3}}},
		"a protected team":                  {"protected_teams: {teams: [pay*], approvals: 2}", asked("ann"), []policy.Approvers{{Role: "approver", Count: 2}}},
		"a protected team as all":           {"{protected_teams: {teams: [pay*]}, approval: {count: 3}}", asked("ann"), []policy.Approvers{{Role: "approver", Count: 3}}},
		"two rules: the most that one asks": {"protected_teams: {teams: [pay*], approvals: 2}", many, []policy.Approvers{{Role: "approver", Count: 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(t, c.params, c.in)
			require.Equal(t, policy.RequireApproval, d.Verdict)
			require.Equal(t, c.want, d.Approvers)
		})
	}
}

// Nobody approves what they asked for themselves, unless the parameters let them.
func TestApproval_NotByWhoeverAsked(t *testing.T) {
	votes := []policy.Vote{{Principal: "ann", Roles: []string{"approver"}}}
	in := asks(team{responders: 8}, team{responders: 4}, team{})
	require.NotEmpty(t, decide(t, "", in).Missing("ann", votes))
	require.Empty(t, decide(t, "", in).Missing("ben", votes))
	require.Empty(t, decide(t, "approval: {self: true}", in).Missing("ann", votes))
}

// A rule of the company's own says by whom, as much of it as it likes.
func TestApproval_OwnRule_SaysByWhom(t *testing.T) {
	for by, want := range map[string]policy.Approvers{
		`{"count": 2}`: {Role: "lead", Count: 2}, `{"role": "admin"}`: {Role: "admin", Count: 1},
		`{"role": "admin", "count": 10, "requester": true}`: {Role: "admin", Count: 10, Requester: true}, `{}`: {Role: "lead", Count: 1},
	} {
		e := engine(t, files{
			"params.yaml": "approval: {role: lead}",
			"a.rego":      "package nthlayer.rules.mine\nviolation contains {\"verdict\": \"require_approval\", \"reason\": \"x\", \"by\": " + by + "}",
		}.bytes())
		d, err := e.Decide(t.Context(), asked("ann"))
		require.NoError(t, err)
		require.Equal(t, []policy.Approvers{want}, d.Approvers, by)
		require.Equal(t, &want, d.Violations[0].By)
	}
}

// What a rule only notes stands in the decision, and holds nothing up.
func TestDecide_Note_IsRecordedAndAllows(t *testing.T) {
	e := engine(t, files{"a.rego": `package nthlayer.rules.mine
violation contains {"verdict": "allow", "reason": "seen"}`}.bytes())
	d, err := e.Decide(t.Context(), asked("ann"))
	require.NoError(t, err)
	require.Equal(t, policy.Decision{
		Verdict: policy.Allow, Violations: []policy.Violation{{Rule: "mine", Verdict: policy.Allow, Reason: "seen"}}, Revision: e.Revision(),
	}, d)
}

func TestActors(t *testing.T) {
	const (
		byTeam  = "actors: {reserved: {core: {teams: [pay*], roles: [admin], subjects: ['ci-*']}}}"
		byGroup = "actors: {reserved: {tier: {groups: ['tier:?'], roles: [admin]}}}"
		twice   = "actors: {reserved: {core: {teams: [pay*], roles: [admin]}, bots: {teams: [payments], subjects: [ci]}}}"
		all     = "actors: {reserved: {all: {roles: [admin]}}}"
	)
	tier := func(in rules.Input) rules.Input { in.Team.Groups = []string{"europe", "tier:1"}; return in }
	for name, c := range map[string]struct {
		params string
		in     rules.Input
		want   policy.Verdict
	}{
		"nothing is reserved":             {"", asked("ann"), policy.Allow},
		"a role that is listed":           {byTeam, asked("ann", "viewer", "admin"), policy.Allow},
		"no role that is listed":          {byTeam, asked("ann", "operator"), policy.Deny},
		"a subject that is listed":        {byTeam, asked("ci-42"), policy.Allow},
		"a subject that only begins so":   {byTeam, asked("ci-42/x"), policy.Deny},
		"nobody knows who asks":           {byTeam, asked(""), policy.Deny},
		"another team":                    {"actors: {reserved: {core: {teams: [core], roles: [admin]}}}", asked("ann"), policy.Allow},
		"by a group":                      {byGroup, tier(asked("ann", "operator")), policy.Deny},
		"by a group, with the role":       {byGroup, tier(asked("ann", "admin")), policy.Allow},
		"by a group, without that":        {byGroup, asked("ann", "operator"), policy.Allow},
		"two entries: one lists the role": {twice, asked("ann", "admin"), policy.Allow},
		"two entries: the other":          {twice, asked("ci"), policy.Allow},
		"two entries: neither":            {twice, asked("ann"), policy.Deny},
		"all teams":                       {all, asked("ann", "operator"), policy.Deny},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(t, c.params, c.in)
			require.Equal(t, c.want, d.Verdict, d.Reasons)
		})
	}
	require.Equal(t, []string{"ann may not have this team changed: it is reserved (bots, core)"}, decide(t, twice, asked("ann")).Reasons)
}

func TestFreeze(t *testing.T) {
	const (
		once     = "freeze: {windows: {xmas: {from: 2026-03-02T00:00:00Z, until: 2026-03-03T01:00:00+01:00"
		all      = once + "}}}"
		byTeam   = once + ", teams: [core-*, pay*]}}}"
		others   = once + ", teams: [core-*]}}}"
		byGroup  = once + ", groups: [tier-1]}}}"
		byLead   = once + ", override_roles: [lead]}}}"
		byNobody = once + ", override_roles: []}}}"
		leads    = "freeze: {override_roles: [lead], windows: {xmas: {from: 2026-03-02T00:00:00Z, until: 2026-03-03T00:00:00Z}}}"
		two      = "freeze: {windows: {a: {from: 2026-03-02T00:00:00Z, until: 2026-03-03T00:00:00Z, override_roles: [lead]}, b: {from: 2026-03-02T00:00:00Z, until: 2026-03-04T00:00:00Z}}}"
	)
	overriding := func(in rules.Input) rules.Input { in.Request.OverrideFreeze = "an outage"; return in }
	tier := func(in rules.Input) rules.Input { in.Team.Groups = []string{"tier-1"}; return in }
	on := func(now string, in rules.Input) rules.Input { in.Now = instant(t, now); return in }
	for name, c := range map[string]struct {
		params string
		in     rules.Input
		want   policy.Verdict
	}{
		"no window":                                {"", asked("ann"), policy.Allow},
		"in the window":                            {all, asked("ann", "admin"), policy.Deny},
		"its first second":                         {all, on("2026-03-02T00:00:00Z", asked("ann")), policy.Deny},
		"the second before":                        {all, on("2026-03-01T23:59:59Z", asked("ann")), policy.Allow},
		"its last second":                          {all, on("2026-03-02T23:59:59Z", asked("ann")), policy.Deny},
		"its end":                                  {all, on("2026-03-03T00:00:00Z", asked("ann")), policy.Allow},
		"a team that it is for":                    {byTeam, asked("ann"), policy.Deny},
		"a team that it is not for":                {others, asked("ann"), policy.Allow},
		"a group that it is for":                   {byGroup, tier(asked("ann")), policy.Deny},
		"a group that it is not for":               {byGroup, asked("ann"), policy.Allow},
		"overridden by an admin":                   {all, overriding(asked("ann", "operator", "admin")), policy.Allow},
		"overridden by an operator":                {all, overriding(asked("ann", "operator")), policy.Deny},
		"overridden by a role of the window":       {byLead, overriding(asked("ann", "lead")), policy.Allow},
		"overridden by none of the window":         {byLead, overriding(asked("ann", "admin")), policy.Deny},
		"overridden, and nobody may":               {byNobody, overriding(asked("ann", "admin")), policy.Deny},
		"overridden by a role of all windows":      {leads, overriding(asked("ann", "lead")), policy.Allow},
		"overridden by none of all windows":        {leads, overriding(asked("ann", "admin")), policy.Deny},
		"two windows, of which one is overridden":  {two, overriding(asked("ann", "lead")), policy.Deny},
		"two windows, and both are overridden":     {two, overriding(asked("ann", "lead", "admin")), policy.Allow},
		"deny wins over approval":                  {"{protected_teams: {teams: ['*']}, " + all + "}", asked("ann", "admin"), policy.Deny},
		"overriding a freeze leaves the approvals": {"{protected_teams: {teams: ['*']}, " + all + "}", overriding(asked("ann", "admin")), policy.RequireApproval},
		"overriding where nothing is frozen":       {"", overriding(asked("ann")), policy.Allow},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(t, c.params, c.in)
			require.Equal(t, c.want, d.Verdict, d.Reasons)
		})
	}
	require.Equal(t, []string{"changes are frozen until 2026-03-03T00:00:00Z (xmas); of the roles admin somebody may override this with a reason"},
		decide(t, all, asked("ann", "operator")).Reasons)
	require.Equal(t, []policy.Violation{{
		Rule: "freeze", Verdict: policy.Allow, Reason: "the freeze xmas until 2026-03-03T00:00:00Z is overridden by ann (admin): an outage",
	}}, decide(t, all, overriding(asked("ann", "admin"))).Violations)
}

// A window that comes again is as long as it says, also where clocks are changed in it; it begins when the zone's clock shows it.
func TestFreeze_ComesAgain(t *testing.T) {
	const (
		weekend = "freeze: {windows: {w: {cron: '0 18 * * FRI', duration: 62h, zone: Europe/Berlin}}}"
		night   = "freeze: {windows: {w: {cron: '30 2 * * *', duration: 1h, zone: Europe/Berlin}}}"
		hourly  = "freeze: {windows: {w: {cron: '0 * * * *', duration: 90m}}}"
	)
	for name, c := range map[string]struct {
		params, now, until string // no until: nothing is frozen
	}{
		"before it begins, in winter": {weekend, "2026-01-02T16:59:59Z", ""},
		"it begins, in winter":        {weekend, "2026-01-02T17:00:00Z", "2026-01-05T07:00:00Z"},
		"its last second":             {weekend, "2026-01-05T06:59:59Z", "2026-01-05T07:00:00Z"},
		"it ends":                     {weekend, "2026-01-05T07:00:00Z", ""},
		"it begins, in summer":        {weekend, "2026-07-03T16:00:00Z", "2026-07-06T06:00:00Z"},
		"clocks are set forward in it: as long as always": {weekend, "2026-03-30T06:59:59Z", "2026-03-30T07:00:00Z"},
		"clocks are set back in it: as long as always":    {weekend, "2026-10-26T05:59:59Z", "2026-10-26T06:00:00Z"},
		"after that": {weekend, "2026-10-26T06:00:00Z", ""},
		"a time that does not exist begins nothing":       {night, "2026-03-29T01:00:00Z", ""},
		"a time that comes twice begins one, the first":   {night, "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"},
		"and not a second":                                {night, "2026-10-25T01:30:00Z", ""},
		"longer than until the next: the last one counts": {hourly, "2026-01-02T12:10:00Z", "2026-01-02T13:30:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			in := asked("ann")
			in.Now = instant(t, c.now)
			d := decide(t, c.params, in)
			if c.until == "" {
				require.Equal(t, policy.Allow, d.Verdict, d.Reasons)
				return
			}
			require.Equal(t, policy.Deny, d.Verdict)
			require.Contains(t, d.Reasons[0], "frozen until "+c.until)
		})
	}
}

// What an input says of freezes makes no difference: it could not be trusted.
func TestFreeze_IsWorkedOutFromTheTime(t *testing.T) {
	in := asked("ann")
	in.Freezes = []rules.Freeze{{Name: "xmas", Until: noon.Add(time.Hour)}}
	require.Equal(t, policy.Allow, decide(t, "freeze: {windows: {xmas: {from: 2026-12-20T00:00:00Z, until: 2027-01-02T00:00:00Z}}}", in).Verdict)
	in.Freezes, in.Now = nil, instant(t, "2026-12-24T00:00:00Z")
	require.Equal(t, policy.Deny, decide(t, "freeze: {windows: {xmas: {from: 2026-12-20T00:00:00Z, until: 2027-01-02T00:00:00Z}}}", in).Verdict)
}

// Whoever was removed of late and is back, or is still there, has not gone.
func TestAsk_Recent_CountsWhoIsGone(t *testing.T) {
	q := rules.Question{
		Plan: ownership.Plan{TeamID: "payments"}, Removed: []string{"gone", "back"}, Of: 24 * time.Hour,
		Observed: &ownership.Observed{Members: []ownership.ObservedMember{{User: ownership.User{ID: "back"}, Role: ownership.Responder}}},
	}
	require.Equal(t, rules.Recent{Removed: 1, Hours: 24}, rules.Ask(q).Recent)
	q.Observed = nil
	require.Equal(t, rules.Recent{Removed: 2, Hours: 24}, rules.Ask(q).Recent)
}
