package checker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }

// sound is evidence of a system that kept every promise: one run that added somebody and removed somebody else, one that
// created a team, a fault, a person who drifted a team, and a run that failed without doing anything.
func sound() *Evidence {
	e := &Evidence{
		Accepted: []Accepted{{"k1", "job-1"}, {"k1", "job-1"}, {"k2", "job-2"}, {"k3", "job-3"}},
		Looks: []Look{
			{JobID: "job-1", Team: "team-a", Want: "ann=manager", Have: "ann=manager"},
			{JobID: "job-2", Team: "team-b", Want: "ann=manager", Have: "ann=manager"},
			{JobID: "job-3", Team: "team-a", Want: "ann=manager", Have: ""},
		},
		Teams:    map[string]string{"PA": "team-a"},
		Workers:  []string{"worker", "worker-2"},
		Patience: 2 * time.Minute,
		Runs: map[string]Run{
			"job-1": {Team: "team-a", Key: "k1", Status: "succeeded", Attempt: 1},
			"job-2": {Team: "team-b", Key: "k2", Status: "succeeded", Attempt: 1},
			"job-3": {Team: "team-a", Key: "k3", Status: "failed", Reason: "CORTEX_UNAVAILABLE", Attempt: 3},
		},
		Claims:     []Claim{{at(0), "team-a", "worker"}, {at(0), "team-b", "worker"}, {at(10), "team-a", "worker-2"}},
		Deliveries: []Delivery{{"job-1.slack", "job-1", "delivered"}, {"job-2.slack", "job-2", "delivered"}, {"job-3.slack", "job-3", "failed"}},
		Names:      map[string]string{"acme/a": "team-a", "acme/b": "team-b"},
		Wanted:     map[string]Team{"team-a": {"acme/a", "A", annAlone()}, "team-b": {"acme/b", "B", annAlone()}},
		Found:      map[string]Team{"PA": {"acme/a", "A", annAlone()}, "PB": {"acme/b", "B", annAlone()}},
		Intents: []Intent{
			{at(1), "team-a", "add_member", "U1"}, {at(1), "team-a", "remove_member", "U2"},
			{at(1), "team-b", "create_team", ""}, {at(1), "team-b", "add_member", "U1"}, {at(10), "team-a", "update_team", ""},
		},
		People: map[string]string{"U1": "Ann@example.org", "U2": "bob@example.org"},
		PagerDuty: []Call{
			{Time: at(-1), Method: "DELETE", Path: "/teams/PA/users/U1", Status: 204, Write: true, Via: "person", Effect: "remove_member PA U1"},
			{Time: at(1), Method: "GET", Path: "/teams/PA/members", Status: 200, Via: "worker"},
			{Time: at(2), Method: "PUT", Path: "/teams/PA/users/U1", Write: true, Via: "worker", Effect: "add_member PA U1 manager", Injected: true, Fault: "answer lost"},
			{Time: at(3), Method: "PUT", Path: "/teams/PA/users/U1", Status: 204, Write: true, Via: "worker"},
			{Time: at(4), Method: "DELETE", Path: "/teams/PA/users/U2", Status: 204, Write: true, Via: "worker", Effect: "remove_member PA U2"},
			{Time: at(5), Method: "POST", Path: "/teams", Status: 201, Write: true, Via: "worker", Effect: "create_team PB acme/b"},
			{Time: at(6), Method: "PUT", Path: "/teams/PB/users/U1", Status: 204, Write: true, Via: "worker", Effect: "add_member PB U1 manager"},
			{Time: at(7), Method: "GET", Path: "/teams", Status: 429, Via: "worker", Injected: true, Fault: "429"},
			{Time: at(11), Method: "PUT", Path: "/teams/PA", Status: 200, Write: true, Via: "worker-2"},
		},
		Slack: []Call{
			{Path: "/api/chat.postMessage", Status: 200, Write: true, Effect: "post C 1.1"},
			{Path: "/api/chat.postMessage", Write: true, Effect: "post C 2.2", Injected: true, Fault: "answer lost"},
			{Path: "/api/chat.postMessage", Status: 200, Write: true, Effect: "post C 3.3"},
		},
		Messages: []Message{{Key: "job-1.slack", TS: "1.1"}, {Key: "job-2.slack", TS: "2.2"}, {Key: "job-2.slack#1", TS: "3.3", Thread: "2.2"}},
	}
	for _, f := range []Finding{
		{JobID: "job-1", ChangeID: "add_member:person:ann@example.org", Team: "team-a", Outcome: "applied"},
		{JobID: "job-1", ChangeID: "remove_member:person:bob@example.org", Team: "team-a", Outcome: "applied"},
		{JobID: "job-2", ChangeID: "create_team:team:team-b", Team: "team-b", Outcome: "applied"},
		{JobID: "job-2", ChangeID: "add_member:person:ann@example.org", Team: "team-b", Outcome: "applied"},
		{JobID: "job-3", ChangeID: "user_not_found:person:eve@example.org", Team: "team-a", Outcome: "reported"},
	} {
		e.seal(f)
	}
	e.audit()
	return e
}

