// Package checker decides from the outside whether the system kept its promises while it was hurt.
//
// It shares no code with what it checks: it reads PostgreSQL with SQL of its own and the simulated platforms over
// /_control/, and it makes the trail's hash chain again from docs/trail.md. What it must be told is what only the caller
// of the system knows: which requests were accepted, and what both platforms showed when a run had ended.
//
//	install the claim log → let the system work and hurt it → wait until it is quiet → Gather → Check
//
// Each rule stands in rules.go, and has a test that doctors sound evidence until the rule must complain.
package checker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Evidence is what is left when the system has become quiet.
type Evidence struct {
	// Told by the load.
	Accepted       []Accepted
	AcceptedAudits []Accepted // without a key where a schedule was triggered
	Looks          []Look
	Teams          map[string]string // PagerDuty's id of each team there was at the beginning → the team's id
	Workers        []string          // the ways ("via") by which workers reach PagerDuty; everybody else is a person
	Patience       time.Duration     // how long a run may be put off for a platform's sake before it fails
	Telling        bool              // notifications may still be on their way
	Auditing       bool              // audits may still be under way
	LastAudit      string            // of everything, since which nobody has changed anything; empty: there is none

	// Read from PostgreSQL.
	Runs          map[string]Run
	Claims        []Claim // in the order in which they were made
	Intents       []Intent
	Findings      []Finding
	Head          Head
	Deliveries    []Delivery
	Audits        map[string]Audit
	AuditTeams    []AuditTeam
	AuditFindings []AuditFinding
	Links         map[string]string // which of PagerDuty's teams stands for a team, as it was found out once

	// Read from the platforms.
	Names     map[string]string // the name of a team on both platforms → the team's id
	Wanted    map[string]Team   // as Cortex declares them, by the team's id
	Found     map[string]Team   // as PagerDuty has them, by its id
	People    map[string]string // PagerDuty's id of each person → e-mail
	PagerDuty []Call
	Cortex    []Call
	Slack     []Call
	Messages  []Message
}

// Accepted is one 202.
type Accepted struct{ Key, JobID string }

// Look is what the owner of a team saw on both platforms when a run of it had ended, before anybody changed it again.
type Look struct {
	JobID, Team string
	Want, Have  string
}

// Run is a run's row.
type Run struct {
	Team, Key, Status, Reason string
	Attempt                   int
	Age                       time.Duration // at its end, by the database's clock
}

// Claim is a worker's claim of a team.
type Claim struct {
	At     time.Time // by the database's clock, which is also the simulators'
	Team   string
	Worker string // as in Workers
}

// Finding is an entry of the trail with the columns it is searched by.
type Finding struct {
	Seq                            int64
	JobID, ChangeID, Team, Outcome string
	Content, PrevHash, Hash        string
}

// Head is where the trail says it ends.
type Head struct {
	Seq  int64
	Hash string
}

// Delivery is a notification's row; JobID is the run or the audit that is told of.
type Delivery struct{ Key, JobID, Status string }

// Message is a message on Slack with the key in its metadata.
type Message struct{ Key, TS, Thread string }

// Call is a request that a simulator answered.
type Call struct {
	Time     time.Time `json:"time"`
	Method   string    `json:"method"`
	Path     string    `json:"path"`
	Status   int       `json:"status"`
	Write    bool      `json:"write"`
	Via      string    `json:"via"`
	Fault    string    `json:"fault"`
	Injected bool      `json:"injected"`
	Effect   string    `json:"effect"`
}

// Violation is a promise that was not kept.
type Violation struct{ Rule, Text string }

func (v Violation) String() string { return v.Rule + ": " + v.Text }

// Report is the verdict, with the numbers that show that there was something to judge.
type Report struct {
	Violations []Violation
	Exceptions map[string]int // what is documented to be possible, and was seen
	Figures    map[string]int
}

// Check applies every rule.
func (e *Evidence) Check() Report {
	r := &Report{Exceptions: map[string]int{}, Figures: map[string]int{}}
	for _, rule := range rules {
		complain := func(format string, args ...any) {
			r.Violations = append(r.Violations, Violation{rule.name, fmt.Sprintf(format, args...)})
		}
		rule.check(e, r, complain)
	}
	e.count(r)
	return *r
}

// count fills in the figures.
func (e *Evidence) count(r *Report) {
	r.Figures["accepted"] = len(e.Accepted)
	r.Figures["looks"] = len(e.Looks)
	r.Figures["claims"] = len(e.Claims)
	r.Figures["messages"] = len(e.Messages)
	for _, run := range e.Runs {
		r.Figures["runs "+run.Status]++
		if run.Reason != "" && run.Status != "succeeded" {
			r.Figures["reason "+run.Reason]++
		}
	}
	for _, f := range e.Findings {
		r.Figures["findings "+f.Outcome]++
	}
	for _, d := range e.Deliveries {
		r.Figures["deliveries "+d.Status]++
	}
	for platform, calls := range map[string][]Call{"pagerduty": e.PagerDuty, "cortex": e.Cortex, "slack": e.Slack} {
		r.Figures["calls "+platform] = len(calls)
		for _, c := range calls {
			if c.Fault != "" {
				r.Figures["fault "+platform+" "+c.Fault]++
			}
		}
	}
	e.countAudits(r)
	for _, c := range e.PagerDuty {
		if e.byWorker(c) && c.Effect != "" {
			kind, _, _ := strings.Cut(c.Effect, " ")
			r.Figures["effects "+kind]++
		}
	}
}

// Group sums the figures that begin with a word.
func (r Report) Group(word string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r.Figures)) {
		if rest, ok := strings.CutPrefix(name, word+" "); ok {
			parts = append(parts, fmt.Sprintf("%s %d", rest, r.Figures[name]))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func (e *Evidence) byWorker(c Call) bool { return slices.Contains(e.Workers, c.Via) }
