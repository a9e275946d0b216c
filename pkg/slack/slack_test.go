package slack_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	goslack "github.com/slack-go/slack"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/slack"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// workspace answers each call with the next handler, the last one for ever, and counts.
type workspace struct {
	mu       sync.Mutex
	handlers []http.HandlerFunc
	calls    []string
	forms    []map[string]string
}

func (s *workspace) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	next := s.handlers[min(len(s.calls), len(s.handlers)-1)]
	s.calls = append(s.calls, r.URL.Path)
	form := map[string]string{}
	if err := r.ParseForm(); err == nil {
		for name := range r.PostForm {
			form[name] = r.PostForm.Get(name)
		}
	}
	s.forms = append(s.forms, form)
	s.mu.Unlock()
	next(w, r)
}

func says(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

const posted = `{"ok":true,"channel":"C1","ts":"1503435956.000247","message":{"text":"hello"}}`

func connect(t *testing.T, handlers ...http.HandlerFunc) (*slack.Client, *workspace) {
	s := &workspace{handlers: handlers}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	web := slack.HTTP(upstream.Config{Attempts: 2, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(web.CloseIdleConnections)
	return slack.New(slack.Config{BaseURL: server.URL + "/api", Token: config.NewSecret("xoxb-1"), HTTP: web}), s
}

func TestPost_Reply_CarriesEverything(t *testing.T) {
	c, s := connect(t, says(200, posted))
	got, err := c.Post(t.Context(), slack.Message{
		Channel: "C1", Text: "hello & <all>", ThreadTS: "1.2", Metadata: slack.Delivery("run-1/summary"),
		Blocks: []slack.Block{goslack.NewDividerBlock()},
	})
	require.NoError(t, err)
	require.Equal(t, slack.Posted{Channel: "C1", TS: "1503435956.000247"}, got)
	require.Equal(t, []string{"/api/chat.postMessage"}, s.calls)
	form := s.forms[0]
	require.Equal(t, "hello & <all>", form["text"])
	require.Equal(t, "1.2", form["thread_ts"])
	require.JSONEq(t, `[{"type":"divider"}]`, form["blocks"])
	require.JSONEq(t, `{"event_type":"nthlayer_delivery","event_payload":{"delivery_key":"run-1/summary"}}`, form["metadata"])
}

func TestPost_Errors_SayWhetherToTryAgain(t *testing.T) {
	half := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "500")
		_, _ = w.Write([]byte(posted))
	}
	lost := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	refuses := func(word string) http.HandlerFunc {
		return says(200, fmt.Sprintf(`{"ok":false,"error":%q}`, word))
	}
	cases := map[string]struct {
		handle http.HandlerFunc
		calls  int
		kind   fault.Kind
		reason string
	}{
		"no such channel":      {refuses("channel_not_found"), 1, fault.Precondition, "SLACK_CHANNEL_NOT_FOUND"},
		"bad token":            {refuses("invalid_auth"), 1, fault.Precondition, "SLACK_INVALID_AUTH"},
		"too long":             {refuses("msg_blocks_too_long"), 1, fault.Precondition, "SLACK_MSG_BLOCKS_TOO_LONG"},
		"a new word":           {refuses("never_heard"), 1, fault.Precondition, "SLACK_NEVER_HEARD"},
		"429":                  {says(429, `{"ok":false,"error":"ratelimited"}`), 2, fault.Throttled, "SLACK_THROTTLED"},
		"ratelimited with 200": {refuses("ratelimited"), 2, fault.Throttled, "SLACK_THROTTLED"},
		"service unavailable":  {refuses("service_unavailable"), 2, fault.Unavailable, "SLACK_SERVICE_UNAVAILABLE"},
		"internal error":       {refuses("internal_error"), 1, fault.Unavailable, "SLACK_INTERNAL_ERROR"},
		"workspace is full":    {refuses("message_limit_exceeded"), 1, fault.Unavailable, "SLACK_MESSAGE_LIMIT_EXCEEDED"},
		"fatal error":          {refuses("fatal_error"), 1, fault.Deadline, "SLACK_FATAL_ERROR"},
		"500":                  {says(500, `<html></html>`), 1, fault.Deadline, "SLACK_EFFECT_UNKNOWN"},
		"answer lost":          {lost, 1, fault.Deadline, "SLACK_EFFECT_UNKNOWN"},
		"answer half":          {half, 1, fault.Deadline, "SLACK_EFFECT_UNKNOWN"},
		"answer not JSON":      {says(200, `ok`), 1, fault.Deadline, "SLACK_EFFECT_UNKNOWN"},
		"answer empty":         {says(200, ``), 1, fault.Deadline, "SLACK_EFFECT_UNKNOWN"},
		"answer without ts":    {says(200, `{}`), 1, fault.Deadline, "SLACK_EFFECT_UNKNOWN"},
		"not Slack":            {says(404, `<html></html>`), 1, fault.Unavailable, "SLACK_UNAVAILABLE"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c, s := connect(t, tc.handle)
			_, err := c.Post(t.Context(), slack.Message{Channel: "C1", Text: "hello"})
			require.Equal(t, tc.kind, fault.KindOf(err), "%v", err)
			require.Equal(t, tc.reason, fault.ReasonOf(err))
			s.mu.Lock()
			defer s.mu.Unlock()
			require.Len(t, s.calls, tc.calls, "only what was not posted is sent again")
			require.NotContains(t, err.Error(), "xoxb-1")
		})
	}
}