func annAlone() map[string]string { return map[string]string{"ann@example.org": "manager"} }

// audit adds what audits did meanwhile: one of a schedule that is told of, one that left a team out and could not read the
// other, one that somebody canceled, and a last one after somebody had added and demoted people by hand.
func (e *Evidence) audit() {
	e.AcceptedAudits = []Accepted{{"a2", "audit-2"}, {"a2", "audit-2"}, {"a3", "audit-3"}, {"a4", "audit-4"}}
	e.LastAudit = "audit-4"
	e.Audits = map[string]Audit{
		"audit-1": {
			Schedule: "nightly", Tick: "03:00", Status: "succeeded", Read: "full", Notify: "always", Channel: "C", Total: 2, Done: 2,
			Counts: Counts{Teams: 2, InSync: 1, OutOfSync: 1}, Parts: 2, Calls: map[string]int{"cortex": 1, "pagerduty": 7},
		},
		"audit-2": {
			Status: "incomplete", Read: "incremental", Notify: "always", Include: []string{"team-*", "x"}, Exclude: []string{"*-b"}, Total: 1, Done: 1,
			Counts: Counts{Teams: 1, Unknown: 1}, Parts: 2,
		},
		"audit-3": {Schedule: "nightly", Tick: "03:01", Status: "canceled", Notify: "always", Channel: "C", Counts: Counts{Teams: 1, Unknown: 1}},
		"audit-4": {Status: "succeeded", Read: "full", Notify: "always", Total: 2, Done: 2, Counts: Counts{Teams: 2, InSync: 1, OutOfSync: 1}, Parts: 2},
	}
	e.AuditTeams = []AuditTeam{
		{"audit-1", "team-a", "out_of_sync", ""}, {"audit-1", "team-b", "in_sync", ""},
		{"audit-2", "team-a", "unknown", "PAGERDUTY_UNAVAILABLE"},
		{"audit-3", "team-a", "", ""},
		{"audit-4", "team-a", "out_of_sync", ""}, {"audit-4", "team-b", "in_sync", ""},
	}
	e.Deliveries = append(e.Deliveries, Delivery{"audit-1.slack", "audit-1", "delivered"})
	e.Messages = append(e.Messages, Message{Key: "audit-1.slack", TS: "5.5"})
	e.Links = map[string]string{"team-a": "PA"}
	e.Found["PA"] = Team{"acme/a", "A", map[string]string{"ann@example.org": "observer", "bob@example.org": "responder"}}
	e.AuditFindings = []AuditFinding{
		{"team-a", "change_role", "drift", "person:ann@example.org", "open", false, ""},
		{"team-a", "removal_held", "drift", "person:bob@example.org", "acknowledged", false, ""},
		{"team-a", "add_member", "drift", "person:ann@example.org", "resolved", true, "run:job-1"},
		{"", "orphan_team", "structure", "target:PX", "resolved", true, "audit:audit-4"},
	}
}

