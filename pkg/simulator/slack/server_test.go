package slack_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/simulator/slack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// workspace is a simulated Slack whose clock is the test's.
type workspace struct {
	t      *testing.T
	server *slack.Server
	now    time.Time
}

func start(t *testing.T, channels ...string) *workspace {
	w := &workspace{t: t, now: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)}
	w.server = slack.New(slack.Options{Token: "xoxb-bot", Channels: channels, Clock: func() time.Time { return w.now }})
	return w
}

type message struct {
	Text, TS string
	ThreadTS string `json:"thread_ts"`
	Metadata json.RawMessage
	Blocks   json.RawMessage
}

type answer struct {
	OK       bool
	Error    string
	Channel  string
	TS       string
	Message  message
	Messages []message
	HasMore  bool `json:"has_more"`
	Response struct {
		NextCursor string `json:"next_cursor"`
	} `json:"response_metadata"`
	User struct{ ID string }

	status int
	header http.Header
}

// call is a method with arguments as JSON.
func (w *workspace) call(method string, args map[string]any) answer {
	w.t.Helper()
	body, err := json.Marshal(args)
	require.NoError(w.t, err)
	request := httptest.NewRequest("POST", "/api/"+method, strings.NewReader(string(body)))
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	request.Header.Set("Authorization", "Bearer xoxb-bot")
	return w.send(request)
}

func (w *workspace) send(request *http.Request) answer {
	w.t.Helper()
	recorder := httptest.NewRecorder()
	w.server.ServeHTTP(recorder, request)
	got := answer{status: recorder.Code, header: recorder.Header()}
	require.NoError(w.t, json.Unmarshal(recorder.Body.Bytes(), &got), recorder.Body.String())
	return got
}

// post posts what has to be taken, and gives the ts.
func (w *workspace) post(args map[string]any) string {
	w.t.Helper()
	got := w.call("chat.postMessage", args)
	require.True(w.t, got.OK, got.Error)
	return got.TS
}

type args = map[string]any

func texts(messages []message) (list []string) {
	for _, m := range messages {
		list = append(list, m.Text)
	}
	return list
}

func TestRefusals_ComeWithStatus200AndAWord(t *testing.T) {
	w := start(t, "ops")
	w.server.Control().SetLimits(control.Limits{})
	section := func(text string) string {
		return fmt.Sprintf(`{"type":"section","text":{"type":"mrkdwn","text":%q}}`, text)
	}
	long := strings.Repeat("x", 3000)
	for _, c := range []struct {
		word, method string
		args         args
	}{
		{"channel_not_found", "chat.postMessage", args{"text": "hi"}},
		{"channel_not_found", "chat.postMessage", args{"channel": "C0NOWHERE1", "text": "hi"}},
		{"channel_not_found", "chat.update", args{"channel": "nowhere", "ts": "1.0", "text": "hi"}},
		{"channel_not_found", "conversations.history", args{"channel": "nowhere"}},
		{"channel_not_found", "conversations.history", args{}},
		{"channel_not_found", "conversations.replies", args{"channel": "nowhere", "ts": "1.0"}},
		{"thread_not_found", "conversations.replies", args{"channel": "ops", "ts": "1.000000"}},
		{"thread_not_found", "conversations.replies", args{"channel": "ops"}},
		{"cannot_reply_to_message", "chat.postMessage", args{"channel": "ops", "text": "hi", "thread_ts": "1.000000"}},
		{"message_not_found", "chat.update", args{"channel": "ops", "ts": "1.000000", "text": "hi"}},
		{"no_text", "chat.postMessage", args{"channel": "ops"}},
		{"no_text", "chat.postMessage", args{"channel": "ops", "blocks": "[]"}},
		{"msg_too_long", "chat.postMessage", args{"channel": "ops", "text": strings.Repeat("é", 40_001)}},
		{"invalid_blocks_format", "chat.postMessage", args{"channel": "ops", "blocks": "nonsense"}},
		{"invalid_blocks", "chat.postMessage", args{"channel": "ops", "blocks": "[" + section("") + "]"}},
		{"invalid_blocks", "chat.postMessage", args{"channel": "ops", "blocks": "[" + section(long+"x") + "]"}},
		{"invalid_blocks", "chat.postMessage", args{"channel": "ops", "blocks": "[" + strings.Repeat(section("x")+",", 50) + section("x") + "]"}},
		{"msg_blocks_too_long", "chat.postMessage", args{"channel": "ops", "blocks": "[" + strings.Repeat(section(long)+",", 4) + section(long) + "]"}},
		{"invalid_metadata_format", "chat.postMessage", args{"channel": "ops", "text": "hi", "metadata": "nonsense"}},
		{"invalid_metadata_format", "chat.postMessage", args{"channel": "ops", "text": "hi", "metadata": `{"event_payload":{}}`}},
		{"users_not_found", "users.lookupByEmail", args{"email": "nobody@example.org"}},
		{"unknown_method", "chat.shout", args{}},
	} {
		got := w.call(c.method, c.args)
		require.Equal(t, http.StatusOK, got.status, c.word)
		require.False(t, got.OK, c.word)
		require.Equal(t, c.word, got.Error, "%s %.200v", c.method, c.args)
	}
	require.Equal(t, "[]", w.messages(), "nothing of it was posted")
	require.True(t, w.call("chat.postMessage", args{"channel": "ops", "blocks": "[" + section(long) + "]"}).OK, "the longest section is fine")
}

