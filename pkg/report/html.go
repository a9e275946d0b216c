package report

import (
	"embed"
	"fmt"
	"html/template"
	"io"
)

//go:embed page.gohtml mail.gohtml
var files embed.FS

var templates = template.Must(template.ParseFS(files, "*.gohtml"))

// page is a document with its pictures.
type page struct {
	document
	Subject string
	Teams   donut
	Kinds   bars
	Trend   trend
}

// HTML writes the report as one page that needs nothing else: no script, and nothing is fetched. It follows the reader's
// dark or light mode and can be printed.
func HTML(w io.Writer, r Report) error {
	p := page{document: compose(r), Subject: Subject(r.Audit)}
	p.Teams, p.Kinds, p.Trend = teamsDonut(r.Audit.Counts), kindBars(r.Audit.Kinds), trendLines(r.Audit.Trend)
	return execute(w, "page.gohtml", p)
}

// MailHTML writes the body of an e-mail with the content of Text. Mail clients drop style sheets and pictures, so it has
// tables with styles of their own alone.
func MailHTML(w io.Writer, r Report) error {
	return execute(w, "mail.gohtml", page{document: compose(r), Subject: Subject(r.Audit)})
}

func execute(w io.Writer, name string, p page) error {
	if err := templates.ExecuteTemplate(w, name, p); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