// seal appends a finding as docs/trail.md says.
func (e *Evidence) seal(f Finding) {
	f.Seq, f.PrevHash = e.Head.Seq+1, e.Head.Hash
	action, entity, _ := strings.Cut(f.ChangeID, ":")
	f.Content = fmt.Sprintf(`{"seq":%d,"job_id":%q,"change_id":%q,"team_id":%q,"entity_ref":%q,"action":%q,"outcome":%q}`,
		f.Seq, f.JobID, f.ChangeID, f.Team, entity, action, f.Outcome)
	sum := sha256.Sum256([]byte("nthlayer.trail.v1\n" + f.PrevHash + "\n" + f.Content))
	f.Hash = hex.EncodeToString(sum[:])
	e.Findings, e.Head = append(e.Findings, f), Head{f.Seq, f.Hash}
}

func TestCheck_SoundEvidence_HasNothingToComplainAbout(t *testing.T) {
	r := sound().Check()
	require.Empty(t, r.Violations)
	require.Empty(t, r.Exceptions)
	require.Equal(t, "failed 1, succeeded 2", r.Group("runs"))
	require.Equal(t, "add_member 2, create_team 1, remove_member 1", r.Group("effects"))
	require.Equal(t, "pagerduty 429 1, pagerduty answer lost 1, slack answer lost 1", r.Group("fault"))
	require.Equal(t, "canceled 1, incomplete 1, succeeded 2", r.Group("audits"))
	require.Equal(t, "calls cortex 1, calls pagerduty 7, parts 6, teams 5, ticks 2", r.Group("audits' work"))
	require.Equal(t, "full 2, incremental 1", r.Group("audits' reads"))
	require.Equal(t, "acknowledged 1, open 1, resolved 2", r.Group("audits' findings"))
	require.Equal(t, "none", r.Group("nothing"))
}

