package output

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ShowSchedules writes one line a schedule.
func ShowSchedules(w io.Writer, now time.Time, schedules []*nthlayerv1.Schedule) error {
	if len(schedules) == 0 {
		_, err := fmt.Fprintln(w, "No schedules. Make one with: nthlayer audit schedule create NAME --cron @daily")
		return err
	}
	t := table{headings: []string{"SCHEDULE", "CRON", "ZONE", "NEXT", "LAST", "MODE", "RECONCILE", "TELLS", "OWNER"}}
	for _, s := range schedules {
		next := status("paused")
		if !s.GetPaused() {
			next = text(in(now, s.GetNextRunAt().AsTime()))
		}
		set := s.GetSettings()
		t.add(text(s.GetScheduleId()), text(set.GetCron()), text(cmp.Or(set.GetTimeZone(), "UTC")), next, text(last(now, s)),
			text(cmp.Or(set.GetMode(), "auto")), text(cmp.Or(set.GetAutoReconcile(), "observe")),
			text(words(cmp.Or(set.GetNotify(), "always"))), text(set.GetOwner()))
	}
	return t.write(w)
}

// ShowSchedule writes everything known of a schedule.
func ShowSchedule(w io.Writer, now time.Time, s *nthlayerv1.Schedule) error {
	var b strings.Builder
	set := s.GetSettings()
	fmt.Fprintf(&b, "%s  %s %s\n", bold.Render(clean(s.GetScheduleId())), clean(set.GetCron()), clean(cmp.Or(set.GetTimeZone(), "UTC")))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %s %s\n", faint.Render(fmt.Sprintf("%-10s", name)), value)
		}
	}
	if s.GetPaused() {
		line("paused", caution.Render(fmt.Sprintf("by %s: %s", clean(s.GetPausedBy()), clean(s.GetPauseReason()))))
	} else if s.GetNextRunAt() != nil {
		next := s.GetNextRunAt().AsTime()
		line("next", fmt.Sprintf("%s, %s", next.In(Zone(set.GetTimeZone())).Format(tickTime), in(now, next)))
	}
	line("last", last(now, s))
	line("last audit", clean(s.GetLastAuditId()))
	if n := s.GetSkippedTicks(); n > 0 {
		line("left out", plural(int(n), "tick")+", because the audit before was still under way")
	}
	line("scope", scope(set.GetScope()))
	mode := cmp.Or(words(set.GetMode()), "auto")
	if mode == "auto" {
		every := 7 * 24 * time.Hour // the API's own, where none is set
		if set.GetFullEvery() != nil {
			every = set.GetFullEvery().AsDuration()
		}
		mode += ", everything when the last full read is older than " + Span(every)
	}
	line("mode", mode)
	line("jitter", jitter(set.GetJitter()))
	reconcile := "no"
	if set.GetAutoReconcile() == "enforce" {
		reconcile = "yes: a run of every team that is out of sync"
	}
	line("reconciles", reconcile)
	line("tells", tells(set))
	line("ignores", clean(strings.Join(set.GetIgnoreOrphans(), ", ")))
	line("owner", clean(set.GetOwner()))
	line("revision", fmt.Sprintf("%d, %s by %s", s.GetRevision(), ago(now, s.GetUpdatedAt().AsTime()), clean(cmp.Or(s.GetUpdatedBy(), s.GetCreatedBy()))))
	_, err := io.WriteString(w, b.String())
	return err
}

// tells says when somebody is told, and who.
func tells(set *nthlayerv1.ScheduleSettings) string {
	var whom []string
	if c := clean(set.GetSlackChannel()); c != "" {
		whom = append(whom, "slack "+c)
	}
	for _, address := range set.GetEmails() {
		whom = append(whom, clean(address))
	}
	when := words(cmp.Or(set.GetNotify(), "always"))
	switch {
	case when == "never":
		return when
	case len(whom) == 0:
		return when + ", but nobody is named"
	default:
		return when + ": " + strings.Join(whom, ", ")
	}
}

func jitter(d *durationpb.Duration) string {
	if d.AsDuration() == 0 {
		return ""
	}
	return "up to " + Span(d.AsDuration())
}

func last(now time.Time, s *nthlayerv1.Schedule) string {
	if s.GetLastTickAt() == nil {
		return "never"
	}
	return ago(now, s.GetLastTickAt().AsTime())
}

const tickTime = "Mon 2006-01-02 15:04 MST"

// ShowNextRuns writes the times of a schedule's next ticks, in its zone.
func ShowNextRuns(w io.Writer, now time.Time, of *nthlayerv1.Schedule, times []*timestamppb.Timestamp) error {
	if of.GetPaused() {
		fmt.Fprintf(w, "%s; these are the times without the pause\n", caution.Render(fmt.Sprintf("paused by %s: %s", clean(of.GetPausedBy()), clean(of.GetPauseReason()))))
	}
	if len(times) == 0 {
		_, err := fmt.Fprintln(w, "There is no next time.")
		return err
	}
	t := table{headings: []string{"TIME", "IN"}}
	for _, at := range times {
		t.add(text(at.AsTime().In(Zone(of.GetSettings().GetTimeZone())).Format(tickTime)), text(strings.TrimPrefix(in(now, at.AsTime()), "in ")))
	}
	return t.write(w)
}

// ShowPreview writes what would be told of a schedule's last audit.
func ShowPreview(w io.Writer, p *nthlayerv1.PreviewScheduleResponse) error {
	var b strings.Builder
	verdict := caution.Render("would not be told")
	if p.GetWouldTell() {
		verdict = good.Render("would be told")
	}
	fmt.Fprintf(&b, "audit %s %s: %s\n", bold.Render(clean(p.GetAuditId())), verdict, clean(p.GetWhy()))
	for _, n := range p.GetNotices() {
		fmt.Fprintf(&b, "\n%s\n", bold.Render(clean(n.GetMedium()+" to "+n.GetTo())))
		if s := clean(n.GetSubject()); s != "" {
			fmt.Fprintf(&b, "  %s\n\n", s)
		}
		for line := range strings.Lines(strings.TrimRight(n.GetText(), "\n")) {
			fmt.Fprintln(&b, strings.TrimRight("  "+clean(line), " "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Zone is a time zone by its name; UTC where this machine does not know it.
func Zone(name string) *time.Location {
	if zone, err := time.LoadLocation(name); err == nil {
		return zone
	}
	return time.UTC
}

// in says in how long something is, in the two largest units.
func in(now, then time.Time) string {
	switch d := then.Sub(now); {
	case then.IsZero() || then.Unix() == 0:
		return ""
	case d < time.Second:
		return "now"
	default:
		return "in " + Span(d)
	}
}

// Span is a duration in its two largest units: 3d 4h, 5m 10s.
func Span(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		if d < u.size {
			continue
		}
		text := fmt.Sprintf("%d%s", d/u.size, u.name)
		if rest := d % u.size; i+1 < len(units) && rest >= units[i+1].size {
			text += fmt.Sprintf(" %d%s", rest/units[i+1].size, units[i+1].name)
		}
		return text
	}
	return d.Round(time.Millisecond).String()
}
