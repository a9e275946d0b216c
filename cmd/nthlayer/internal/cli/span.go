package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
)

// span is a duration as a flag, also in days and weeks.
type span struct{ of *time.Duration }

func spanFlag(cmd *cobra.Command, of *time.Duration, name, usage string) {
	cmd.Flags().Var(span{of}, name, usage)
}

func (s span) String() string {
	if s.of == nil || *s.of == 0 {
		return "" // no default to show
	}
	return output.Span(*s.of)
}

func (s span) Type() string { return "duration" }

func (s span) Set(text string) (err error) {
	*s.of, err = parseSpan(text)
	return err
}

// parseSpan reads 2w, 30d, 1d12h and what Go reads: a day has 24 hours.
func parseSpan(text string) (time.Duration, error) {
	var total time.Duration
	rest := text
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		count, after, found := strings.Cut(rest, unit.name)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(count, 10, 12)
		if err != nil {
			return 0, notASpan(text)
		}
		total, rest = total+time.Duration(n)*unit.size, after
	}
	if rest == "" && text != "" {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 {
		return 0, notASpan(text)
	}
	return total + d, nil
}

func notASpan(text string) error {
	return fmt.Errorf("%q is no duration: it must be such as 2w, 30d, 12h or 90m", text)
}

// parseTime reads a time with its zone, or a time or day of this machine's. A day lasts to its end.
func parseTime(text string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04"} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	day, err := time.ParseInLocation(time.DateOnly, text, time.Local)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time: it must be such as 2026-12-31, 2026-12-31 18:00 or 2026-12-31T18:00:00Z", text)
	}
	return day.AddDate(0, 0, 1), nil
}
