package checker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// rule is one promise. complain reports a breach.
type rule struct {
	name  string
	check func(e *Evidence, r *Report, complain func(format string, args ...any))
}

// rules is a constant in all but name.
var rules = []rule{
	{"accepted is durable", acceptedIsDurable},
	{"same key, same job", sameKeySameJob},
	{"patience is kept", patienceKept},
	{"PagerDuty equals Cortex", targetEqualsSource},
	{"each effect once in the trail", effectsInTrail},
	{"the trail is provable", chainHolds},
	{"nobody declared is removed", noDeclaredRemoved},
	{"one writer per team", oneWriter},
	{"quota is respected", quotaRespected},
	{"told once", toldOnce},
	{"accepted audits end", auditsEnd},
	{"a tick is one audit", ticksOnce},
	{"audits change nothing", auditsReadOnly},
	{"audits add up", auditsAddUp},
	{"audits leave nothing out", auditsWhole},
	{"audits are told of", auditsTold},
	{"a finding is one", findingsOnce},
	{"the last audit is right", lastAuditRight},
}

var terminal = []string{"succeeded", "failed", "dead_lettered", "canceled"}

// acceptedIsDurable: whatever was answered 202 is there and came to an end, and so did every other run.
func acceptedIsDurable(e *Evidence, _ *Report, complain func(string, ...any)) {
	for _, a := range e.Accepted {
		if _, known := e.Runs[a.JobID]; !known {
			complain("job %s was accepted under key %s, and is not there", a.JobID, a.Key)
		}
	}
	for id, run := range e.Runs {
		if !slices.Contains(terminal, run.Status) {
			complain("job %s of team %s is still %s", id, run.Team, run.Status)
		}
	}
}

// sameKeySameJob: one idempotency key never named two jobs, in the answers or in the table.
func sameKeySameJob(e *Evidence, _ *Report, complain func(string, ...any)) {
	jobs := map[string]map[string]bool{}
	note := func(key, job string) {
		if key == "" {
			return
		}
		if jobs[key] == nil {
			jobs[key] = map[string]bool{}
		}
		jobs[key][job] = true
	}
	for _, a := range slices.Concat(e.Accepted, e.AcceptedAudits) {
		note(a.Key, a.JobID)
	}
	for id, run := range e.Runs {
		note(run.Key, id)
	}
	for key, ids := range jobs {
		if len(ids) > 1 {
			complain("key %s names the jobs %s", key, strings.Join(slices.Sorted(maps.Keys(ids)), ", "))
		}
	}
}

// patienceKept: no run fails because a platform is down or its quota used up before its time is over, whatever the clock of
// the worker says.
func patienceKept(e *Evidence, _ *Report, complain func(string, ...any)) {
	for id, run := range e.Runs {
		waited := strings.HasSuffix(run.Reason, "_BREAKER_OPEN") || strings.HasSuffix(run.Reason, "_THROTTLED")
		if run.Status == "failed" && waited && run.Age < e.Patience-patienceSlack {
			complain("job %s of team %s failed with %s after %s; it had %s", id, run.Team, run.Reason, run.Age.Round(time.Millisecond), e.Patience)
		}
	}
}

// patienceSlack: a run fails when the platform's next chance would come too late, and that may be a minute's quota away.
const patienceSlack = time.Minute

// targetEqualsSource: after a run that succeeded the owner of the team found no difference.
func targetEqualsSource(e *Evidence, _ *Report, complain func(string, ...any)) {
	for _, l := range e.Looks {
		if e.Runs[l.JobID].Status == "succeeded" && l.Want != l.Have {
			complain("job %s succeeded; team %s is declared as\n  %s\nand PagerDuty has\n  %s", l.JobID, l.Team, l.Want, l.Have)
		}
	}
}

// sealed is what this package needs of a finding's content (docs/trail.md).
type sealed struct {
	Seq       int64  `json:"seq"`
	JobID     string `json:"job_id"`
	ChangeID  string `json:"change_id"`
	TeamID    string `json:"team_id"`
	EntityRef string `json:"entity_ref"`
	Action    string `json:"action"`
	Outcome   string `json:"outcome"`
}

var kinds = []string{"create_team", "update_team", "add_member", "change_role", "remove_member"}

