package progress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const (
	stepColumn = 16
	maxDetails = 12 // of a step: a board higher than the terminal could not be drawn again in place
)

// board is what is known of a run's steps, in the order in which they began.
type board struct {
	steps []*step
	note  string // about the run as a whole: deferred, failed
}

type step struct {
	name    string
	status  string
	began   time.Time
	ended   time.Time
	details []string // what it did, newest last
}

func (b *board) add(e *nthlayerv1.RunEvent) {
	at := e.GetAt().AsTime()
	switch kind := e.GetKind(); kind {
	case "run_started":
		b.note = ""
	case "run_deferred", "run_requeued", "plan_approved", "run_approved":
		b.note = output.Line(e.GetMessage())
	case "approval_requested":
		b.end("waiting", at)
		b.note = "waits for approval: " + output.Line(e.GetMessage()) + "; see: nthlayer run approve " + e.GetJobId()
	case "run_succeeded":
		b.end("succeeded", at)
	case "run_failed", "run_canceled", "run_dead_lettered":
		b.end("failed", at)
	case "step_started":
		s := b.step(e.GetStep())
		s.status, s.began = "running", at
	case "step_succeeded", "step_failed", "step_skipped":
		s := b.step(e.GetStep())
		s.status, s.ended = strings.TrimPrefix(kind, "step_"), at
		if s.began.IsZero() {
			s.began = at
		}
		if kind == "step_failed" && e.GetMessage() != "" {
			s.details = append(s.details, output.Line(e.GetMessage()))
		}
	case "change_applied", "change_failed":
		s := b.step(cmp.Or(e.GetStep(), "apply"))
		s.details = append(s.details, output.ChangeLine(e.GetChange(), kind == "change_failed", e.GetMessage()))
	case "plan_ready":
		if e.GetMessage() != "" {
			s := b.step(cmp.Or(e.GetStep(), "plan"))
			s.details = append(s.details, output.Line(e.GetMessage()))
		}
	}
}

// end closes the last step: it ends with the run, in one transaction, and has no event of its own.
func (b *board) end(status string, at time.Time) {
	b.note = ""
	for _, s := range b.steps {
		if s.status == "running" {
			s.status, s.ended = status, at
		}
	}
}

func (b *board) step(name string) *step {
	if i := slices.IndexFunc(b.steps, func(s *step) bool { return s.name == name }); i >= 0 {
		return b.steps[i]
	}
	s := &step{name: name}
	b.steps = append(b.steps, s)
	return s
}

// lines draws the board.
func (b *board) lines(now time.Time) []string {
	good := lipgloss.NewStyle().Foreground(lipgloss.Green)
	bad := lipgloss.NewStyle().Foreground(lipgloss.Red)
	var lines []string
	for _, s := range b.steps {
		mark, took := " ", time.Duration(0)
		switch s.status {
		case "running":
			mark, took = spin(now), now.Sub(s.began)
		case "succeeded":
			mark, took = good.Render("✓"), s.ended.Sub(s.began)
		case "failed":
			mark, took = bad.Render("✗"), s.ended.Sub(s.began)
		case "waiting":
			mark, took = "…", s.ended.Sub(s.began)
		case "skipped":
			mark = output.Faint("–")
		}
		line := fmt.Sprintf("  %s %-*s", mark, stepColumn, strings.ReplaceAll(s.name, "_", " "))
		if s.status != "skipped" {
			line += output.Faint(max(took, 0).Round(time.Millisecond).String())
		}
		lines = append(lines, strings.TrimRight(line, " "))
		if more := len(s.details) - maxDetails; more > 0 {
			lines = append(lines, "      "+output.Faint(fmt.Sprintf("… %d before", more)))
		}
		for _, d := range s.details[max(len(s.details)-maxDetails, 0):] {
			lines = append(lines, "      "+d)
		}
	}
	if b.note != "" {
		lines = append(lines, "  "+b.note)
	}
	return lines
}

// plainLine is an event as a line of a log; "" where it says nothing new.
func plainLine(e *nthlayerv1.RunEvent) string {
	what := strings.ReplaceAll(e.GetKind(), "_", " ")
	switch e.GetKind() {
	case "change_applied", "change_failed":
		what = output.ChangeLine(e.GetChange(), e.GetKind() == "change_failed", e.GetMessage())
	case "step_started", "step_succeeded", "step_failed", "step_skipped":
		what = strings.ReplaceAll(e.GetStep(), "_", " ") + " " + strings.TrimPrefix(e.GetKind(), "step_")
		fallthrough
	default:
		if e.GetMessage() != "" {
			what += ": " + output.Line(e.GetMessage())
		}
	}
	return e.GetAt().AsTime().Format("15:04:05.000") + "  " + what
}
