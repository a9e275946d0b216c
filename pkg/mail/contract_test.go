package mail_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/mail"
	sim "github.com/nthlayer/nthlayer/pkg/simulator/mail"
	"github.com/nthlayer/nthlayer/pkg/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

type sender interface {
	Send(ctx context.Context, m mail.Message) (id string, err error)
}

// backend is a way to send, with somebody at the other end.
type backend struct {
	sender
	received func() []string // the messages that were taken, raw
	refuse   func(passing bool, words string)
	lose     func() // the next message is taken, and the answer to it is lost
	down     func() // nobody is there any more
}

var backends = map[string]func(*testing.T) backend{"smtp": newSMTPBackend, "ses": newSESBackend}

func from(t *testing.T) mail.Address {
	a, err := mail.ParseAddress(`"NthLayer, Zürich" <nthlayer@example.org>`)
	require.NoError(t, err)
	return a
}

func newSMTPBackend(t *testing.T) backend {
	server := startSMTP(t, sim.Options{}, nil)
	s, err := mail.NewSMTP(mail.SMTPConfig{Addr: server.addr, From: from(t), Security: mail.Plain})
	require.NoError(t, err)
	return backend{
		sender: s,
		received: func() (raw []string) {
			for _, m := range server.Messages() {
				raw = append(raw, m.Raw)
			}
			return raw
		},
		refuse: func(passing bool, words string) {
			code := 550
			if passing {
				code = 451
			}
			require.NoError(t, server.Inject(sim.Fault{At: "rcpt", Code: code, Text: words, Times: 1}))
		},
		lose: func() { require.NoError(t, server.Inject(sim.Fault{At: "data", Lose: true, Times: 1})) },
		down: func() { require.NoError(t, server.Close()) },
	}
}

// fakeSES speaks as much of SES v2 as SendEmail needs.
type fakeSES struct {
	mu       sync.Mutex
	received []string
	next     func(w http.ResponseWriter, take func())
}