// effectsInTrail: what the workers really changed on PagerDuty stands in the trail as applied, as often as it happened.
// A finding whose outcome is not known may stand for one effect.
func effectsInTrail(e *Evidence, r *Report, complain func(string, ...any)) {
	type count struct{ effects, applied, unknown int }
	counts := map[string]*count{}
	at := func(team, entity, kind string) *count {
		key := team + " " + entity + " " + kind
		if counts[key] == nil {
			counts[key] = &count{}
		}
		return counts[key]
	}
	teams := e.teams()
	for _, c := range e.PagerDuty {
		if c.Effect == "" || !e.byWorker(c) {
			continue
		}
		kind, id, person := split(c.Effect)
		team, known := teams[id]
		if !known {
			complain("%q at %s is about a team that nobody knows", c.Effect, c.Time.Format(time.StampMilli))
			continue
		}
		entity := "team:" + team
		if strings.HasSuffix(kind, "_member") || kind == "change_role" {
			entity = "person:" + strings.ToLower(e.People[person])
		}
		at(team, entity, kind).effects++
	}
	for _, f := range e.Findings {
		var s sealed
		if json.Unmarshal([]byte(f.Content), &s) != nil || !slices.Contains(kinds, s.Action) {
			continue // the chain's rule complains about what cannot be read
		}
		switch s.Outcome {
		case "applied":
			at(s.TeamID, s.EntityRef, s.Action).applied++
		case "unknown":
			at(s.TeamID, s.EntityRef, s.Action).unknown++
			r.Exceptions["findings with an unknown outcome"]++
		}
	}
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		c := *counts[key]
		if c.effects < c.applied || c.effects > c.applied+c.unknown {
			complain("%s: took effect %d times, stands in the trail as applied %d times and as unknown %d times", key, c.effects, c.applied, c.unknown)
		}
	}
}

// split takes an effect apart: "add_member <team> <user> <role>", "create_team <team> <name>".
func split(effect string) (kind, team, rest string) {
	kind, rest, _ = strings.Cut(effect, " ")
	team, rest, _ = strings.Cut(rest, " ")
	if kind != "create_team" {
		rest, _, _ = strings.Cut(rest, " ")
	}
	return kind, team, rest
}

// teams is Teams with those that were created since.
func (e *Evidence) teams() map[string]string {
	all := maps.Clone(e.Teams)
	if all == nil {
		all = map[string]string{}
	}
	for _, c := range e.PagerDuty {
		if kind, id, name := split(c.Effect); kind == "create_team" {
			if team, known := e.Names[name]; known {
				all[id] = team
			}
		}
	}
	return all
}

// chainHolds makes the chain again: seq without gaps, prev_hash the hash before, hash the SHA-256 over both and the
// content, the columns as the content says, and the head at the last entry.
func chainHolds(e *Evidence, _ *Report, complain func(string, ...any)) {
	at := Head{}
	for _, f := range e.Findings {
		sum := sha256.Sum256([]byte("nthlayer.trail.v1\n" + f.PrevHash + "\n" + f.Content))
		var s sealed
		switch err := json.Unmarshal([]byte(f.Content), &s); {
		case f.Seq != at.Seq+1:
			complain("entry %d is followed by entry %d", at.Seq, f.Seq)
		case f.PrevHash != at.Hash:
			complain("entry %d does not follow the entry before it", f.Seq)
		case f.Hash != hex.EncodeToString(sum[:]):
			complain("the hash of entry %d is not that of its content", f.Seq)
		case err != nil:
			complain("the content of entry %d cannot be read: %v", f.Seq, err)
		case s.Seq != f.Seq, s.JobID != f.JobID, s.ChangeID != f.ChangeID, s.TeamID != f.Team, s.Outcome != f.Outcome:
			complain("the columns of entry %d do not say what its content says", f.Seq)
		}
		at = Head{f.Seq, f.Hash}
	}
	if at != e.Head {
		complain("the trail ends with entry %d, its head is entry %d", at.Seq, e.Head.Seq)
	}
}

// noDeclaredRemoved: a worker never took somebody off a team in whom Cortex says that the person is. Declarations do not
// change while the suite runs, so such a removal could only come from a read that failed and was believed.
func noDeclaredRemoved(e *Evidence, _ *Report, complain func(string, ...any)) {
	teams := e.teams()
	for _, c := range e.PagerDuty {
		kind, id, person := split(c.Effect)
		email := strings.ToLower(e.People[person])
		if kind != "remove_member" || !e.byWorker(c) {
			continue
		}
		if role, declared := e.Wanted[teams[id]].Members[email]; declared {
			complain("%s was removed from team %s at %s, and is declared there as %s", email, teams[id], c.Time.Format(time.StampMilli), role)
		}
	}
}