// Every rule must complain about what it is there for, and no other rule has to.
func TestCheck_DoctoredEvidence_IsFound(t *testing.T) {
	cases := map[string]struct {
		rule   string
		doctor func(e *Evidence)
	}{
		"an accepted run is not there": {"accepted is durable", func(e *Evidence) { e.Accepted = append(e.Accepted, Accepted{"k9", "job-9"}) }},
		"a run never ends":             {"accepted is durable", func(e *Evidence) { e.setStatus("job-3", "running") }},
		"two answers to one key":       {"same key, same job", func(e *Evidence) { e.Accepted[1].JobID = "job-2" }},
		"two rows of one key":          {"same key, same job", func(e *Evidence) { e.Runs["job-2b"] = e.Runs["job-2"] }},
		"a run gave up too early": {"patience is kept", func(e *Evidence) {
			e.Runs["job-3"] = Run{Status: "failed", Reason: "CORTEX_BREAKER_OPEN", Age: 3 * time.Second}
		}},
		"PagerDuty differs":              {"PagerDuty equals Cortex", func(e *Evidence) { e.Looks[0].Have = "ann=responder" }},
		"an effect is not in the trail":  {"each effect once in the trail", func(e *Evidence) { e.effect(5, "change_role PA U1 observer") }},
		"an effect happened twice":       {"each effect once in the trail", func(e *Evidence) { e.effect(5, "remove_member PA U2") }},
		"a finding without an effect":    {"each effect once in the trail", func(e *Evidence) { e.PagerDuty[6].Effect = "" }},
		"a finding stands twice":         {"each effect once in the trail", func(e *Evidence) { e.seal(e.Findings[0]) }},
		"more effects than unknown ones": {"each effect once in the trail", func(e *Evidence) { e.uncertain(); e.effect(5, "update_team PA"); e.effect(5, "update_team PA") }},
		"an effect on an unknown team":   {"each effect once in the trail", func(e *Evidence) { e.effect(5, "create_team PX acme/x") }},
		"a content was changed":          {"the trail is provable", func(e *Evidence) { e.Findings[4].Content = strings.ReplaceAll(e.Findings[4].Content, "eve", "bob") }},
		"a column was changed":           {"the trail is provable", func(e *Evidence) { e.Findings[1].Outcome = "skipped" }},
		"the last entry was cut off":     {"the trail is provable", func(e *Evidence) { e.Findings = e.Findings[:4] }},
		"an entry was taken out":         {"the trail is provable", func(e *Evidence) { e.Findings = append(e.Findings[:4:4], Finding{Seq: 6}); e.Head.Seq = 6 }},
		"somebody declared was removed":  {"nobody declared is removed", func(e *Evidence) { e.Wanted["team-a"].Members["bob@example.org"] = "responder" }},
		"a zombie wrote":                 {"one writer per team", func(e *Evidence) { e.PagerDuty[8].Via = "worker" }},
		"a write before the claim":       {"one writer per team", func(e *Evidence) { e.PagerDuty[2].Time = at(-1) }},
		"a write by nobody's claim":      {"one writer per team", func(e *Evidence) { e.Claims = e.Claims[:1] }},
		"PagerDuty had to refuse":        {"quota is respected", func(e *Evidence) { e.PagerDuty[7].Injected = false }},
		"Cortex had to refuse":           {"quota is respected", func(e *Evidence) { e.Cortex = []Call{{Status: 429}} }},
		"told twice":                     {"told once", func(e *Evidence) { e.Messages = append(e.Messages, Message{Key: "job-1.slack", TS: "4.4"}) }},
		"a reply twice":                  {"told once", func(e *Evidence) { e.Messages = append(e.Messages, Message{Key: "job-2.slack#1", TS: "4.4"}) }},
		"excused once, told three times": {"told once", func(e *Evidence) { e.again("4.4"); e.again("5.5") }},
		"never told":                     {"told once", func(e *Evidence) { e.Messages = e.Messages[1:] }},
		"told of nothing":                {"told once", func(e *Evidence) { e.Messages[0].Key = "job-7.slack" }},
		"still to be told":               {"told once", func(e *Evidence) { e.Deliveries[2].Status = "pending" }},

		"an accepted audit is not there":  {"accepted audits end", func(e *Evidence) { e.AcceptedAudits[0].JobID = "audit-9" }},
		"an audit never ends":             {"accepted audits end", func(e *Evidence) { e.change("audit-1", func(a *Audit) { a.Status = "running" }) }},
		"two audits of one key":           {"same key, same job", func(e *Evidence) { e.AcceptedAudits[1].JobID = "audit-3" }},
		"two audits of one tick":          {"a tick is one audit", func(e *Evidence) { e.change("audit-3", func(a *Audit) { a.Tick = "03:00" }) }},
		"a write that nobody intended":    {"audits change nothing", func(e *Evidence) { e.Intents = e.Intents[1:] }},
		"a write before it was intended":  {"audits change nothing", func(e *Evidence) { e.Intents[1].At = at(9) }},
		"a write of another kind":         {"audits change nothing", func(e *Evidence) { e.Intents[1].Kind = "add_member" }},
		"a write about somebody else":     {"audits change nothing", func(e *Evidence) { e.Intents[1].Person = "U1" }},
		"a write to another team":         {"audits change nothing", func(e *Evidence) { e.Intents[1].Team = "team-b" }},
		"a write that changed nothing":    {"audits change nothing", func(e *Evidence) { e.PagerDuty[8].Path = "/teams/PB" }},
		"a write that no run makes":       {"audits change nothing", func(e *Evidence) { e.PagerDuty[8].Path = "/teams/PA/escalation_policies/E" }},
		"a team was created unasked":      {"audits change nothing", func(e *Evidence) { e.Intents[2].Kind = "update_team" }},
		"a write to Cortex":               {"audits change nothing", func(e *Evidence) { e.Cortex = []Call{{Method: "POST", Path: "/api/v1/teams"}} }},
		"counts that are not the sum":     {"audits add up", func(e *Evidence) { e.change("audit-1", func(a *Audit) { a.Counts.InSync = 2 }) }},
		"counts that are not the rows'":   {"audits add up", func(e *Evidence) { e.AuditTeams[1].Status = "out_of_sync" }},
		"a team compared after the end":   {"audits add up", func(e *Evidence) { e.AuditTeams[3].Status = "in_sync" }},
		"a team counted twice":            {"audits add up", func(e *Evidence) { e.change("audit-2", func(a *Audit) { a.Done = 2 }) }},
		"a team not counted":              {"audits add up", func(e *Evidence) { e.change("audit-2", func(a *Audit) { a.Total = 0 }) }},
		"a team left out":                 {"audits leave nothing out", func(e *Evidence) { e.AuditTeams = e.AuditTeams[1:] }},
		"a team left out of a scope":      {"audits leave nothing out", func(e *Evidence) { e.AuditTeams[2].Audit = "audit-3" }},
		"a team audited twice":            {"audits leave nothing out", func(e *Evidence) { e.AuditTeams = append(e.AuditTeams, e.AuditTeams[0]) }},
		"a team out of scope":             {"audits leave nothing out", func(e *Evidence) { e.AuditTeams[2].Team = "team-b" }},
		"a team that is none":             {"audits leave nothing out", func(e *Evidence) { e.AuditTeams[2].Team = "team-z" }},
		"an audit is not told of":         {"audits are told of", func(e *Evidence) { e.Deliveries, e.Messages = e.Deliveries[:3], e.Messages[:3] }},
		"an audit is told of twice":       {"audits are told of", func(e *Evidence) { e.Deliveries = append(e.Deliveries, Delivery{"again", "audit-1", "failed"}) }},
		"a canceled audit is told of":     {"audits are told of", func(e *Evidence) { e.Deliveries[3].JobID = "audit-3" }},
		"an audit that tells nobody does": {"audits are told of", func(e *Evidence) { e.Deliveries[3].JobID = "audit-4" }},
		"an audit stands twice on Slack":  {"told once", func(e *Evidence) { e.Messages = append(e.Messages, Message{Key: "audit-1.slack", TS: "6.6"}) }},
		"two findings of one thing":       {"a finding is one", func(e *Evidence) { e.AuditFindings = append(e.AuditFindings, e.AuditFindings[2]) }},
		"resolved at no time":             {"a finding is one", func(e *Evidence) { e.AuditFindings[2].Resolved = false }},
		"resolved by nobody":              {"a finding is one", func(e *Evidence) { e.AuditFindings[2].By = "" }},
		"resolved by what is not there":   {"a finding is one", func(e *Evidence) { e.AuditFindings[2].By = "run:audit-1" }},
		"open and resolved":               {"a finding is one", func(e *Evidence) { e.AuditFindings[0].By = "run:job-1" }},

		"the last audit was not whole":      {"the last audit is right", func(e *Evidence) { e.change("audit-4", func(a *Audit) { a.Status = "incomplete" }) }},
		"the last audit was no full one":    {"the last audit is right", func(e *Evidence) { e.change("audit-4", func(a *Audit) { a.Read = "incremental" }) }},
		"increments had missed something":   {"the last audit is right", func(e *Evidence) { e.change("audit-4", func(a *Audit) { a.Missed = 1 }) }},
		"the last audit could not read all": {"the last audit is right", func(e *Evidence) { e.AuditTeams[5].Unread = "PAGERDUTY_UNAVAILABLE" }},
		"a difference was overlooked":       {"the last audit is right", func(e *Evidence) { e.AuditFindings = e.AuditFindings[1:] }},
		"a drift that is none":              {"the last audit is right", func(e *Evidence) { e.AuditFindings[2].Status = "open" }},
		"a difference taken for resolved":   {"the last audit is right", func(e *Evidence) { e.AuditFindings[0].Status = "resolved" }},
		"a team in sync that is not":        {"the last audit is right", func(e *Evidence) { e.AuditTeams[4].Status = "in_sync" }},
		"a team unknown that is there":      {"the last audit is right", func(e *Evidence) { e.AuditTeams[5].Status = "unknown" }},
		"nobody saw that somebody is gone":  {"the last audit is right", func(e *Evidence) { delete(e.Found["PB"].Members, "ann@example.org") }},
		"nobody saw another name":           {"the last audit is right", func(e *Evidence) { e.Found["PB"] = Team{"by hand", "B", annAlone()} }},
		"nobody saw another description":    {"the last audit is right", func(e *Evidence) { e.Found["PB"] = Team{"acme/b", "by hand", annAlone()} }},
		"nobody saw that a team is gone":    {"the last audit is right", func(e *Evidence) { delete(e.Found, "PB") }},
		"two teams of one name, no link":    {"the last audit is right", func(e *Evidence) { e.Found["PB2"] = e.Found["PB"] }},
		"another team than the linked one":  {"the last audit is right", func(e *Evidence) { e.Links["team-b"] = "PA" }},
	}
	covered := map[string]bool{}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			e := sound()
			c.doctor(e)
			r := e.Check()
			found := map[string]bool{}
			for _, v := range r.Violations {
				found[v.Rule] = true
			}
			require.Contains(t, found, c.rule, "%v", r.Violations)
		})
		covered[c.rule] = true
	}
	require.Len(t, covered, len(rules), "each rule has a case")
}

