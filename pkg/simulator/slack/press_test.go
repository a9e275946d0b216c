package slack_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/slack"
)

// app is the other side: it keeps what it is sent.
type app struct {
	requests []*http.Request
	bodies   []string
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.requests, a.bodies = append(a.requests, r), append(a.bodies, string(body))
	_, _ = io.WriteString(w, "thanks")
}

const buttons = `[{"type":"section","text":{"type":"mrkdwn","text":"x"}},{"type":"actions","block_id":"b","elements":[
	{"type":"button","action_id":"yes","value":"v","style":"primary","text":{"type":"plain_text","text":"Yes"}}]}]`

// pressable is a workspace with a message that has a button, and the app that is told of it.
func pressable(t *testing.T) (*workspace, *app, func(press string) (int, string)) {
	w, a := start(t), &app{}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	control := func(method, path, body string) (int, string) {
		recorder := httptest.NewRecorder()
		w.server.ServeHTTP(recorder, httptest.NewRequest(method, path, strings.NewReader(body)))
		http.DefaultClient.CloseIdleConnections()
		return recorder.Code, recorder.Body.String()
	}
	status, body := control("PUT", "/_control/interactions", `{"url":"`+server.URL+`","signing_secret":"s3cret"}`)
	require.Equal(t, 204, status, body)
	status, body = control("POST", "/_control/users", `{"email":"ann@example.org"}`)
	require.Equal(t, 204, status, body)
	ts := w.post(args{"channel": "ops", "text": "t", "blocks": buttons})
	return w, a, func(press string) (int, string) {
		return control("POST", "/_control/press", strings.ReplaceAll(press, "TS", ts))
	}
}

