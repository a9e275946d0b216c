package checker

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Audit is an audit's row, with what its report says.
type Audit struct {
	Schedule, Tick string // empty: somebody asked for it
	Status, Read   string
	Notify         string // the rule by which it is told of
	Channel        string // on Slack; empty: none
	Include        []string
	Exclude        []string
	Total, Done    int // teams, as they were counted on the way
	Missed         int // teams that increments had wrong
	Counts         Counts
	Parts          int // that were done
	Calls          map[string]int
}

// Counts is what the report of an audit says of its teams.
type Counts struct{ Teams, InSync, OutOfSync, Unknown int }

// AuditTeam is what an audit wrote down about a team.
type AuditTeam struct{ Audit, Team, Status, Unread string }

// AuditFinding is something that audits found wrong.
type AuditFinding struct {
	Team, Kind, Category, Entity, Status string
	Resolved                             bool   // there is a time of it
	By                                   string // who resolved it
}

// Intent is a change that a run was about to make.
type Intent struct {
	At         time.Time // by the database's clock
	Team, Kind string
	Person     string // PagerDuty's id; empty: it is about the team
}

// Team is a team as a platform has it now.
type Team struct {
	Name, Description string
	Members           map[string]string // e-mail → role in PagerDuty's words
}

func (a Audit) ended() bool { return a.Status != "queued" && a.Status != "running" }

// compared reports an audit that had both sides' lists and went over its teams to the end.
func (a Audit) compared() bool { return a.Status == "succeeded" || a.Status == "incomplete" }

// matches reports whether a team is in the audit's scope.
func (a Audit) matches(team string) bool {
	in := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			quoted := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern))
			return regexp.MustCompile(`(?is)^` + quoted + `$`).MatchString(team)
		})
	}
	return (len(a.Include) == 0 || in(a.Include)) && !in(a.Exclude)
}

// auditsEnd: whatever audit was answered 202 is there, and when all is over every audit has ended.
func auditsEnd(e *Evidence, _ *Report, complain func(string, ...any)) {
	for _, a := range e.AcceptedAudits {
		if _, known := e.Audits[a.JobID]; !known {
			complain("audit %s was accepted under key %s, and is not there", a.JobID, a.Key)
		}
	}
	for id, a := range e.Audits {
		if !a.ended() && !e.Auditing {
			complain("audit %s is still %s", id, a.Status)
		}
	}
}

// ticksOnce: a tick of a schedule is one audit.
func ticksOnce(e *Evidence, _ *Report, complain func(string, ...any)) {
	ticks := map[[2]string]string{}
	for _, id := range slices.Sorted(maps.Keys(e.Audits)) {
		a := e.Audits[id]
		if a.Tick == "" {
			continue
		}
		tick := [2]string{a.Schedule, a.Tick}
		if other, taken := ticks[tick]; taken {
			complain("schedule %s ticked at %s for the audits %s and %s", a.Schedule, a.Tick, other, id)
		}
		ticks[tick] = id
	}
}

// auditsReadOnly: whatever a worker wrote, a run of that team had intended before. Audits are done by the same processes
// with the same credential, and intend nothing. Nobody writes to Cortex.
func auditsReadOnly(e *Evidence, _ *Report, complain func(string, ...any)) {
	for _, c := range e.Cortex {
		if c.Method != "GET" {
			complain("%s %s was sent to Cortex at %s", c.Method, c.Path, c.Time.Format(time.StampMilli))
		}
	}
	first := map[Intent]time.Time{} // without its time → when it was first intended
	for _, i := range e.Intents {
		at := i.At
		i.At = time.Time{}
		if earlier, known := first[i]; !known || at.Before(earlier) {
			first[i] = at
		}
	}
	teams := e.teams()
	for _, c := range e.PagerDuty {
		if c.Method == "GET" || !e.byWorker(c) {
			continue
		}
		id := teamOf(c)
		if id == "" {
			continue // a creation that was refused names no team
		}
		team, known := teams[id]
		if !known && c.Effect == "" {
			continue // it reached no team
		}
		if !slices.ContainsFunc(meant(c), func(i Intent) bool {
			i.Team = team
			at, intended := first[i]
			return intended && !at.After(c.Time)
		}) {
			complain("%s %s by %s at %s: no run of team %q had intended that", c.Method, c.Path, c.Via, c.Time.Format(time.StampMilli), team)
		}
	}
}