func TestCheck_BeforeEverybodyIsTold_WaitsWithThat(t *testing.T) {
	e := sound()
	e.Deliveries[2].Status, e.Telling = "pending", true
	require.Empty(t, e.Check().Violations)
}

func TestCheck_WhileAuditsAreUnderWay_WaitsWithTheirEnd(t *testing.T) {
	e := sound()
	e.change("audit-1", func(a *Audit) { a.Status = "running" })
	e.Deliveries, e.Auditing, e.Telling = e.Deliveries[:3], true, true // the message was read after the table
	require.Empty(t, e.Check().Violations)
}

// A team that is gone is a team to be created, with all its people.
func TestCheck_LastAudit_FindsATeamThatIsGone(t *testing.T) {
	e := sound()
	delete(e.Found, "PB")
	e.AuditTeams[5].Status = "out_of_sync"
	e.change("audit-4", func(a *Audit) { a.Counts = Counts{Teams: 2, OutOfSync: 2} })
	e.AuditFindings = append(e.AuditFindings,
		AuditFinding{Team: "team-b", Kind: "add_member", Category: "drift", Entity: "person:ann@example.org", Status: "open"},
		AuditFinding{Team: "team-b", Kind: "create_team", Category: "drift", Entity: "team:team-b", Status: "open"})
	require.Empty(t, e.Check().Violations)
}