// messages is what the workspace holds, as JSON.
func (w *workspace) messages() string {
	recorder := httptest.NewRecorder()
	w.server.ServeHTTP(recorder, httptest.NewRequest("GET", "/_control/state", nil))
	var state struct{ Messages json.RawMessage }
	require.NoError(w.t, json.Unmarshal(recorder.Body.Bytes(), &state))
	return string(state.Messages)
}

func TestAuthentication_Refused_WithStatus200(t *testing.T) {
	w := start(t)
	for authorization, word := range map[string]string{"": "not_authed", "Basic x": "not_authed", "Bearer xoxb-other": "invalid_auth", "Bearer xoxb-bo": "invalid_auth"} {
		request := httptest.NewRequest("POST", "/api/auth.test", nil)
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		got := w.send(request)
		require.Equal(t, http.StatusOK, got.status)
		require.Equal(t, word, got.Error, authorization)
	}
	none := start(t)
	none.server = slack.New(slack.Options{})
	require.Equal(t, "invalid_auth", none.call("auth.test", args{}).Error, "without a token of its own it takes none")
}

func TestArguments_AsJSONFormOrQuery_AreTheSame(t *testing.T) {
	w := start(t)
	form := url.Values{"channel": {"C0OPERATIONS"}, "text": {"hi"}, "metadata": {`{"event_type":"run","event_payload":{"job":"1"}}`}}
	want := w.call("chat.postMessage", args{
		"channel": "C0OPERATIONS", "text": "hi", "metadata": args{"event_type": "run", "event_payload": args{"job": "1"}},
	})
	require.True(t, want.OK, want.Error)
	encoded := httptest.NewRequest("POST", "/api/chat.postMessage", strings.NewReader(form.Encode()))
	encoded.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	queried := httptest.NewRequest("POST", "/chat.postMessage?"+form.Encode(), nil) // base URLs are written with and without /api
	for _, request := range []*http.Request{encoded, queried} {
		request.Header.Set("Authorization", "Bearer xoxb-bot")
		got := w.send(request)
		require.True(t, got.OK, got.Error)
		require.Equal(t, want.Channel, got.Channel)
	}
	posted := w.call("conversations.history", args{"channel": "C0OPERATIONS", "include_all_metadata": true}).Messages
	require.Len(t, posted, 3)
	for _, m := range posted {
		require.Equal(t, "hi", m.Text)
		require.JSONEq(t, form.Get("metadata"), string(m.Metadata))
	}

	broken := httptest.NewRequest("POST", "/api/chat.postMessage", strings.NewReader("{"))
	broken.Header.Set("Content-Type", "application/json")
	broken.Header.Set("Authorization", "Bearer xoxb-bot")
	require.Equal(t, "invalid_json", w.send(broken).Error)
}

func TestTS_IsUniqueAndGrows_AlsoWhenTheClockDoesNot(t *testing.T) {
	w := start(t)
	w.server.Control().SetLimits(control.Limits{})
	shape := regexp.MustCompile(`^\d{10}\.\d{6}$`)
	last := ""
	for i := range 300 {
		switch i {
		case 100:
			w.now = w.now.Add(time.Second)
		case 200:
			w.now = w.now.Add(-time.Hour)
		}
		ts := w.post(args{"channel": fmt.Sprintf("channel-%d", i%3), "text": "hi"})
		require.Regexp(t, shape, ts)
		require.Greater(t, ts, last) // of one length, so they compare as text
		last = ts
	}
}