// meant is what a write can be for; nothing: no run makes such a call.
func meant(c Call) []Intent {
	path, person, ofPerson := strings.Cut(c.Path, "/users/")
	_, about, ofTeam := strings.Cut(path, "/teams/")
	switch {
	case c.Method == "PUT" && ofPerson:
		return []Intent{{Kind: "add_member", Person: person}, {Kind: "change_role", Person: person}}
	case c.Method == "DELETE" && ofPerson:
		return []Intent{{Kind: "remove_member", Person: person}}
	case c.Method == "PUT" && ofTeam && !strings.Contains(about, "/"):
		return []Intent{{Kind: "update_team"}}
	case c.Method == "POST" && path == "/teams":
		return []Intent{{Kind: "create_team"}}
	}
	return nil
}

// auditsAddUp: what an audit that has ended says of its teams is what stands in their rows, and each was counted once.
func auditsAddUp(e *Evidence, _ *Report, complain func(string, ...any)) {
	counts := map[string]Counts{}
	for _, t := range e.AuditTeams {
		c := counts[t.Audit]
		c.Teams++
		switch t.Status {
		case "in_sync":
			c.InSync++
		case "out_of_sync":
			c.OutOfSync++
		default: // also of one that was not compared any more
			c.Unknown++
		}
		counts[t.Audit] = c
	}
	for id, a := range e.Audits {
		c := a.Counts
		switch {
		case !a.ended():
		case c.InSync+c.OutOfSync+c.Unknown != c.Teams:
			complain("audit %s (%s) has %d teams: %d in sync, %d out of sync, %d unknown", id, a.Status, c.Teams, c.InSync, c.OutOfSync, c.Unknown)
		case c != counts[id]:
			complain("audit %s (%s) says %+v of its teams, and their rows say %+v", id, a.Status, c, counts[id])
		case a.compared() && (a.Total != c.Teams || a.Done != c.Teams):
			complain("audit %s (%s) has %d teams; %d were to be compared and %d counted as done", id, a.Status, c.Teams, a.Total, a.Done)
		}
	}
}

// auditsWhole: an audit has each declared team in its scope, once, and no other.
func auditsWhole(e *Evidence, _ *Report, complain func(string, ...any)) {
	audited := map[string]map[string]int{}
	for _, t := range e.AuditTeams {
		if audited[t.Audit] == nil {
			audited[t.Audit] = map[string]int{}
		}
		audited[t.Audit][t.Team]++
	}
	for id, a := range e.Audits {
		for team, n := range audited[id] {
			switch _, declared := e.Wanted[team]; {
			case n > 1:
				complain("audit %s has team %s %d times", id, team, n)
			case !declared || !a.matches(team):
				complain("audit %s has team %s, which is not for it to compare", id, team)
			}
		}
		for team := range e.Wanted {
			if a.compared() && a.matches(team) && audited[id][team] == 0 {
				complain("audit %s (%s) left team %s out", id, a.Status, team)
			}
		}
	}
}

// auditsTold: of an audit that came to its end those are to be told whom its schedule names, once; of others nobody. What
// then stands on Slack is another rule's business.
func auditsTold(e *Evidence, _ *Report, complain func(string, ...any)) {
	told := map[string]int{}
	for _, d := range e.Deliveries {
		told[d.JobID]++
	}
	for id, a := range e.Audits {
		tells := a.ended() && a.Status != "canceled" && a.Channel != ""
		switch n := told[id]; {
		case n > 1:
			complain("of audit %s is to be told %d times", id, n)
		case n == 1 && !tells:
			complain("of audit %s (%s) is to be told, and nobody is to know", id, a.Status)
		case n == 0 && tells && a.Notify == "always":
			complain("audit %s of schedule %s ended as %s, and nobody is to be told", id, a.Schedule, a.Status)
		}
	}
}

// findingsOnce: what is wrong is one finding however often it was seen, and what is resolved says when and by what.
func findingsOnce(e *Evidence, _ *Report, complain func(string, ...any)) {
	seen := map[[3]string]bool{}
	for _, f := range e.AuditFindings {
		name := [3]string{f.Team, f.Kind, f.Entity}
		if seen[name] {
			complain("there are two findings %s", strings.Join(name[:], " "))
		}
		seen[name] = true
		if f.Status != "resolved" {
			if f.Resolved || f.By != "" {
				complain("finding %s is %s, and resolved by %q", strings.Join(name[:], " "), f.Status, f.By)
			}
			continue
		}
		what, id, _ := strings.Cut(f.By, ":")
		_, run := e.Runs[id]
		_, audit := e.Audits[id]
		if !f.Resolved || !(what == "run" && run || what == "audit" && audit) {
			complain("finding %s is resolved, by %q (at a known time: %t)", strings.Join(name[:], " "), f.By, f.Resolved)
		}
	}
}