func (f *fakeSES) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var body struct {
		FromEmailAddress string
		Destination      struct{ ToAddresses []string }
		Content          struct{ Raw struct{ Data []byte } }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Method != http.MethodPost || r.URL.Path != "/v2/email/outbound-emails" ||
		len(body.Destination.ToAddresses) != 1 || !strings.Contains(body.FromEmailAddress, "<nthlayer@example.org>") ||
		!strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256") {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	take := func() { f.received = append(f.received, string(body.Content.Raw.Data)) }
	if f.next != nil {
		act := f.next
		f.next = nil
		act(w, take)
		return
	}
	take()
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"MessageId":"ses-%d"}`, len(f.received))
}

// refuse answers the next call with an error.
func (f *fakeSES) refuse(status int, code, words string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = func(w http.ResponseWriter, _ func()) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Amzn-ErrorType", code)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"message": words})
	}
}

func newSES(t *testing.T) (*mail.SES, *fakeSES, *httptest.Server) {
	fake := &fakeSES{}
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	s, err := mail.OpenSES(t.Context(), mail.SESConfig{Region: "eu-west-1", Endpoint: server.URL, From: from(t)})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s, fake, server
}

func newSESBackend(t *testing.T) backend {
	s, fake, server := newSES(t)
	return backend{
		sender: s,
		received: func() []string {
			fake.mu.Lock()
			defer fake.mu.Unlock()
			return fake.received
		},
		refuse: func(passing bool, words string) {
			if passing {
				fake.refuse(http.StatusServiceUnavailable, "InternalServiceErrorException", words)
				return
			}
			fake.refuse(http.StatusBadRequest, "MessageRejected", words)
		},
		lose: func() {
			fake.mu.Lock()
			defer fake.mu.Unlock()
			fake.next = func(_ http.ResponseWriter, take func()) {
				take()
				panic(http.ErrAbortHandler)
			}
		},
		down: server.Close,
	}
}

func message() mail.Message {
	return mail.Message{
		Key: "01890a5d-ac96-774b-bcce-b302099a8057.h.abc", To: "ann@example.org", Subject: "Alles grün – 3 new",
		Text: "größer\n.\nthan a dot", HTML: "<p>größer</p>",
	}
}

func TestSend_Contract(t *testing.T) {
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			t.Run("both bodies and the headers arrive", func(t *testing.T) { testArrives(t, open(t)) })
			t.Run("a key has one Message-ID", func(t *testing.T) { testOneMessageID(t, open(t)) })
			t.Run("names cannot add headers", func(t *testing.T) { testNoInjection(t, open(t)) })
			t.Run("what is no address is refused", func(t *testing.T) { testAddresses(t, open(t)) })
			t.Run("a refusal for good says why", func(t *testing.T) { testRefused(t, open(t)) })
			t.Run("a refusal for now passes", func(t *testing.T) { testDeferred(t, open(t)) })
			t.Run("a lost answer is unsure", func(t *testing.T) { testLost(t, open(t)) })
			t.Run("nobody there is unavailable", func(t *testing.T) { testDown(t, open(t)) })
			t.Run("who gave up sends nothing", func(t *testing.T) { testCanceled(t, open(t)) })
		})
	}
}

func testArrives(t *testing.T, b backend) {
	id, err := b.Send(t.Context(), message())
	require.NoError(t, err)
	require.NotEmpty(t, id)
	require.Len(t, b.received(), 1)
	parsed, err := netmail.ReadMessage(strings.NewReader(b.received()[0]))
	require.NoError(t, err)
	subject, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
	require.NoError(t, err)
	require.Equal(t, "Alles grün – 3 new", subject)
	require.Equal(t, "auto-generated", parsed.Header.Get("Auto-Submitted"))
	require.Equal(t, message().Key, parsed.Header.Get(mail.KeyHeader))
	require.Equal(t, "<"+from(t).MessageID(message().Key)+">", parsed.Header.Get("Message-Id"))
	to, err := parsed.Header.AddressList("To")
	require.NoError(t, err)
	require.Equal(t, "ann@example.org", to[0].Address)
	sender, err := parsed.Header.AddressList("From")
	require.NoError(t, err)
	require.Equal(t, netmail.Address{Name: "NthLayer, Zürich", Address: "nthlayer@example.org"}, *sender[0])
	require.True(t, strings.HasPrefix(parsed.Header.Get("Content-Type"), "multipart/alternative"))
	body, err := io.ReadAll(parsed.Body)
	require.NoError(t, err)
	plain, html := strings.Index(string(body), "text/plain"), strings.Index(string(body), "text/html")
	require.True(t, 0 <= plain && plain < html, "the last part is the one that a client prefers")
}

func testOneMessageID(t *testing.T, b backend) {
	for range 2 {
		_, err := b.Send(t.Context(), message())
		require.NoError(t, err)
	}
	other := message()
	other.Key = "another"
	_, err := b.Send(t.Context(), other)
	require.NoError(t, err)
	var ids []string
	for _, raw := range b.received() {
		parsed, err := netmail.ReadMessage(strings.NewReader(raw))
		require.NoError(t, err)
		ids = append(ids, parsed.Header.Get("Message-Id"))
	}
	require.Len(t, ids, 3)
	require.Equal(t, ids[0], ids[1])
	require.NotEqual(t, ids[0], ids[2])
	require.Regexp(t, `^<[a-z0-9.]+@example\.org>$`, ids[0])
}

func testNoInjection(t *testing.T, b backend) {
	m := message()
	m.Subject, m.Key = "hello\r\nBcc: eve@example.org\r\n\r\nbody\x00", "k\r\nBcc: eve@example.org"
	_, err := b.Send(t.Context(), m)
	require.NoError(t, err)
	parsed, err := netmail.ReadMessage(strings.NewReader(b.received()[0]))
	require.NoError(t, err)
	require.Empty(t, parsed.Header.Get("Bcc"))
	require.Equal(t, "hello Bcc: eve@example.org body", parsed.Header.Get("Subject"))
}

func testAddresses(t *testing.T, b backend) {
	for _, to := range []string{"", "ann", "Ann <ann@example.org>", "ann@example.org, eve@example.org", "ann@example.org\r\nRCPT TO:<eve@example.org>", "<ann@example.org>"} {
		m := message()
		m.To = to
		_, err := b.Send(t.Context(), m)
		require.Equal(t, "EMAIL_ADDRESS_INVALID", fault.ReasonOf(err), to)
		require.Equal(t, fault.Invalid, fault.KindOf(err), to)
	}
	require.Empty(t, b.received())
}

func testRefused(t *testing.T, b backend) {
	b.refuse(false, "no such mailbox: <Ann@Example.org>")
	_, err := b.Send(t.Context(), message())
	f, ok := fault.As(err)
	require.True(t, ok)
	require.Equal(t, fault.Precondition, f.Kind)
	require.Contains(t, f.Text, "no such mailbox: [address]")
	require.NotContains(t, strings.ToLower(err.Error()), message().To, "it would get into the log")
	require.Empty(t, b.received())
}

func testDeferred(t *testing.T, b backend) {
	b.refuse(true, "come back later")
	_, err := b.Send(t.Context(), message())
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Empty(t, b.received())
	_, err = b.Send(t.Context(), message())
	require.NoError(t, err)
}

func testLost(t *testing.T, b backend) {
	b.lose()
	_, err := b.Send(t.Context(), message())
	require.Equal(t, fault.Deadline, fault.KindOf(err))
	require.Equal(t, "EMAIL_EFFECT_UNKNOWN", fault.ReasonOf(err))
	require.Len(t, b.received(), 1, "it was taken")
}

func testDown(t *testing.T, b backend) {
	b.down()
	_, err := b.Send(t.Context(), message())
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
}

func testCanceled(t *testing.T, b backend) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err := b.Send(ctx, message())
	require.Equal(t, fault.Canceled, fault.KindOf(err))
	require.Empty(t, b.received())
}
