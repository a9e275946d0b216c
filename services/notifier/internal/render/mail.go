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
	switch {
	case n.Approval != nil:
		summary, details := ApprovalRequested(*n.Approval, false)
		return plainMail(approvalTitle(*n.Approval), summary, details)
	case n.Run != nil:
		summary, details := RunFinished(*n.Run)
		return plainMail(headline(*n.Run), summary, details)
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

// SlackOf gives the messages that tell a notice. buttons: those that can be answered have buttons.
func SlackOf(n notice.Notice, buttons bool) (summary Message, details []Message) {
	switch {
	case n.Audit != nil:
		return AuditFinished(*n.Audit)
	case n.Approval != nil:
		return ApprovalRequested(*n.Approval, buttons)
	default:
		return RunFinished(*n.Run)
	}
}

var plainHTML = template.Must(template.New("plain").Parse(`<!DOCTYPE html>
<html lang="en">
<body style="margin:0;padding:16px;font:15px/1.5 Arial,Helvetica,sans-serif">
{{range .}}<p style="margin:0 0 12px;white-space:pre-line">{{.}}</p>
{{end}}</body>
</html>
`))

// plainMail says what Slack is told, in whole.
func plainMail(subject string, summary Message, details []Message) (Mail, error) {
	text := Plain(append([]Message{summary}, details...)...)
	var html bytes.Buffer
	if err := plainHTML.Execute(&html, strings.Split(strings.TrimSpace(text), "\n\n")); err != nil {
		return Mail{}, fmt.Errorf("render an e-mail: %w", err)
	}
	return Mail{Subject: unmarked(subject), Text: text, HTML: html.String()}, nil
}
