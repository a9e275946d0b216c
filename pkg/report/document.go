package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// document is the content of a report, whatever the medium. Its texts are clean and not escaped.
type document struct {
	Title string
	Tone  string // good, attention, bad or quiet
	Lead  []string
	Link  string
	Parts []part
	Facts []fact // how the audit was made
}

// part is a heading with a table or with findings.
type part struct {
	Title  string
	Note   string
	Table  *table
	Groups []group
}

type table struct {
	Columns []column
	Rows    [][]string
}

type column struct {
	Title  string
	Number bool
}

// group is the findings of one team.
type group struct {
	Title string
	Items []item
}

// item is a finding, ready to be shown.
type item struct {
	Line  string // all of it
	Text  string // without who changed it
	Kind  string
	Since string // the day
	By    string
}

type fact struct{ Name, Value string }

func compose(r Report) document {
	n := r.Audit
	d := document{Title: capital(Headline(n)), Tone: tone(n), Link: link(n.URL)}
	d.tell(n.Summary)
	if n.Status == "failed" {
		d.tell(n.ErrorMessage)
		d.tell("Nothing is known of the teams: what was found before was left as it is.")
	}
	if n.Status == "canceled" {
		d.tell("What was compared until then stays.")
	}
	if n.Counts.Missed > 0 {
		d.tell("The full read found " + count(n.Counts.Missed, "team") + " other than the incremental audits before it had them.")
	}
	d.add(part{Title: "Teams and findings", Table: countsTable(n), Note: countsNote(n)})
	d.add(part{Title: "What could not be read", Table: unreadTable(n), Note: unreadNote(n)})
	d.add(part{Title: "Findings by kind", Table: kindsTable(n)})
	d.add(ignoredPart(n))
	d.add(part{Title: "Teams with the most findings", Table: teamsTable(n)})
	d.add(findingsPart("New and returned findings", n.New, n.Counts.New+n.Counts.Reopened))
	d.add(findingsPart("Resolved findings", n.Resolved, n.Counts.Resolved))
	d.add(findingsPart("Findings not resolved", r.Findings, len(r.Findings)))
	d.add(part{Title: "The audits before", Table: trendTable(n)})
	d.Facts = facts(n)
	return d
}

// add leaves out a part that has nothing to show.
func (d *document) add(p part) {
	if p.Table != nil || len(p.Groups) > 0 || p.Note != "" {
		d.Parts = append(d.Parts, p)
	}
}

// tell adds a sentence, once.
func (d *document) tell(sentence string) {
	if sentence = clean(sentence, messageRunes); sentence != "" && !slices.Contains(d.Lead, sentence) {
		d.Lead = append(d.Lead, sentence)
	}
}

func tone(n notice.AuditFinished) string {
	switch {
	case n.Status == "failed":
		return "bad"
	case n.Status == "canceled":
		return "quiet"
	case n.Status == "succeeded" && n.Counts.OutOfSync == 0 && n.Counts.Unknown == 0:
		return "good"
	default:
		return "attention"
	}
}

