// Package output shows things on a terminal and to scripts.
//
// People get tables and a coloured diff (Show… functions), scripts get JSON or YAML with the field names of the API
// (Encode). The functions always write ANSI colours; Writer takes them out again where the receiver is not a terminal or
// NO_COLOR is set. What comes from outside is stripped of control characters, so that a team's name cannot steer the
// terminal.
package output

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
)

// Writer passes on the colours that w and the environment (NO_COLOR, CLICOLOR_FORCE, TERM) allow.
func Writer(w io.Writer, environ []string) io.Writer { return colorprofile.NewWriter(w, environ) }

// The sixteen colours that every terminal theme makes readable.
var (
	plain   = lipgloss.NewStyle()
	bold    = plain.Bold(true)
	faint   = plain.Faint(true)
	good    = plain.Foreground(lipgloss.Green)
	bad     = plain.Foreground(lipgloss.Red)
	caution = plain.Foreground(lipgloss.Yellow)
)

// Heading makes a section title.
func Heading(text string) string { return bold.Render(text) }

// Faint makes text that matters less.
func Faint(text string) string { return faint.Render(text) }

// statusStyle is the colour of a status word of the API.
func statusStyle(status string) lipgloss.Style {
	switch status {
	case "in_sync", "succeeded", "applied", "delivered", "allow", "requeued", "approved", "closed", "resolved":
		return good
	case "failed", "deny", "denied", "dead_lettered", "dead", "open":
		return bad
	case "out_of_sync", "unknown", "require_approval", "awaiting_approval", "reported", "canceled", "half_open", "incomplete", "paused":
		return caution
	case "queued", "pending", "skipped", "planned", "discarded", "acknowledged":
		return faint
	default:
		return plain
	}
}

// ShowNoMatch says that a list's filters let nothing through.
func ShowNoMatch(w io.Writer, what string) error {
	_, err := fmt.Fprintf(w, "No %s matches.\n", what)
	return err
}

// Line is text from outside, fit for one line of a terminal.
func Line(text string) string { return clean(text) }

// clean is text without control characters, on one line.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		default:
			return r
		}
	}, text)
}

// words makes a word of the API readable: out_of_sync → out of sync.
func words(word string) string { return strings.ReplaceAll(clean(word), "_", " ") }

// person is an entity reference without its kind: person:ada@example.org → ada@example.org.
func person(ref string) string {
	if _, name, ok := strings.Cut(ref, ":"); ok {
		return clean(name)
	}
	return clean(ref)
}
