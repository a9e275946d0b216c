package report

import (
	"bufio"
	"io"
	"strings"
)

// Markdown writes the report as GitHub Flavored Markdown.
func Markdown(w io.Writer, r Report) error {
	d := compose(r)
	out := bufio.NewWriter(w)
	p := func(lines ...string) {
		for _, line := range lines {
			_, _ = out.WriteString(line + "\n") // Flush gives the error
		}
	}
	p("# " + inMarkdown(d.Title))
	for _, sentence := range d.Lead {
		p("", inMarkdown(sentence))
	}
	if d.Link != "" {
		p("", "[Open the audit](<"+d.Link+">)")
	}
	for _, part := range d.Parts {
		p("", "## "+inMarkdown(part.Title))
		if part.Table != nil {
			p("")
			p(markdownTable(part.Table)...)
		}
		for _, g := range part.Groups {
			p("", "**"+inMarkdown(g.Title)+"**", "")
			for _, i := range g.Items {
				p("- " + inMarkdown(i.Line))
			}
		}
		if part.Note != "" {
			p("", inMarkdown(part.Note))
		}
	}
	p("", "## About this audit", "")
	for _, f := range d.Facts {
		p("- " + inMarkdown(f.Name) + ": " + inMarkdown(f.Value))
	}
	return out.Flush()
}

func markdownTable(t *table) []string {
	var titles, rules []string
	for _, c := range t.Columns {
		rule := "---"
		if c.Number {
			rule = "---:"
		}
		titles, rules = append(titles, inMarkdown(c.Title)), append(rules, rule)
	}
	lines := []string{row(titles), row(rules)}
	for _, cells := range t.Rows {
		escaped := make([]string, len(cells))
		for i, cell := range cells {
			escaped[i] = inMarkdown(cell)
		}
		lines = append(lines, row(escaped))
	}
	return lines
}

func row(cells []string) string { return "| " + strings.Join(cells, " | ") + " |" }

// special is what Markdown reads anywhere in a line. A colon before slashes and the dot after www make links of bare text.
var special = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`, "#", `\#`, "|", `\|`, "~", `\~`, "!", `\!`,
	"&", `\&`, "$", `\$`, "://", `\://`, "www.", `www\.`,
)

// inMarkdown makes text mean nothing to Markdown, also at the beginning of a line.
func inMarkdown(text string) string {
	escaped := special.Replace(text)
	digits := strings.TrimLeft(escaped, "0123456789")
	switch {
	case strings.HasPrefix(escaped, "-"), strings.HasPrefix(escaped, "+"), strings.HasPrefix(escaped, "="):
		return `\` + escaped
	case len(digits) < len(escaped) && (strings.HasPrefix(digits, ".") || strings.HasPrefix(digits, ")")):
		return escaped[:len(escaped)-len(digits)] + `\` + digits
	default:
		return escaped
	}
}
