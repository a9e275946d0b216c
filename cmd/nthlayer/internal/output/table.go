package output

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
)

const columnGap = 3

// cell is a text with its colour.
type cell struct {
	text  string
	style lipgloss.Style
}

func text(s string) cell                     { return cell{clean(s), plain} }
func status(s string) cell                   { return cell{words(s), statusStyle(s)} }
func number[N int | int32 | int64](n N) cell { return cell{fmt.Sprint(n), plain} }

// table is rows under headings, as wide as their widest cells and without lines, so that it can be cut and grepped.
type table struct {
	headings []string
	rows     [][]cell
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// drop takes a column out.
func (t *table) drop(heading string) {
	i := slices.Index(t.headings, heading)
	t.headings = slices.Delete(t.headings, i, i+1)
	for n, row := range t.rows {
		t.rows[n] = slices.Delete(row, i, i+1)
	}
}

func (t *table) write(w io.Writer) error {
	widths := make([]int, len(t.headings))
	for i, h := range t.headings {
		widths[i] = lipgloss.Width(h)
	}
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], lipgloss.Width(c.text))
		}
	}
	headings := make([]cell, len(t.headings))
	for i, h := range t.headings {
		headings[i] = cell{h, faint}
	}
	var b strings.Builder
	for _, row := range append([][]cell{headings}, t.rows...) {
		gap := 0 // written before the next text, so that no line ends in blanks
		for i, c := range row {
			if c.text != "" {
				b.WriteString(strings.Repeat(" ", gap) + c.style.Render(c.text))
				gap = 0
			}
			gap += widths[i] - lipgloss.Width(c.text) + columnGap
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ago says how long ago something was, in the largest fitting unit.
func ago(now, then time.Time) string {
	switch d := now.Sub(then); {
	case then.IsZero() || then.Unix() == 0:
		return "never"
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd ago", int(d.Hours()/24))
	}
}

// took is a duration in the precision that helps.
func took(d time.Duration) string {
	switch {
	case d < 0:
		return ""
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(100 * time.Millisecond).String()
	}
}
