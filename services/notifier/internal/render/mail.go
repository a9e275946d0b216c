package render

import (
	"bytes"
	"fmt"
	"html/template"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/report"
)

// Mail is an e-mail whose bodies say the same.
type Mail struct {
	Subject string
	Text    string
	HTML    string
}

// MailOf gives the e-mail that tells a notice.
func MailOf(n notice.Notice) (Mail, error) {
	if n.Audit == nil {
		return runMail(*n.Run)
	}
	var text, html bytes.Buffer
	r := report.Report{Audit: *n.Audit}
	if err := report.Text(&text, r); err != nil {
		return Mail{}, fmt.Errorf("render an e-mail: %w", err)
	}
	if err := report.MailHTML(&html, r); err != nil {
		return Mail{}, fmt.Errorf("render an e-mail: %w", err)
	}
	return Mail{Subject: report.Subject(*n.Audit), Text: text.String(), HTML: html.String()}, nil
}

// SlackOf gives the messages that tell a notice.
func SlackOf(n notice.Notice) (summary Message, details []Message) {
	if n.Audit != nil {
		return AuditFinished(*n.Audit)
	}
	return RunFinished(*n.Run)
}

var runHTML = template.Must(template.New("run").Parse(`<!DOCTYPE html>
<html lang="en">
<body style="margin:0;padding:16px;font:15px/1.5 Arial,Helvetica,sans-serif">
{{range .}}<p style="margin:0 0 12px;white-space:pre-line">{{.}}</p>
{{end}}</body>
</html>
`))

// runMail says what Slack is told, in whole.
func runMail(n notice.RunFinished) (Mail, error) {
	summary, details := RunFinished(n)
	text := Plain(append([]Message{summary}, details...)...)
	var html bytes.Buffer
	if err := runHTML.Execute(&html, strings.Split(strings.TrimSpace(text), "\n\n")); err != nil {
		return Mail{}, fmt.Errorf("render an e-mail: %w", err)
	}
	return Mail{Subject: unmarked(headline(n)), Text: text, HTML: html.String()}, nil
}
