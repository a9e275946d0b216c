package deliver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/mail"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	mailsim "github.com/nthlayer/nthlayer/pkg/simulator/mail"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/services/notifier/internal/deliver"
)

const address = "lead@example.org"

// mailRig is a rig with a mail server.
type mailRig struct {
	*rig
	server *mailsim.Server
	mailer deliver.Mailer
}

func newMailRig(t *testing.T) *mailRig {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &mailRig{rig: newRig(t), server: mailsim.New(mailsim.Options{})}
	ended := make(chan error, 1)
	go func() { ended <- r.server.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, r.server.Close())
		require.NoError(t, <-ended)
	})
	from, err := mail.ParseAddress("NthLayer <nthlayer@example.org>")
	require.NoError(t, err)
	r.mailer, err = mail.NewSMTP(mail.SMTPConfig{Addr: l.Addr().String(), From: from, Security: mail.Plain})
	require.NoError(t, err)
	return r
}

func (r *mailRig) deliverer(opts deliver.Options) *deliver.Deliverer {
	if opts.Mail == nil {
		opts.Mail = r.mailer
	}
	return r.rig.deliverer(nil, opts)
}

// tell makes a delivery by a medium.
func (r *rig) tell(t *testing.T, medium, channel string, payload any) string {
	t.Helper()
	r.runs++
	jobID, _, err := r.store.Accept(t.Context(), store.NewRun{Principal: "ann", RequestHash: []byte("x"), TeamID: fmt.Sprintf("told-%d", r.runs)})
	require.NoError(t, err)
	claim, err := r.store.Claim(t.Context(), jobID, store.Terms{Owner: "worker", Lease: time.Minute})
	require.NoError(t, err)
	content, err := json.Marshal(payload)
	require.NoError(t, err)
	key := notice.Key(jobID.String(), medium, channel)
	require.NoError(t, claim.Finish(t.Context(), store.Ending{
		Status: store.Succeeded, Sync: ownership.InSync,
		Tell: []store.Delivery{{Key: key, Medium: medium, Channel: channel, Payload: content}},
	}))
	return key
}

func audited(found int) notice.AuditFinished {
	n := notice.AuditFinished{
		AuditID: "01890a5d-ac96-774b-bcce-b302099a8057", ScheduleID: "nightly", Status: "succeeded", Summary: "drift was found",
		Counts: notice.AuditCounts{Teams: 3, InSync: 2, OutOfSync: 1, Open: found, New: found},
	}
	for i := range found {
		n.New = append(n.New, notice.AuditItem{TeamID: "payments", Kind: "add_member", Message: fmt.Sprintf("person-%d@example.org is missing", i)})
	}
	return n
}

func TestHandle_AuditBySlack_IsOneMessageWithItsFindingsInTheThread(t *testing.T) {
	r := newRig(t)
	key := r.tell(t, "slack", channel, audited(2))
	d := r.deliverer(nil, deliver.Options{})
	for range 2 {
		require.NoError(t, handle(t.Context(), d, key))
	}
	r.requireToldOnce(t, key, 1)
	require.Contains(t, r.posted(t)[0].Text, "Audit nightly: 1 of 3 teams out of sync")
}

func TestHandle_ByEmail_IsSentOnceWithBothBodies(t *testing.T) {
	r := newMailRig(t)
	for name, payload := range map[string]any{"run": finished(1), "audit": audited(1)} {
		r.server.Forget()
		key := r.tell(t, "email", address, payload)
		d := r.deliverer(deliver.Options{})
		for range 2 {
			require.NoError(t, handle(t.Context(), d, key), name)
		}
		require.Len(t, r.server.Messages(), 1, name)
		m := r.server.Messages()[0]
		require.Equal(t, []string{address}, m.To, name)
		require.Contains(t, m.Text, "person-0@example.org", name)
		require.Contains(t, m.HTML, "person-0@example.org", name)
		state := r.state(t, key)
		require.Equal(t, []string{store.Delivered, address, m.MessageID}, []string{state.Status, state.PostedTo, state.TS}, name)
	}
	require.Empty(t, r.posted(t), "nothing of it went to Slack")
}

// E-mail has nothing to look at: a second message is better than none, and can be recognised.
func TestHandle_EmailsAnswerIsLost_IsSentAgainUnderTheSameMessageID(t *testing.T) {
	r := newMailRig(t)
	require.NoError(t, r.server.Inject(mailsim.Fault{At: "data", Lose: true, Times: 1}))
	key := r.tell(t, "email", address, audited(1))
	d := r.deliverer(deliver.Options{})
	require.NoError(t, handle(t.Context(), d, key))
	state := r.state(t, key)
	require.Equal(t, []any{store.Pending, 1}, []any{state.Status, state.Attempts})
	require.Contains(t, state.LastError, "it may have been sent")
	require.NoError(t, handle(t.Context(), d, key))
	messages := r.server.Messages()
	require.Len(t, messages, 2)
	require.Equal(t, messages[0].MessageID, messages[1].MessageID)
	require.Equal(t, store.Delivered, r.state(t, key).Status)
}