func TestPress_SendsWhatSlackSends(t *testing.T) {
	w, a, press := pressable(t)
	status, body := press(`{"channel":"ops","ts":"TS","action_id":"yes","user":"ann@example.org"}`)
	require.Equal(t, 200, status, body)
	require.JSONEq(t, `{"answers":[{"status":200,"body":"thanks"}]}`, body)
	require.Len(t, a.bodies, 1)
	sent := a.requests[0]
	require.Equal(t, "application/x-www-form-urlencoded", sent.Header.Get("Content-Type"))
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte("v0:" + sent.Header.Get("X-Slack-Request-Timestamp") + ":" + a.bodies[0]))
	require.Equal(t, "v0="+hex.EncodeToString(mac.Sum(nil)), sent.Header.Get("X-Slack-Signature"))

	form, err := url.ParseQuery(a.bodies[0])
	require.NoError(t, err)
	var payload struct {
		Type        string
		Team, User  struct{ ID string }
		Container   struct{ Type, ChannelID, MessageTS string }
		ResponseURL string `json:"response_url"`
		TriggerID   string `json:"trigger_id"`
		Message     struct{ Text string }
		Actions     []struct {
			Type, Value string
			ActionID    string `json:"action_id"`
			BlockID     string `json:"block_id"`
			ActionTS    string `json:"action_ts"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(form.Get("payload")), &payload))
	require.Equal(t, []string{"block_actions", "T0EXAMPLE", w.server.UserID("ann@example.org"), "t"}, []string{payload.Type, payload.Team.ID, payload.User.ID, payload.Message.Text})
	require.Len(t, payload.Actions, 1)
	require.Equal(t, []string{"button", "v", "yes", "b"}, []string{payload.Actions[0].Type, payload.Actions[0].Value, payload.Actions[0].ActionID, payload.Actions[0].BlockID})
	require.True(t, strings.HasPrefix(payload.ResponseURL, "https://hooks.slack.com/"))
	require.NotEmpty(t, payload.TriggerID)

	_, _ = press(`{"channel":"ops","ts":"TS","action_id":"yes","user":"ann@example.org"}`)
	require.NotEqual(t, a.bodies[0], a.bodies[1], "no two clicks are the same")
	_, _ = press(`{"channel":"ops","ts":"TS","action_id":"yes","user":"ann@example.org","times":2}`)
	require.Equal(t, a.bodies[2], a.bodies[3], "a replay is")
	require.Equal(t, a.requests[2].Header.Get("X-Slack-Signature"), a.requests[3].Header.Get("X-Slack-Signature"))
}

func TestPress_WhatNobodyCouldPress_IsNamed(t *testing.T) {
	w, a, press := pressable(t)
	for field, p := range map[string]string{
		"user":      `{"channel":"ops","ts":"TS","action_id":"yes","user":"nobody@example.org"}`,
		"ts":        `{"channel":"ops","ts":"1.0","action_id":"yes","user":"ann@example.org"}`,
		"action_id": `{"channel":"ops","ts":"TS","action_id":"no","user":"ann@example.org"}`,
		"colour":    `{"colour":"red"}`,
	} {
		status, body := press(p)
		require.Equal(t, 400, status, field)
		require.Contains(t, body, `"field":"`+field+`"`)
	}
	// A message that was changed has the buttons that it has now.
	var state struct{ Messages []message }
	require.NoError(t, json.Unmarshal([]byte(`{"messages":`+w.messages()+`}`), &state))
	require.True(t, w.call("chat.update", args{"channel": "ops", "ts": state.Messages[0].TS, "text": "done", "blocks": "[]"}).OK)
	status, body := press(`{"channel":"ops","ts":"TS","action_id":"yes","user":"ann@example.org"}`)
	require.Equal(t, 400, status)
	require.Contains(t, body, "no such button")
	require.Empty(t, a.bodies)

	bare := slack.New(slack.Options{Token: "t"})
	_, err := bare.Press(t.Context(), slack.Press{})
	require.ErrorContains(t, err, "interactions")
}

func TestUpdate_AsSlackDoes(t *testing.T) {
	w := start(t)
	ts := w.post(args{"channel": "ops", "text": "t", "blocks": buttons})
	require.True(t, w.call("chat.update", args{"channel": "ops", "ts": ts, "text": "u"}).OK)
	require.Contains(t, w.messages(), `"blocks":[`, "blocks of which nothing is said stay")
	require.Contains(t, w.messages(), `"edited":{"user":"U0NTHLAYER"`)

	recorder := httptest.NewRecorder()
	w.server.ServeHTTP(recorder, httptest.NewRequest("POST", "/_control/users", strings.NewReader(`{"email":"ann@example.org"}`)))
	w.server.ServeHTTP(recorder, httptest.NewRequest("POST", "/_control/messages", strings.NewReader(`{"channel":"ops","user":"ann@example.org","text":"hello"}`)))
	newest := w.call("conversations.history", args{"channel": "ops"}).Messages[0]
	require.Equal(t, "hello", newest.Text)
	require.Equal(t, "cant_update_message", w.call("chat.update", args{"channel": "ops", "ts": newest.TS, "text": "mine"}).Error)
	require.Equal(t, "cant_delete_message", w.call("chat.delete", args{"channel": "ops", "ts": newest.TS}).Error)

	require.True(t, w.call("chat.delete", args{"channel": "ops", "ts": ts}).OK)
	require.Equal(t, "message_not_found", w.call("chat.update", args{"channel": "ops", "ts": ts, "text": "u"}).Error)
	require.Equal(t, "message_not_found", w.call("chat.delete", args{"channel": "ops", "ts": ts}).Error)
}

func TestActions_ThatSlackWouldNotTake_AreRefused(t *testing.T) {
	w := start(t)
	button := func(more string) string {
		return `[{"type":"actions","elements":[{"type":"button","action_id":"a","text":{"type":"plain_text","text":"Yes"}` + more + `}]}]`
	}
	dialog := func(text string) string {
		word := `{"type":"plain_text","text":"x"}`
		return `,"confirm":{"title":` + word + `,"text":{"type":"plain_text","text":"` + text + `"},"confirm":` + word + `,"deny":` + word + `}`
	}
	require.Empty(t, w.call("chat.postMessage", args{"channel": "ops", "text": "t", "blocks": button(dialog("sure?"))}).Error)
	for name, blocks := range map[string]string{
		"style":  button(`,"style":"red"`),
		"value":  button(`,"value":"` + strings.Repeat("x", 2001) + `"`),
		"dialog": button(dialog(strings.Repeat("x", 301))),
		"markup": strings.Replace(button(""), "plain_text", "mrkdwn", 1),
		"empty":  `[{"type":"actions","elements":[]}]`,
	} {
		require.Equal(t, "invalid_blocks", w.call("chat.postMessage", args{"channel": "ops", "text": "t", "blocks": blocks}).Error, name)
	}
}
