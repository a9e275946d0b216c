package progress

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Audits is an audit as it stands, whenever it has gone on, up to its end.
type Audits = iter.Seq2[*nthlayerv1.Audit, error]

// ShowAudit follows an audit and gives it as it ended. It draws a bar in place and is for terminals of that width; width 0
// writes a plain line for each phase and each tenth of the teams.
func ShowAudit(ctx context.Context, w io.Writer, width int, audits Audits) (*nthlayerv1.Audit, error) {
	var ended *nthlayerv1.Audit
	if width > 0 {
		bar := auditBar{width: width}
		if err := live(ctx, w, width, audits, bar.add, bar.lines); err != nil {
			return nil, err
		}
		ended = bar.audit
	} else {
		var log auditLog
		for a, err := range audits {
			if err != nil {
				return nil, err
			}
			if line := log.line(a, time.Now()); line != "" {
				if _, err := fmt.Fprintln(w, line); err != nil {
					return nil, err
				}
			}
			ended = a
		}
	}
	if !client.AuditEnded(ended.GetStatus()) {
		return nil, io.ErrUnexpectedEOF
	}
	return ended, nil
}

// phases are those of the API, in words.
var phases = map[string]string{
	"":         "waiting",
	"waiting":  "waiting",
	"snapshot": "reading both platforms' lists",
	"scan":     "handing out teams",
	"teams":    "comparing teams",
	"summary":  "counting",
	"ended":    "ended",
}

func phase(a *nthlayerv1.Audit) string {
	name := a.GetProgress().GetPhase()
	if words, known := phases[name]; known {
		return words
	}
	return output.Line(strings.ReplaceAll(name, "_", " "))
}

const (
	phaseColumn = 30
	widestBar   = 40
)

// auditBar is an audit on a terminal: the phase and how far the teams are, and below it what it takes.
type auditBar struct {
	width int
	audit *nthlayerv1.Audit
}

func (b *auditBar) add(a *nthlayerv1.Audit) { b.audit = a }

func (b *auditBar) lines(now time.Time) []string {
	a := b.audit
	if a == nil {
		return nil
	}
	mark, name := spin(now), phase(a)
	if client.AuditEnded(a.GetStatus()) {
		mark, name = lipgloss.NewStyle().Foreground(lipgloss.Green).Render("✓"), "compared"
		if a.GetStatus() != "succeeded" {
			mark, name = lipgloss.NewStyle().Foreground(lipgloss.Red).Render("✗"), strings.ReplaceAll(output.Line(a.GetStatus()), "_", " ")
		}
	}
	p := a.GetProgress()
	first := fmt.Sprintf("  %s %-*s", mark, phaseColumn, name)
	if p.GetTeamsTotal() > 0 {
		count := fmt.Sprintf(" %3d%%  %d/%d teams", percent(p.GetTeamsDone(), p.GetTeamsTotal()), p.GetTeamsDone(), p.GetTeamsTotal())
		if room := min(b.width-lipgloss.Width(first)-lipgloss.Width(count), widestBar); room >= 4 {
			first += drawBar(room, p.GetTeamsDone(), p.GetTeamsTotal()) + count
		} else { // the numbers say more than a bar of a few blocks
			first = fmt.Sprintf("  %s %s%s", mark, name, count)
		}
	}
	lines := []string{strings.TrimRight(first, " ")}
	if second := costs(p); second != "" {
		if p.GetDoneBy() != nil {
			second += ", " + untilDone(now, p.GetDoneBy().AsTime())
		}
		lines = append(lines, "    "+output.Faint(second))
	}
	return lines
}

// drawBar draws a bar that is full when everything is done, and not before.
func drawBar(room int, done, total int32) string {
	full := int(int64(room) * int64(min(done, total)) / int64(total))
	return lipgloss.NewStyle().Foreground(lipgloss.Green).Render(strings.Repeat("█", full)) + output.Faint(strings.Repeat("░", room-full))
}

func percent(done, total int32) int { return int(int64(min(done, total)) * 100 / int64(total)) }

// costs says what is read of the target, and how many calls were made.
func costs(p *nthlayerv1.AuditProgress) string {
	var parts []string
	if p.GetReadsTotal() > 0 {
		parts = append(parts, fmt.Sprintf("%d/%d read from PagerDuty", p.GetReadsDone(), p.GetReadsTotal()))
	}
	if n := p.GetCortexCalls() + p.GetPagerdutyCalls(); n > 0 {
		parts = append(parts, fmt.Sprintf("calls: %d Cortex, %d PagerDuty", p.GetCortexCalls(), p.GetPagerdutyCalls()))
	}
	return strings.Join(parts, ", ")
}

// untilDone is how long it still takes, no more exact than it is known.
func untilDone(now, done time.Time) string {
	left := done.Sub(now)
	switch {
	case left < 10*time.Second:
		return "done any moment"
	case left > time.Hour:
		left = left.Round(time.Minute)
	case left > 5*time.Minute:
		left = left.Round(10 * time.Second)
	default:
		left = left.Round(time.Second)
	}
	return "done in about " + output.Span(left)
}

// auditLog is an audit as lines of a log: one where the phase is another, one for each tenth of the teams.
type auditLog struct {
	said         bool
	phase, tenth string
}

// line is "" where there is nothing new to say.
func (l *auditLog) line(a *nthlayerv1.Audit, now time.Time) string {
	p := a.GetProgress()
	phase, tenth := phase(a), ""
	if client.AuditEnded(a.GetStatus()) {
		phase = strings.ReplaceAll(output.Line(a.GetStatus()), "_", " ")
	}
	if p.GetTeamsTotal() > 0 {
		tenth = fmt.Sprint(percent(p.GetTeamsDone(), p.GetTeamsTotal()) / 10)
	}
	if l.said && phase == l.phase && tenth == l.tenth {
		return ""
	}
	*l = auditLog{true, phase, tenth}
	line := now.UTC().Format("15:04:05.000") + "  " + phase
	if p.GetTeamsTotal() > 0 {
		line += fmt.Sprintf(": %d/%d teams, %d%%", p.GetTeamsDone(), p.GetTeamsTotal(), percent(p.GetTeamsDone(), p.GetTeamsTotal()))
	}
	if text := costs(p); text != "" {
		line += ", " + text
	}
	if p.GetDoneBy() != nil && !client.AuditEnded(a.GetStatus()) {
		line += ", " + untilDone(now, p.GetDoneBy().AsTime())
	}
	return line
}