// lastAuditRight: the full audit that was made when nobody changed anything any more found every difference between the
// platforms as they are now, and none besides; it could read everything, and increments had known no team wrong.
func lastAuditRight(e *Evidence, _ *Report, complain func(string, ...any)) {
	if e.LastAudit == "" {
		return
	}
	if a := e.Audits[e.LastAudit]; a.Status != "succeeded" || a.Read != "full" || a.Missed != 0 {
		complain("the last audit %s ended as %q, after a read that was %q, with %d teams that increments had missed", e.LastAudit, a.Status, a.Read, a.Missed)
	}
	statuses := map[string]string{}
	for _, t := range e.AuditTeams {
		if t.Audit != e.LastAudit {
			continue
		}
		if statuses[t.Team] = t.Status; t.Unread != "" {
			complain("the last audit could not read team %s: %s", t.Team, t.Unread)
		}
	}
	open := map[string][]string{}
	for _, f := range e.AuditFindings {
		if f.Category == "drift" && f.Status != "resolved" {
			kind := f.Kind
			if kind == "removal_held" { // somebody superfluous, for whose removal a run would not answer
				kind = "remove_member"
			}
			open[f.Team] = append(open[f.Team], kind+" "+f.Entity)
		}
	}
	differences := e.differences(complain)
	for team := range e.Wanted {
		want := "in_sync"
		if len(differences[team]) > 0 {
			want = "out_of_sync"
		}
		if statuses[team] != want {
			complain("the last audit says %q of team %s, which is %s", statuses[team], team, want)
		}
		slices.Sort(differences[team])
		slices.Sort(open[team])
		if !slices.Equal(differences[team], open[team]) {
			complain("team %s differs by %q, and audits found %q", team, differences[team], open[team])
		}
	}
}

// differences compares the platforms as they are now: what a run would have to do, as "<kind> <entity>", by team.
func (e *Evidence) differences(complain func(string, ...any)) map[string][]string {
	named := map[string][]string{}
	for id, t := range e.Found {
		named[t.Name] = append(named[t.Name], id)
	}
	all := map[string][]string{}
	for id, want := range e.Wanted {
		ids := named[want.Name]
		if _, there := e.Found[e.Links[id]]; there { // whatever it is called
			ids = []string{e.Links[id]}
		}
		var have Team
		switch len(ids) {
		case 0:
			all[id] = append(all[id], "create_team team:"+id)
			have = Team{Name: want.Name, Description: want.Description}
		case 1:
			have = e.Found[ids[0]]
		default:
			complain("the teams %s of PagerDuty may all stand for team %s", strings.Join(ids, ", "), id)
			continue
		}
		if have.Name != want.Name || have.Description != want.Description {
			all[id] = append(all[id], "update_team team:"+id)
		}
		for email, role := range want.Members {
			switch now, there := have.Members[email]; {
			case !there:
				all[id] = append(all[id], "add_member person:"+email)
			case now != role:
				all[id] = append(all[id], "change_role person:"+email)
			}
		}
		for email := range have.Members {
			if _, declared := want.Members[email]; !declared {
				all[id] = append(all[id], "remove_member person:"+email)
			}
		}
	}
	return all
}

// countAudits fills in the figures of audits.
func (e *Evidence) countAudits(r *Report) {
	for _, a := range e.Audits {
		r.Figures["audits "+a.Status]++
		if a.Read != "" {
			r.Figures["audits' reads "+a.Read]++
		}
		if a.Tick != "" {
			r.Figures["audits' work ticks"]++
		}
		r.Figures["audits' work parts"] += a.Parts
		r.Figures["audits' work teams"] += a.Done
		for platform, n := range a.Calls {
			r.Figures["audits' work calls "+platform] += n
		}
	}
	for _, f := range e.AuditFindings {
		r.Figures[fmt.Sprintf("audits' findings %s", f.Status)]++
	}
}
