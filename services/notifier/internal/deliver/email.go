package deliver

import (
	"context"
	"fmt"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/mail"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/services/notifier/internal/render"
)

// Mailer is what is needed of package mail. The id finds the message in the server's log.
type Mailer interface {
	Send(ctx context.Context, m mail.Message) (id string, err error)
}

// byEmail is the Medium "email"; the channel is the address.
type byEmail struct {
	mailer      Mailer // nil: none
	maxAttempts int
}

// Tell sends the e-mail. There is nowhere to look whether an earlier attempt sent it: it is never uncertain, and at worst
// somebody gets a message twice, under the same Message-ID. What was sent cannot be changed: where there is something else to
// tell, another e-mail follows, under an id of its own.
func (e byEmail) Tell(ctx context.Context, a *store.DeliveryAttempt, n notice.Notice) (uncertain bool, err error) {
	if e.mailer == nil {
		return false, fault.New(fault.Precondition,
			"no e-mail can be sent; set NTHLAYER_SMTP_ADDR or NTHLAYER_SES_REGION, and NTHLAYER_EMAIL_FROM, at the notifier and resend it", nil).
			WithReason("EMAIL_NOT_CONFIGURED")
	}
	if a.Attempts > e.maxAttempts { // the last ones ended without anybody who could say so
		return false, fault.New(fault.Precondition, "no mail server took the message in "+fmt.Sprint(e.maxAttempts)+" attempts", nil)
	}
	content, err := render.MailOf(n)
	if err != nil {
		return false, err
	}
	key := a.Key
	if a.Revision > 1 {
		key = fmt.Sprintf("%s#%d", a.Key, a.Revision)
	}
	id, err := e.mailer.Send(ctx, mail.Message{Key: key, To: a.Channel, Subject: content.Subject, Text: content.Text, HTML: content.HTML})
	if err != nil {
		return false, err
	}
	a.PostedTo, a.TS = a.Channel, id
	return false, nil
}