// oneWriter: whoever writes to a team holds the newest claim on it at that moment.
func oneWriter(e *Evidence, _ *Report, complain func(string, ...any)) {
	claims := map[string][]Claim{}
	for _, c := range e.Claims {
		claims[c.Team] = append(claims[c.Team], c)
	}
	teams := e.teams()
	for _, c := range e.PagerDuty {
		if !c.Write || !e.byWorker(c) {
			continue
		}
		id := teamOf(c)
		team, known := teams[id]
		if !known {
			continue // a write that reached no team, or that the trail's rule complains about
		}
		held := claims[team]
		next := sort.Search(len(held), func(i int) bool { return held[i].At.After(c.Time) })
		switch {
		case next == 0:
			complain("%s wrote to team %s at %s, and nobody had claimed it (%s %s)", c.Via, team, c.Time.Format(time.StampMicro), c.Method, c.Path)
		case held[next-1].Worker != c.Via:
			complain("%s wrote to team %s at %s, which %s had claimed at %s (%s %s, effect %q)%s", c.Via, team, c.Time.Format(time.StampMicro),
				held[next-1].Worker, held[next-1].At.Format(time.StampMicro), c.Method, c.Path, c.Effect, e.lately(team, c.Time))
		}
	}
}

// lately tells what happened to a team in the seconds before a moment, for who has to find out why.
func (e *Evidence) lately(team string, at time.Time) string {
	const before = 5 * time.Second
	var lines []string
	in := func(t time.Time) bool { return !t.After(at) && at.Sub(t) < before }
	teams := e.teams()
	for _, c := range e.PagerDuty {
		if c.Write && in(c.Time) && teams[teamOf(c)] == team {
			lines = append(lines, fmt.Sprintf("%s %s: %s %s %d %s %q", c.Time.Format(time.StampMicro), c.Via, c.Method, c.Path, c.Status, c.Fault, c.Effect))
		}
	}
	for _, c := range e.Claims {
		if in(c.At) && c.Team == team {
			lines = append(lines, fmt.Sprintf("%s %s: claim", c.At.Format(time.StampMicro), c.Worker))
		}
	}
	slices.Sort(lines)
	return "\n  " + strings.Join(lines, "\n  ")
}

// teamOf is the PagerDuty id of the team that a call is about; a team that it created is only in the effect.
func teamOf(c Call) string {
	if _, rest, ok := strings.Cut(c.Path, "/teams/"); ok {
		id, _, _ := strings.Cut(rest, "/")
		return id
	}
	_, id, _ := split(c.Effect)
	return id
}

// quotaRespected: no platform had to refuse a call because of its quota.
func quotaRespected(e *Evidence, _ *Report, complain func(string, ...any)) {
	for platform, calls := range map[string][]Call{"PagerDuty": e.PagerDuty, "Cortex": e.Cortex, "Slack": e.Slack} {
		refused, first := 0, ""
		for _, c := range calls {
			if c.Status == 429 && !c.Injected {
				if refused++; refused == 1 {
					first = fmt.Sprintf("%s %s by %q at %s", c.Method, c.Path, c.Via, c.Time.Format(time.StampMilli))
				}
			}
		}
		if refused > 0 {
			complain("%s answered 429 %d times by itself, first to %s", platform, refused, first)
		}
	}
}

// toldOnce: everybody was told, and nobody twice. A message whose post was answered by a fault may stand twice: Slack has
// no key that makes posting idempotent. That is counted.
func toldOnce(e *Evidence, r *Report, complain func(string, ...any)) {
	lost := map[string]bool{} // ts of messages whose author was never told so
	for _, c := range e.Slack {
		if kind, _, ts := split(c.Effect); kind == "post" && c.Injected {
			lost[ts] = true
		}
	}
	posted, excused := map[string]int{}, map[string]int{}
	for _, m := range e.Messages {
		posted[m.Key]++
		if lost[m.TS] {
			excused[m.Key]++
		}
	}
	known := map[string]bool{}
	for _, d := range e.Deliveries {
		known[d.Key] = true
		switch n := posted[d.Key]; {
		case d.Status == "pending" && !e.Telling:
			complain("delivery %s is still pending", d.Key)
		case d.Status == "delivered" && n == 0:
			complain("delivery %s counts as delivered, and is not on Slack", d.Key)
		}
	}
	for key, n := range posted {
		if n > 1 {
			if excused[key] < n-1 {
				complain("message %s is on Slack %d times", key, n)
			} else {
				r.Exceptions["messages posted again after their answer was lost"] += n - 1
			}
		}
		if delivery, _, _ := strings.Cut(key, "#"); !known[delivery] && !e.Telling { // replies have keys of their own: <key>#<n>
			complain("message %s is on Slack, and nobody was to be told so", key)
		}
	}
}