func TestHandle_MailServerDefers_IsTriedAgainAndGivenUpAfterTheAttempts(t *testing.T) {
	r := newMailRig(t)
	require.NoError(t, r.server.Inject(mailsim.Fault{At: "rcpt", Code: 451, Text: "greylisted"}))
	key := r.tell(t, "email", address, audited(1))
	d := r.deliverer(deliver.Options{MaxAttempts: 3})
	for attempts := 1; attempts <= 3; attempts++ {
		require.Equal(t, store.Pending, r.state(t, key).Status)
		require.NoError(t, handle(t.Context(), d, key))
		require.Equal(t, attempts, r.state(t, key).Attempts)
	}
	state := r.state(t, key)
	require.Equal(t, store.Undelivered, state.Status)
	require.Contains(t, state.LastError, "greylisted")

	r.server.ClearFaults()
	_, err := r.store.Resend(t.Context(), key, nil)
	require.NoError(t, err)
	require.NoError(t, handle(t.Context(), d, key))
	require.Len(t, r.server.Messages(), 1)
}

func TestHandle_MailServerRefuses_FailsAtOnceWithItsWords(t *testing.T) {
	r := newMailRig(t)
	require.NoError(t, r.server.Inject(mailsim.Fault{At: "rcpt", Code: 550, Text: "no such mailbox"}))
	key := r.tell(t, "email", address, audited(1))
	require.NoError(t, handle(t.Context(), r.deliverer(deliver.Options{}), key))
	state := r.state(t, key)
	require.Equal(t, []any{store.Undelivered, 1}, []any{state.Status, state.Attempts})
	require.Contains(t, state.LastError, "550 5.0.0 no such mailbox")
}

func TestHandle_EmailIsNotConfigured_FailsAtOnceAndNamesTheVariables(t *testing.T) {
	r := newRig(t)
	key := r.tell(t, "email", address, audited(1))
	require.NoError(t, handle(t.Context(), r.deliverer(nil, deliver.Options{}), key))
	state := r.state(t, key)
	require.Equal(t, []any{store.Undelivered, 1}, []any{state.Status, state.Attempts})
	for _, variable := range []string{"NTHLAYER_SMTP_ADDR", "NTHLAYER_SES_REGION", "NTHLAYER_EMAIL_FROM"} {
		require.Contains(t, state.LastError, variable)
	}
}

// stoppingMailer is told to stop before anything was sent.
type stoppingMailer struct{ stop func() }

func (s stoppingMailer) Send(ctx context.Context, _ mail.Message) (string, error) {
	s.stop()
	return "", fault.New(fault.Canceled, "the service stops", ctx.Err())
}

func TestHandle_StoppedBeforeTheEmail_IsNoAttempt(t *testing.T) {
	r := newMailRig(t)
	key := r.tell(t, "email", address, audited(1))
	ctx, stop := context.WithCancel(t.Context())
	require.NoError(t, handle(ctx, r.deliverer(deliver.Options{Mail: stoppingMailer{stop}}), key))
	require.Equal(t, []any{store.Pending, 0}, []any{r.state(t, key).Status, r.state(t, key).Attempts})
	require.NoError(t, handle(t.Context(), r.deliverer(deliver.Options{}), key))
	require.Len(t, r.server.Messages(), 1)
}

// Whoever dies each time in the middle of an attempt does not send for ever.
func TestHandle_EmailWhoseAttemptsDie_IsGivenUp(t *testing.T) {
	r := newMailRig(t)
	key := r.tell(t, "email", address, audited(1))
	for range 3 {
		_, err := r.store.BeginDelivery(t.Context(), key, time.Nanosecond)
		require.NoError(t, err)
	}
	require.NoError(t, handle(t.Context(), r.deliverer(deliver.Options{MaxAttempts: 3}), key))
	require.Equal(t, store.Undelivered, r.state(t, key).Status)
	require.Empty(t, r.server.Messages())
}

func TestHandle_MediumThatIsNotKnown_Fails(t *testing.T) {
	r := newRig(t)
	key := r.tell(t, "pigeon", "loft", finished(1))
	require.NoError(t, handle(t.Context(), r.deliverer(nil, deliver.Options{}), key))
	require.Contains(t, r.state(t, key).LastError, "cannot deliver by pigeon")
}

// An address is for the one who gets the e-mail, not for the log.
func TestHandle_ByEmail_LogsNoAddress(t *testing.T) {
	r := newMailRig(t)
	var log logged
	d := deliver.New(r.store, r.slack, slog.New(slog.NewJSONHandler(&log, nil)), deliver.Options{Mail: r.mailer, Settled: time.Nanosecond})
	require.NoError(t, r.server.Inject(mailsim.Fault{At: "rcpt", Code: 550, Text: "unknown: " + address, Times: 1}))
	require.NoError(t, handle(t.Context(), d, r.tell(t, "email", address, audited(1))))
	require.NoError(t, handle(t.Context(), d, r.tell(t, "email", address, audited(1))))
	require.NoError(t, handle(t.Context(), d, r.tell(t, "email", "no address", audited(1))))
	require.Contains(t, string(log), `"msg":"posted"`)
	require.Contains(t, string(log), "unknown: [address]")
	require.NotContains(t, string(log), address)
	require.NotContains(t, string(log), "no address")
}

type logged []byte

func (l *logged) Write(p []byte) (int, error) {
	*l = append(*l, p...)
	return len(p), nil
}
