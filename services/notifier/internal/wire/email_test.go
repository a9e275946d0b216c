package wire_test

import (
	"encoding/json"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/simulator/mail"
	"github.com/nthlayer/nthlayer/pkg/store"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
)

const address = "lead@example.org"

// mailServer runs until the test ends.
func mailServer(t *testing.T) (*mail.Server, string) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server, ended := mail.New(mail.Options{}), make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.NoError(t, <-ended)
	})
	return server, l.Addr().String()
}

// endedFor makes a run whose end is told by e-mail.
func (a *around) endedFor(t *testing.T, to string) (key string) {
	jobID, _, err := a.store.Accept(t.Context(), store.NewRun{Principal: "ann", RequestHash: []byte("x"), TeamID: "payments"})
	require.NoError(t, err)
	claim, err := a.store.Claim(t.Context(), jobID, store.Terms{Owner: "worker", Lease: time.Minute})
	require.NoError(t, err)
	payload, err := json.Marshal(notice.AuditFinished{AuditID: "a-1", Status: "succeeded", Counts: notice.AuditCounts{Teams: 1, InSync: 1}})
	require.NoError(t, err)
	key = notice.Key(jobID.String(), "email", to)
	require.NoError(t, claim.Finish(t.Context(), store.Ending{
		Status: store.Succeeded, Sync: ownership.InSync,
		Tell: []store.Delivery{{Key: key, Medium: "email", Channel: to, Payload: payload}},
	}))
	return key
}

func TestNotifier_ByEmail_IsSentThroughTheServerThatIsSet(t *testing.T) {
	a := newAround(t)
	server, addr := mailServer(t)
	n := a.start(t, "NTHLAYER_SMTP_ADDR="+addr, "NTHLAYER_EMAIL_FROM=NthLayer <nthlayer@example.org>")
	n.await(t, "posted", a.endedFor(t, address))
	require.Len(t, server.Messages(), 1)
	require.Equal(t, []string{address}, server.Messages()[0].To)
	require.Zero(t, a.posts.Load())
}

func TestNotifier_NoMailServer_EmailFailsAndSlackGoesOn(t *testing.T) {
	a := newAround(t)
	n := a.start(t)
	n.await(t, "delivery failed; resend it when the cause is gone", a.endedFor(t, address))
	n.await(t, "posted", a.ended(t, "search"))
}

func TestNotifier_Preview_AnswersTheGateway(t *testing.T) {
	a := newAround(t)
	gateway := a.as(t, "gateway", a.start(t))
	payload, err := json.Marshal(notice.AuditFinished{AuditID: "a-1", Status: "failed"})
	require.NoError(t, err)
	preview, err := gateway.PreviewNotice(t.Context(), &internalv1.PreviewNoticeRequest{Medium: "slack", To: channel, Payload: payload})
	require.NoError(t, err)
	require.Contains(t, preview.GetSubject(), "the audit failed")
	_, err = gateway.PreviewNotice(t.Context(), &internalv1.PreviewNoticeRequest{Medium: "slack", Payload: []byte("{")})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Zero(t, a.posts.Load())
}