func TestThread_RepliesBelongToTheParent_AndNotToTheHistory(t *testing.T) {
	w := start(t)
	parent := w.post(args{"channel": "#ops", "text": "parent"})
	other := w.post(args{"channel": "ops", "text": "other"})
	first := w.post(args{"channel": "ops", "text": "first", "thread_ts": parent})
	w.post(args{"channel": "ops", "text": "second", "thread_ts": parent})
	require.Equal(t, "cannot_reply_to_message", w.call("chat.postMessage", args{"channel": "elsewhere", "text": "x", "thread_ts": parent}).Error)

	thread := w.call("conversations.replies", args{"channel": "ops", "ts": parent})
	require.Equal(t, []string{"parent", "first", "second"}, texts(thread.Messages), "the parent first, then the oldest")
	require.Empty(t, thread.Messages[0].ThreadTS)
	require.Equal(t, parent, thread.Messages[1].ThreadTS)
	require.Equal(t, first, thread.Messages[1].TS)
	require.Equal(t, []string{"other"}, texts(w.call("conversations.replies", args{"channel": "ops", "ts": other}).Messages))
	require.Equal(t, []string{"other", "parent"}, texts(w.call("conversations.history", args{"channel": "ops"}).Messages), "the newest first")
}

func TestMetadata_IsShownToWhoAsksForIt(t *testing.T) {
	w := start(t)
	metadata := `{"event_type":"nthlayer_run","event_payload":{"key":"k"}}`
	ts := w.post(args{"channel": "ops", "text": "hi", "metadata": metadata})
	w.post(args{"channel": "ops", "text": "reply", "thread_ts": ts, "metadata": metadata})
	for _, method := range []string{"conversations.history", "conversations.replies"} {
		for _, m := range w.call(method, args{"channel": "ops", "ts": ts}).Messages {
			require.Empty(t, m.Metadata, method)
		}
		for _, m := range w.call(method, args{"channel": "ops", "ts": ts, "include_all_metadata": true}).Messages {
			require.JSONEq(t, metadata, string(m.Metadata), method)
		}
	}
}

func TestQuota_OneMessageASecondAndChannel_429SaysWhenToComeBack(t *testing.T) {
	w := start(t)
	require.Equal(t, control.Limits{PerMinute: 60}, w.server.Control().Limits())
	for range 5 { // a short burst passes
		w.post(args{"channel": "ops", "text": "hi"})
	}
	got := w.call("chat.postMessage", args{"channel": "ops", "text": "hi"})
	require.Equal(t, http.StatusTooManyRequests, got.status)
	require.Equal(t, "ratelimited", got.Error)
	require.Equal(t, "1", got.header.Get("Retry-After"))
	w.post(args{"channel": "other", "text": "hi"}) // each channel has its own
	require.True(t, w.call("conversations.history", args{"channel": "ops"}).OK, "reading costs nothing of it")

	for range 3 {
		w.now = w.now.Add(999 * time.Millisecond)
		require.Equal(t, "ratelimited", w.call("chat.postMessage", args{"channel": "ops", "text": "hi"}).Error)
		w.now = w.now.Add(time.Millisecond)
		w.post(args{"channel": "ops", "text": "hi"})
	}
	w.server.Control().SetLimits(control.Limits{PerMinute: 6})
	require.Equal(t, "10", w.call("chat.postMessage", args{"channel": "ops", "text": "hi"}).header.Get("Retry-After"))
}

func TestQuota_RefusedContent_CostsNothing(t *testing.T) {
	w := start(t)
	for range 10 {
		require.Equal(t, "no_text", w.call("chat.postMessage", args{"channel": "ops"}).Error)
	}
	w.post(args{"channel": "ops", "text": "hi"})
}

