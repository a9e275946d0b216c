package output

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ShowAudits writes one line an audit.
func ShowAudits(w io.Writer, now time.Time, audits []*nthlayerv1.Audit) error {
	if len(audits) == 0 {
		_, err := fmt.Fprintln(w, "No audits. Start one with: nthlayer audit start")
		return err
	}
	t := table{headings: []string{"AUDIT", "SCHEDULE", "STATUS", "CREATED", "TOOK", "READ", "TEAMS", "OUT OF SYNC", "UNKNOWN", "OPEN"}}
	for _, a := range audits {
		counted := func(n int32) cell {
			if a.GetCounts() == nil {
				return text("")
			}
			return number(n)
		}
		teams := counted(a.GetCounts().GetTeams())
		if p := a.GetProgress(); a.GetCounts() == nil && p.GetTeamsTotal() > 0 {
			teams = text(fmt.Sprintf("%d/%d", p.GetTeamsDone(), p.GetTeamsTotal()))
		}
		c := a.GetCounts()
		t.add(text(a.GetAuditId()), text(a.GetScheduleId()), status(a.GetStatus()), text(ago(now, a.GetCreatedAt().AsTime())),
			text(between(a.GetStartedAt(), a.GetFinishedAt())), text(a.GetRead()), teams,
			counted(c.GetOutOfSync()), counted(c.GetUnknown()), counted(c.GetOpen()))
	}
	return t.write(w)
}

// ShowAudit writes everything known of an audit: how far it is, or what came out.
func ShowAudit(w io.Writer, now time.Time, a *nthlayerv1.Audit) error {
	var b strings.Builder
	of := "asked for by " + clean(a.GetRequestedBy())
	if id := a.GetScheduleId(); id != "" {
		of = "of schedule " + clean(id)
	}
	fmt.Fprintf(&b, "%s  audit %s, %s\n", bold.Render(clean(a.GetAuditId())), of, ago(now, a.GetCreatedAt().AsTime()))
	writeAuditOutcome(&b, a)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %s %s\n", faint.Render(fmt.Sprintf("%-10s", name)), value)
		}
	}
	line("scope", scope(a.GetScope()))
	line("read", read(a))
	if a.GetAutoReconcile() == "enforce" {
		line("mends", plural(int(a.GetRunsStarted()), "run")+" asked for")
	}
	p := a.GetProgress()
	if a.GetFinishedAt() == nil && a.GetStartedAt() != nil {
		line("phase", words(p.GetPhase()))
		line("teams", fmt.Sprintf("%d of %d done", p.GetTeamsDone(), p.GetTeamsTotal()))
	}
	if p.GetReadsTotal() > 0 {
		line("members", fmt.Sprintf("read of %d of %s", p.GetReadsDone(), plural(int(p.GetReadsTotal()), "team")))
	}
	if p.GetCortexCalls()+p.GetPagerdutyCalls() > 0 {
		line("calls", fmt.Sprintf("%d to Cortex, %d to PagerDuty", p.GetCortexCalls(), p.GetPagerdutyCalls()))
	}
	if p.GetDoneBy() != nil {
		line("done by", p.GetDoneBy().AsTime().Local().Format(time.DateTime))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	return writeAuditTables(w, a, true)
}

// ShowAuditOutcome writes what came out of an audit that has ended.
func ShowAuditOutcome(w io.Writer, a *nthlayerv1.Audit) error {
	var b strings.Builder
	writeAuditOutcome(&b, a)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	return writeAuditTables(w, a, false)
}

func writeAuditOutcome(b *strings.Builder, a *nthlayerv1.Audit) {
	b.WriteString(statusStyle(a.GetStatus()).Bold(true).Render(words(a.GetStatus())))
	if d := between(a.GetStartedAt(), a.GetFinishedAt()); d != "" {
		fmt.Fprintf(b, " in %s", d)
	}
	if s := clean(cmp.Or(a.GetSummary(), a.GetError().GetMessage())); s != "" {
		fmt.Fprintf(b, ": %s", s)
	}
	b.WriteByte('\n')
}

