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
		Deliveries: []Delivery{{"job-1.slack", "delivered"}, {"job-2.slack", "delivered"}, {"job-3.slack", "failed"}},
		Names:      map[string]string{"acme/a": "team-a", "acme/b": "team-b"},
		Declared:   map[string]map[string]string{"team-a": {"ann@example.org": "manager"}, "team-b": {"ann@example.org": "manager"}},
		People:     map[string]string{"U1": "Ann@example.org", "U2": "bob@example.org"},
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
	return e
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
		"somebody declared was removed":  {"nobody declared is removed", func(e *Evidence) { e.Declared["team-a"]["bob@example.org"] = "responder" }},
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

func (e *Evidence) setStatus(job, status string) {
	run := e.Runs[job]
	run.Status = status
	e.Runs[job] = run
}

// effect adds a write of the worker, at a moment in which it holds both teams.
func (e *Evidence) effect(second int, what string) {
	_, id, person := split(what)
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