// Where two teams have the name of one, the one counts that is known to stand for it.
func TestCheck_LastAudit_LooksAtTheLinkedTeam(t *testing.T) {
	e := sound()
	e.Found["PB2"], e.Links["team-b"] = Team{Name: "acme/b"}, "PB"
	require.Empty(t, e.Check().Violations)
}

func (e *Evidence) change(audit string, how func(*Audit)) {
	a := e.Audits[audit]
	how(&a)
	e.Audits[audit] = a
}

func (e *Evidence) setStatus(job, status string) {
	run := e.Runs[job]
	run.Status = status
	e.Runs[job] = run
}

// effect adds a write of the worker, at a moment in which it holds both teams.
func (e *Evidence) effect(second int, what string) {
	_, id, person := split(what)
	if kind, team, person := split(what); team == "PA" && kind == "change_role" {
		e.Intents = append(e.Intents, Intent{at(second), "team-a", kind, person})
	}
	e.PagerDuty = append(e.PagerDuty, Call{Time: at(second), Method: "PUT", Path: "/teams/" + id + "/users/" + person, Status: 204, Write: true, Via: "worker", Effect: what})
}

func (e *Evidence) uncertain() {
	e.seal(Finding{JobID: "job-3", ChangeID: "update_team:team:team-a", Team: "team-a", Outcome: "unknown"})
}

func (e *Evidence) again(ts string) {
	e.Messages = append(e.Messages, Message{Key: "job-2.slack", TS: ts})
}

func TestCheck_DocumentedExceptions_AreCounted(t *testing.T) {
	e := sound()
	e.again("4.4")
	e.uncertain() // did not happen
	e.seal(Finding{JobID: "job-3", ChangeID: "change_role:person:ann@example.org", Team: "team-a", Outcome: "unknown"})
	e.effect(5, "change_role PA U1 manager") // did
	r := e.Check()
	require.Empty(t, r.Violations)
	require.Equal(t, map[string]int{"messages posted again after their answer was lost": 1, "findings with an unknown outcome": 2}, r.Exceptions)
}

// The checker is worth something because it is nobody's kin.
func TestImports_NothingOfTheSystem(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			seen[path] = true
		}
	}
	maps.DeleteFunc(seen, func(path string, _ bool) bool { return !strings.Contains(path, ".") })
	require.Equal(t, map[string]bool{"github.com/jackc/pgx/v5": true}, seen)
}