// writeAuditTables writes the counts of an audit that has ended; with all also those that a summary leaves out.
func writeAuditTables(w io.Writer, a *nthlayerv1.Audit, all bool) error {
	var tables []table
	if c := a.GetCounts(); c != nil && all {
		tables = append(tables, countsTable(c, a.GetPrevious()))
	}
	if kinds := a.GetKinds(); len(kinds) > 0 {
		t := table{headings: []string{"KIND", "OPEN", "ACKNOWLEDGED", "NEW", "RESOLVED"}}
		for _, k := range kinds {
			t.add(text(k.GetKind()), number(k.GetOpen()), number(k.GetAcknowledged()), number(k.GetNew()), number(k.GetResolved()))
		}
		tables = append(tables, t)
	}
	if teams := a.GetTopTeams(); len(teams) > 0 && all {
		t := table{headings: []string{"TEAM", "NAME", "OPEN"}}
		for _, team := range teams {
			t.add(text(team.GetTeamId()), text(team.GetName()), number(team.GetOpen()))
		}
		tables = append(tables, t)
	}
	if unread := a.GetUnread(); len(unread) > 0 {
		t := table{headings: []string{"NOT READ", "TEAMS", "WHY"}}
		for _, u := range unread {
			t.add(text(u.GetReason()), number(u.GetTeams()), text(u.GetMessage()))
		}
		tables = append(tables, t)
	}
	if ignored := a.GetIgnoreRules(); len(ignored) > 0 {
		t := table{headings: []string{"IGNORED", "WHAT", "OF", "UNTIL", "OWNER", "REASON"}}
		for _, i := range ignored {
			r := i.GetRule()
			t.add(number(i.GetIgnored()), text(r.GetKind()+" "+r.GetValue()), text(fleetOr(r.GetTeamId())), text(date(r.GetExpiresAt())),
				text(r.GetOwner()), text(r.GetReason()))
		}
		tables = append(tables, t)
	}
	for _, t := range tables {
		fmt.Fprintln(w)
		if err := t.write(w); err != nil {
			return err
		}
	}
	return nil
}

// countsTable shows what an audit came to, beside the audit before it.
func countsTable(c, before *nthlayerv1.AuditCounts) table {
	t := table{headings: []string{"", "NOW", "BEFORE"}}
	row := func(name string, count func(*nthlayerv1.AuditCounts) int32) {
		was := text("")
		if before != nil {
			was = number(count(before))
		}
		t.add(text(name), number(count(c)), was)
	}
	row("teams", (*nthlayerv1.AuditCounts).GetTeams)
	row("in sync", (*nthlayerv1.AuditCounts).GetInSync)
	row("out of sync", (*nthlayerv1.AuditCounts).GetOutOfSync)
	row("unknown", (*nthlayerv1.AuditCounts).GetUnknown)
	row("not read", (*nthlayerv1.AuditCounts).GetUnread)
	row("findings open", (*nthlayerv1.AuditCounts).GetOpen)
	row("acknowledged", (*nthlayerv1.AuditCounts).GetAcknowledged)
	row("new", (*nthlayerv1.AuditCounts).GetNew)
	row("returned", (*nthlayerv1.AuditCounts).GetReopened)
	row("resolved", (*nthlayerv1.AuditCounts).GetResolved)
	row("missed before", (*nthlayerv1.AuditCounts).GetMissed)
	if c.GetIgnored() > 0 || before.GetIgnored() > 0 {
		row("ignored", (*nthlayerv1.AuditCounts).GetIgnored)
	}
	if before == nil {
		t.drop("BEFORE")
	}
	return t
}

// scope says which teams.
func scope(s *nthlayerv1.AuditScope) string {
	teams := "all teams"
	if include := s.GetInclude(); len(include) > 0 {
		teams = clean(strings.Join(include, ", "))
	}
	if exclude := s.GetExclude(); len(exclude) > 0 {
		teams += " without " + clean(strings.Join(exclude, ", "))
	}
	return teams
}

// read says what is read, and why more than was asked for.
func read(a *nthlayerv1.Audit) string {
	asked := cmp.Or(words(a.GetMode()), "auto")
	if a.GetRead() == "" {
		return asked
	}
	text := words(a.GetRead())
	if text != asked {
		text += ", asked for as " + asked
	}
	if why := clean(a.GetReadReason()); why != "" {
		text += ": " + why
	}
	return text
}