func countsTable(n notice.AuditFinished) *table {
	c := n.Counts
	rows := []struct {
		name string
		n    int
		of   func(notice.AuditCounts) int // nil: not a state but what this audit did
	}{
		{"Teams in scope", c.Teams, func(c notice.AuditCounts) int { return c.Teams }},
		{"In sync", c.InSync, func(c notice.AuditCounts) int { return c.InSync }},
		{"Out of sync", c.OutOfSync, func(c notice.AuditCounts) int { return c.OutOfSync }},
		{"Unknown", c.Unknown, func(c notice.AuditCounts) int { return c.Unknown }},
		{"Open findings", c.Open, func(c notice.AuditCounts) int { return c.Open }},
		{"Acknowledged", c.Acknowledged, func(c notice.AuditCounts) int { return c.Acknowledged }},
		{"New", c.New, nil},
		{"Returned", c.Reopened, nil},
		{"Resolved", c.Resolved, nil},
	}
	t := &table{Columns: []column{{}, {Title: "Now", Number: true}}}
	compared := Delta(n, rows[0].of) != ""
	if compared {
		t.Columns = append(t.Columns, column{Title: "Change", Number: true})
	}
	for _, r := range rows {
		cells := []string{r.name, strconv.Itoa(r.n)}
		if compared {
			delta := ""
			if r.of != nil {
				delta = Delta(n, r.of)
			}
			cells = append(cells, delta)
		}
		t.Rows = append(t.Rows, cells)
	}
	if c.Ignored > 0 {
		row := []string{"Ignored", strconv.Itoa(c.Ignored)}
		if compared {
			row = append(row, Delta(n, func(c notice.AuditCounts) int { return c.Ignored }))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func countsNote(n notice.AuditFinished) string {
	if n.Previous == nil {
		return "There is no audit before this one to compare with."
	}
	return ""
}

func unreadTable(n notice.AuditFinished) *table {
	if len(n.Unread) == 0 {
		return nil
	}
	t := &table{Columns: []column{{Title: "Teams", Number: true}, {Title: "Reason"}, {Title: "What happened"}}}
	for _, u := range n.Unread {
		t.Rows = append(t.Rows, []string{strconv.Itoa(u.Teams), clean(u.Reason, nameRunes), clean(u.Message, messageRunes)})
	}
	return t
}

func unreadNote(n notice.AuditFinished) string {
	if n.Counts.Unread == 0 {
		return ""
	}
	return "The findings of " + count(n.Counts.Unread, "team") + " that could not be read" +
		" were left as they are: what could not be read is neither taken for mended nor for broken."
}

func kindsTable(n notice.AuditFinished) *table {
	if len(n.Kinds) == 0 {
		return nil
	}
	t := &table{Columns: []column{
		{Title: "Kind"}, {Title: "Open", Number: true}, {Title: "Acknowledged", Number: true}, {Title: "New", Number: true}, {Title: "Resolved", Number: true},
	}}
	for _, k := range n.Kinds {
		t.Rows = append(t.Rows, []string{Kind(k.Kind), strconv.Itoa(k.Open), strconv.Itoa(k.Acknowledged), strconv.Itoa(k.New), strconv.Itoa(k.Resolved)})
	}
	return t
}

// ignoredPart names the rules that hid something: nothing is hidden without a word.
func ignoredPart(n notice.AuditFinished) part {
	if len(n.IgnoreRules) == 0 {
		return part{}
	}
	p := part{Title: "Ignored differences", Table: &table{Columns: []column{
		{Title: "Ignored", Number: true}, {Title: "What"}, {Title: "Of"}, {Title: "Until"}, {Title: "Owner"}, {Title: "Reason"}, {Title: "Rule"},
	}}}
	rest := n.Counts.Ignored
	for _, r := range n.IgnoreRules {
		rest -= r.Ignored
		p.Table.Rows = append(p.Table.Rows, []string{
			strconv.Itoa(r.Ignored), clean(r.Kind, nameRunes) + " " + clean(r.Value, nameRunes), cmp.Or(clean(r.TeamID, nameRunes), "the fleet"),
			day(ownership.LastDay(r.Until)), clean(r.Owner, nameRunes), clean(r.Reason, messageRunes), clean(r.RuleID, nameRunes),
		})
	}
	if rest > 0 {
		p.Note = "Other rules hid " + count(rest, "difference") + "."
	}
	return p
}

func teamsTable(n notice.AuditFinished) *table {
	if len(n.TopTeams) == 0 {
		return nil
	}
	t := &table{Columns: []column{{Title: "Team"}, {Title: "Id"}, {Title: "Open", Number: true}}}
	for _, team := range n.TopTeams {
		id := clean(team.TeamID, nameRunes)
		t.Rows = append(t.Rows, []string{cmp.Or(clean(team.Name, nameRunes), id), id, strconv.Itoa(team.Open)})
	}
	return t
}

// findingsPart groups findings by team. total is how many there are, of which a notice may hold fewer.
func findingsPart(title string, items []notice.AuditItem, total int) part {
	p := part{Title: title, Groups: groups(items)}
	if len(items) == 0 {
		return part{}
	}
	if rest := total - len(items); rest > 0 {
		p.Note = fmt.Sprintf("%d of %d are shown.", len(items), total)
	}
	return p
}

// groups keeps the order in which teams come first.
func groups(items []notice.AuditItem) []group {
	var out []group
	index := map[string]int{}
	for _, i := range items {
		team := cmp.Or(clean(i.TeamID, nameRunes), "No team")
		place, seen := index[team]
		if !seen {
			place = len(out)
			index[team] = place
			out = append(out, group{Title: team})
		}
		shown := item{
			Line: Finding(i), Text: finding(i), Kind: Kind(i.Kind),
			Since: day(i.Since), By: clean(i.ChangedBy, nameRunes),
		}
		for _, mark := range []struct {
			is   bool
			text string
		}{{i.Returned, "returned"}, {i.Status == "acknowledged", "acknowledged"}} {
			if mark.is {
				shown.Line += ", " + mark.text
				shown.Text += ", " + mark.text
			}
		}
		if shown.Since != "" {
			shown.Line += ", since " + shown.Since
		}
		out[place].Items = append(out[place].Items, shown)
	}
	return out
}

// trendTable is nothing while there is no audit to compare with.
func trendTable(n notice.AuditFinished) *table {
	if len(n.Trend) < 2 {
		return nil
	}
	t := &table{Columns: []column{
		{Title: "Audit"}, {Title: "In sync", Number: true}, {Title: "Out of sync", Number: true}, {Title: "Unknown", Number: true}, {Title: "Open findings", Number: true},
	}}
	for _, p := range n.Trend {
		t.Rows = append(t.Rows, []string{at(p.At), strconv.Itoa(p.InSync), strconv.Itoa(p.OutOfSync), strconv.Itoa(p.Unknown), strconv.Itoa(p.Open)})
	}
	return t
}

// facts say how the audit was made, and how to look it up.
func facts(n notice.AuditFinished) []fact {
	var out []fact
	add := func(name, value string) {
		if value != "" {
			out = append(out, fact{name, value})
		}
	}
	add("Finished", at(n.FinishedAt))
	if took := n.FinishedAt.Sub(n.StartedAt).Round(time.Second); !n.StartedAt.IsZero() && took >= 0 {
		add("Took", took.String())
	}
	read := clean(n.Read, nameRunes)
	if why := clean(n.ReadReason, messageRunes); read != "" && why != "" {
		read += ": " + why
	}
	add("Read", read)
	calls := fmt.Sprintf("%d to Cortex, %d to PagerDuty", n.Calls.Cortex, n.Calls.PagerDuty)
	if n.Counts.Teams > 0 {
		calls += fmt.Sprintf("; %.2f a team", float64(n.Calls.Cortex+n.Calls.PagerDuty)/float64(n.Counts.Teams))
	}
	add("Calls", calls)
	if n.RunsStarted > 0 {
		add("Runs started", strconv.Itoa(n.RunsStarted))
	}
	add("Error", clean(n.ErrorReason, nameRunes))
	add("Schedule", clean(n.ScheduleID, nameRunes))
	add("Asked for by", clean(n.RequestedBy, nameRunes))
	add("Audit", clean(n.AuditID, nameRunes))
	add("Again", "nthlayer audit report "+clean(n.AuditID, nameRunes))
	return out
}

func capital(s string) string {
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}
