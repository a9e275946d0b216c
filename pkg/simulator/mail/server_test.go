package mail_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	sim "github.com/nthlayer/nthlayer/pkg/simulator/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, opts sim.Options) (s *sim.Server, addr string) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s = sim.New(opts)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.NoError(t, <-ended)
	})
	return s, l.Addr().String()
}

const content = "Subject: =?utf-8?q?gr=C3=BCn?=\r\nMessage-ID: <one@example.org>\r\nContent-Type: multipart/mixed; boundary=out\r\n\r\n" +
	"--out\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n" +
	"--in\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BCn\r\n" +
	"--in\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPHA+Z3LDvG48L3A+\r\n--in--\r\n--out--\r\n"

func send(addr string) error {
	return smtp.SendMail(addr, nil, "nthlayer@example.org", []string{"ann@example.org"}, []byte(content))
}

func call(t *testing.T, s *sim.Server, method, path, body string) (int, string) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

func TestServer_Message_IsShownWithItsTexts(t *testing.T) {
	s, addr := start(t, sim.Options{})
	require.NoError(t, send(addr))
	code, body := call(t, s, http.MethodGet, "/_control/state", "")
	require.Equal(t, http.StatusOK, code)
	var state struct{ Messages []sim.Message }
	require.NoError(t, json.Unmarshal([]byte(body), &state))
	require.Len(t, state.Messages, 1)
	m := state.Messages[0]
	require.Equal(t, []string{"grün", "one@example.org", "grün", "<p>grün</p>"}, []string{m.Subject, m.MessageID, m.Text, m.HTML})
	require.Equal(t, []string{"ann@example.org"}, m.To)
	require.Equal(t, content, m.Raw)

	code, _ = call(t, s, http.MethodDelete, "/_control/state", "")
	require.Equal(t, http.StatusNoContent, code)
	require.Empty(t, s.Messages())
}

func TestServer_MoreThanIsKept_ForgetsTheOldest(t *testing.T) {
	s, addr := start(t, sim.Options{Keep: 2})
	for range 3 {
		require.NoError(t, send(addr))
	}
	kept, err := s.Await(t.Context(), 3)
	require.NoError(t, err)
	require.Len(t, kept, 2)
}

func TestServer_Faults_RefuseOrLoseTheAnswer(t *testing.T) {
	s, addr := start(t, sim.Options{})
	code, body := call(t, s, http.MethodPost, "/_control/faults", `[{"at":"rcpt","code":550,"text":"nobody","times":1},{"at":"data","lose":true,"times":1}]`)
	require.Equal(t, http.StatusNoContent, code, body)
	require.ErrorContains(t, send(addr), "nobody")
	require.Empty(t, s.Messages())
	require.Error(t, send(addr))
	require.Len(t, s.Messages(), 1, "it was taken all the same")
	require.NoError(t, send(addr))

	require.NoError(t, s.Inject(sim.Fault{At: "mail", Code: 451}))
	require.Error(t, send(addr))
	require.Error(t, send(addr), "until it is deleted")
	code, _ = call(t, s, http.MethodDelete, "/_control/faults", "")
	require.Equal(t, http.StatusNoContent, code)
	require.NoError(t, send(addr))
}

func TestServer_FaultThatWouldNeverShow_IsRefused(t *testing.T) {
	s, _ := start(t, sim.Options{})
	for _, body := range []string{`[{"at":"helo","code":500}]`, `[{"at":"data"}]`, `[{"at":"rcpt","lose":true}]`, `[{"at":"data","code":550,"tmies":1}]`, `{`} {
		code, _ := call(t, s, http.MethodPost, "/_control/faults", body)
		require.Equal(t, http.StatusBadRequest, code, body)
	}
}

func TestServer_ClosedBeforeItServes_EndsAtOnce(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := sim.New(sim.Options{})
	require.NoError(t, s.Close())
	require.NoError(t, s.Serve(l))
	require.Error(t, send(l.Addr().String()))
}