func TestHistory_Pages_ByCursorAndTime(t *testing.T) {
	w := start(t)
	w.server.Control().SetLimits(control.Limits{})
	var ts []string
	for i := range 250 {
		ts = append(ts, w.post(args{"channel": "ops", "text": fmt.Sprint(i)}))
		w.now = w.now.Add(time.Second)
	}
	var seen []string
	cursor, pages := "", 0
	for {
		got := w.call("conversations.history", args{"channel": "ops", "limit": 100, "cursor": cursor})
		seen, pages = append(seen, texts(got.Messages)...), pages+1
		require.Equal(t, got.HasMore, got.Response.NextCursor != "")
		if cursor = got.Response.NextCursor; cursor == "" {
			break
		}
	}
	require.Equal(t, 3, pages)
	require.Len(t, seen, 250)
	require.Equal(t, "249", seen[0])
	require.Equal(t, "0", seen[249])
	require.Len(t, w.call("conversations.history", args{"channel": "ops"}).Messages, 100, "100 unless told")
	require.False(t, w.call("conversations.history", args{"channel": "ops", "limit": 250}).HasMore)

	between := args{"channel": "ops", "oldest": ts[10], "latest": ts[13]}
	require.Equal(t, []string{"12", "11"}, texts(w.call("conversations.history", between).Messages), "without the ends")
	between["inclusive"] = true
	require.Equal(t, []string{"13", "12", "11", "10"}, texts(w.call("conversations.history", between).Messages))
}

func TestReplies_Page_FromTheParentOn(t *testing.T) {
	w := start(t)
	w.server.Control().SetLimits(control.Limits{})
	parent := w.post(args{"channel": "ops", "text": "parent"})
	for i := range 5 {
		w.post(args{"channel": "ops", "text": fmt.Sprint(i), "thread_ts": parent})
		w.post(args{"channel": "ops", "text": "not of it"})
	}
	var seen []string
	cursor := ""
	for {
		got := w.call("conversations.replies", args{"channel": "ops", "ts": parent, "limit": 4, "cursor": cursor})
		seen = append(seen, texts(got.Messages)...)
		if cursor = got.Response.NextCursor; cursor == "" {
			break
		}
	}
	require.Equal(t, []string{"parent", "0", "1", "2", "3", "4"}, seen)
}

func TestUpdate_ReplacesTheMessage_UnderItsTS(t *testing.T) {
	w := start(t)
	ts := w.post(args{"channel": "ops", "text": "before"})
	require.Equal(t, ts, w.call("chat.update", args{"channel": "ops", "ts": ts, "text": "after"}).TS)
	require.Equal(t, []string{"after"}, texts(w.call("conversations.history", args{"channel": "ops"}).Messages))
	require.Contains(t, w.messages(), `"edited":{"user":"U0NTHLAYER"`)
}

func TestLookup_FindsTheOrganisationsPeople(t *testing.T) {
	w := start(t)
	o, err := org.Decode(strings.NewReader(`{"people":["ann"],"teams":[]}`))
	require.NoError(t, err)
	require.NoError(t, w.server.LoadOrg(o))
	got := w.call("users.lookupByEmail", args{"email": "Ann@Example.org"})
	require.True(t, got.OK, got.Error)
	require.Regexp(t, "^U", got.User.ID)
}

func TestInjectedErrors_LookLikeSlacksOwn(t *testing.T) {
	w := start(t)
	for status, word := range map[int]string{429: "ratelimited", 503: "service_unavailable", 500: "internal_error"} {
		require.NoError(t, w.server.Control().Inject(control.Fault{Match: "POST /api/chat.postMessage", Status: status, Times: 1}))
		got := w.call("chat.postMessage", args{"channel": "ops", "text": "hi"})
		require.Equal(t, status, got.status)
		require.Equal(t, word, got.Error)
		require.Equal(t, status == 429, got.header.Get("Retry-After") != "")
	}
	require.Equal(t, "[]", w.messages())
}

func TestCalls_CountPostsAsWritesAndReadsBehindPOSTNot(t *testing.T) {
	w := start(t)
	ts := w.post(args{"channel": "C0OPERATIONS", "text": "hi"})
	w.call("conversations.history", args{"channel": "C0OPERATIONS"})
	w.call("chat.postMessage", args{"channel": "C0OPERATIONS"})
	calls := w.server.Control().Calls()
	require.Equal(t, 3, calls.Total)
	require.Equal(t, 2, calls.Writes)
	require.Equal(t, "post C0OPERATIONS "+ts, calls.Calls[0].Effect)
	require.Empty(t, calls.Calls[2].Effect, "what was refused changed nothing")
}
