package report

import (
	"bufio"
	"io"
	"strings"
	"unicode/utf8"
)

// Text writes the report for terminals and e-mails: plain text, no escape sequences.
func Text(w io.Writer, r Report) error {
	d := compose(r)
	out := bufio.NewWriter(w)
	p := func(lines ...string) {
		for _, line := range lines {
			_, _ = out.WriteString(strings.TrimRight(line, " ") + "\n") // Flush gives the error
		}
	}
	p(d.Title, strings.Repeat("=", utf8.RuneCountInString(d.Title)))
	for _, sentence := range d.Lead {
		p("", sentence)
	}
	if d.Link != "" {
		p("", d.Link)
	}
	for _, part := range d.Parts {
		p("", part.Title, strings.Repeat("-", utf8.RuneCountInString(part.Title)))
		if part.Table != nil {
			p(columns(part.Table)...)
		}
		for _, g := range part.Groups {
			p(g.Title)
			for _, i := range g.Items {
				p("  - " + i.Line)
			}
		}
		if part.Note != "" {
			p(part.Note)
		}
	}
	p("", "About this audit", "----------------")
	t := &table{Columns: make([]column, 2)}
	for _, f := range d.Facts {
		t.Rows = append(t.Rows, []string{f.Name, f.Value})
	}
	p(columns(t)...)
	return out.Flush()
}

// columns lays a table out: numbers to the right, and only the titles that there are.
func columns(t *table) (lines []string) {
	var rows [][]string
	titles := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		titles[i] = c.Title
	}
	if strings.Join(titles, "") != "" {
		rows = append(rows, titles)
	}
	rows = append(rows, t.Rows...)
	width := make([]int, len(t.Columns))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			gap := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			b.WriteString("  ")
			if t.Columns[i].Number {
				b.WriteString(gap + cell)
			} else {
				b.WriteString(cell + gap)
			}
		}
		lines = append(lines, b.String())
	}
	return lines
}