func TestPost_Throttled_WaitsAndPostsOnce(t *testing.T) {
	c, s := connect(t, says(429, ``, "Retry-After", "1"), says(200, posted))
	began := time.Now()
	_, err := c.Post(t.Context(), slack.Message{Channel: "C1", Text: "hello"})
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), time.Second)
	require.Equal(t, s.forms[0], s.forms[1], "the same message again")
}

// history gives one page.
func history(more bool, cursor string, keys ...string) http.HandlerFunc {
	messages := []map[string]any{{"type": "message", "ts": "1.0", "text": "chatter"}}
	for i, key := range keys {
		messages = append(messages, map[string]any{
			"type": "message", "ts": fmt.Sprintf("2.%d", i),
			"metadata": map[string]any{"event_type": "nthlayer_delivery", "event_payload": map[string]any{"delivery_key": key}},
		})
	}
	body, err := json.Marshal(map[string]any{
		"ok": true, "messages": messages, "has_more": more, "response_metadata": map[string]any{"next_cursor": cursor},
	})
	if err != nil {
		panic(err)
	}
	return says(200, string(body))
}

func TestFindByMetadata_OnAnyPage_IsFoundByItsWholeKey(t *testing.T) {
	since := time.Unix(1_800_000_000, 0)
	c, s := connect(t, history(true, "next", "run-1", "run-10"), history(false, "", "run-2"))
	got, found, err := c.FindByMetadata(t.Context(), "C1", "run-2", since)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, slack.Posted{Channel: "C1", TS: "2.0"}, got)
	require.Equal(t, "1800000000.000000", s.forms[0]["oldest"])
	require.Equal(t, "1", s.forms[0]["include_all_metadata"])
	require.Equal(t, "next", s.forms[1]["cursor"])

	_, found, err = c.FindByMetadata(t.Context(), "C1", "run-3", since)
	require.NoError(t, err)
	require.False(t, found)
}

func TestFindByMetadata_LostAnswer_IsAskedAgain(t *testing.T) {
	lost := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	c, s := connect(t, lost, history(false, "", "run-1"))
	_, found, err := c.FindByMetadata(t.Context(), "C1", "run-1", time.Time{})
	require.NoError(t, err)
	require.True(t, found)
	require.Len(t, s.calls, 2)
}

func TestFindByMetadata_HistoryNotWhole_IsNotAbsence(t *testing.T) {
	for name, handle := range map[string]http.HandlerFunc{
		"more without cursor": history(true, ""),
		"without end":         history(true, "again"),
		"empty object":        says(200, `{}`),
		"nothing":             says(200, ``),
		"half":                says(200, `{"ok":true,"messages":[`),
		"server error":        says(500, ``),
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := connect(t, handle)
			_, found, err := c.FindByMetadata(t.Context(), "C1", "run-1", time.Time{})
			require.False(t, found)
			require.Equal(t, fault.Incomplete, fault.KindOf(err), "%v", err)
		})
	}
	c, _ := connect(t, says(200, `{"ok":false,"error":"missing_scope"}`))
	_, _, err := c.FindByMetadata(t.Context(), "C1", "run-1", time.Time{})
	require.Equal(t, "SLACK_MISSING_SCOPE", fault.ReasonOf(err))
}

func TestPost_Token_StandsInTheHeaderAlone(t *testing.T) {
	c, s := connect(t, func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "Bearer xoxb-1", r.Header.Get("Authorization"))
		says(200, posted)(w, r)
	})
	_, err := c.Post(t.Context(), slack.Message{Channel: "C1", Text: "hello"})
	require.NoError(t, err)
	require.NotContains(t, s.forms[0], "token", "a form is sent again as it is when the token was replaced")
}

func TestPost_TokenReplacedInItsFile_NextCallGoesThrough(t *testing.T) {
	for _, word := range []string{"invalid_auth", "token_revoked", "token_expired"} {
		t.Run(word, func(t *testing.T) {
			valid, asked := "xoxb-old", 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				body := posted
				if r.Header.Get("Authorization") != "Bearer "+valid || r.PostFormValue("text") != "hello" {
					body = `{"ok":false,"error":"` + word + `"}`
				}
				says(200, body)(w, r)
			}))
			t.Cleanup(server.Close)
			path := filepath.Join(t.TempDir(), "token")
			require.NoError(t, os.WriteFile(path, []byte("xoxb-old\n"), 0o600))
			credential, err := config.FromFile(t.Context(), path)
			require.NoError(t, err)
			way := upstream.New(slack.Upstream(upstream.Config{Credentials: credential, Log: slog.New(slog.DiscardHandler)}))
			t.Cleanup(func() { require.NoError(t, way.Close()) })
			c := slack.New(slack.Config{BaseURL: server.URL, HTTP: way.Client()})
			hello := slack.Message{Channel: "C1", Text: "hello"}
			_, err = c.Post(t.Context(), hello)
			require.NoError(t, err)

			valid, asked = "xoxb-new", 0
			_, err = c.Post(t.Context(), hello)
			require.Equal(t, "SLACK_"+strings.ToUpper(word), fault.ReasonOf(err), "the file still holds the old one")
			require.Equal(t, 1, asked)
			require.NoError(t, os.WriteFile(path, []byte("xoxb-new\n"), 0o600))
			_, err = c.Post(t.Context(), hello)
			require.NoError(t, err)
			require.Equal(t, 3, asked)
		})
	}
}
