package slack

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
)

// page answers every request with the same body.
type page []byte

func (p page) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(p)))}, nil
}

func (p page) client() *Client {
	return New(Config{Token: config.NewSecret("xoxb-1"), HTTP: &http.Client{Transport: p}})
}

// whole is what an answer must say for absence to be believed.
type whole struct {
	OK       bool `json:"ok"`
	HasMore  bool `json:"has_more"`
	Messages *[]struct {
		TS       string `json:"ts"`
		Metadata struct {
			Payload map[string]any `json:"event_payload"`
		} `json:"metadata"`
	} `json:"messages"`
}

// read takes the first JSON value, as slack-go does.
func read(t *testing.T, body []byte) (said whole) {
	require.NoError(t, json.NewDecoder(bytes.NewReader(body)).Decode(&said))
	return said
}

// FuzzHistory: a message is found only where the answer holds its key, and is absent only where the answer is a whole
// history. Absence is what makes a message be posted a second time.
func FuzzHistory(f *testing.F) {
	message := `{"ts":"1.0","metadata":{"event_type":"e","event_payload":{"delivery_key":"key"}}}`
	for _, body := range []string{
		``, `null`, `[]`, `{}`, `{"ok":true}`, `{"ok":true,"messages":null}`, `{"ok":true,"messages":[]}`,
		`{"ok":true,"messages":[` + message + `]}`, `{"messages":[` + message + `]}`, `{"ok":false,"error":"missing_scope"}`,
		`{"ok":true,"has_more":true,"messages":[]}`, `{"ok":true,"has_more":true,"messages":[],"response_metadata":{"next_cursor":"c"}}`,
		`{"ok":true,"messages":[{"ts":1,"metadata":7}]}`, `{"ok":true,"messages":[{"metadata":{"event_payload":{"delivery_key":["key"]}}}]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		posted, found, err := page(body).client().FindByMetadata(t.Context(), "C1", "key", time.Unix(0, 0))
		if err != nil {
			require.False(t, found)
			return
		}
		said := read(t, body)
		require.True(t, said.OK)
		require.NotNil(t, said.Messages)
		for _, m := range *said.Messages {
			if m.Metadata.Payload[DeliveryKey] == any("key") {
				require.True(t, found)
				require.Equal(t, Posted{Channel: "C1", TS: m.TS}, posted)
				return
			}
		}
		require.False(t, found)
		require.False(t, said.HasMore)
	})
}

// FuzzReplies: the replies are those of the answer, and an answer without the thread's own first message says nothing.
func FuzzReplies(f *testing.F) {
	parent := `{"ts":"1.0","thread_ts":"1.0"}`
	reply := `{"ts":"1.1","thread_ts":"1.0","metadata":{"event_payload":{"delivery_key":"key#1"}}}`
	for _, body := range []string{
		``, `null`, `{}`, `{"ok":true}`, `{"ok":true,"messages":[]}`, `{"messages":[` + parent + `]}`, `{"ok":false,"error":"thread_not_found"}`,
		`{"ok":true,"messages":[` + parent + `]}`, `{"ok":true,"messages":[` + parent + `,` + reply + `]}`, `{"ok":true,"messages":[` + reply + `]}`,
		`{"ok":true,"has_more":true,"messages":[` + parent + `]}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := page(body).client().Replies(t.Context(), Posted{Channel: "C1", TS: "1.0"})
		if err != nil {
			require.Nil(t, keys)
			return
		}
		said := read(t, body) // slack-go keeps ok to itself; a refusal has its word, and is an error
		require.False(t, said.HasMore)
		require.NotNil(t, said.Messages)
		want, parent := map[string]bool{}, false
		for _, m := range *said.Messages {
			if m.TS == "1.0" {
				parent = true
			} else if key, ok := m.Metadata.Payload[DeliveryKey].(string); ok {
				want[key] = true
			}
		}
		require.True(t, parent, "the thread is another one, or not whole")
		require.Equal(t, want, keys)
	})
}
