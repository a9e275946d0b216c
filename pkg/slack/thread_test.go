package slack_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/slack"
)

func TestReplies_OnAllPages_AreFoundWithoutTheParent(t *testing.T) {
	parent := `{"ts":"1.0","metadata":{"event_type":"e","event_payload":{"delivery_key":"run-1"}}}`
	reply := func(ts, key string) string {
		return `{"ts":"` + ts + `","thread_ts":"1.0","metadata":{"event_type":"e","event_payload":{"delivery_key":"` + key + `"}}}`
	}
	c, s := connect(t,
		says(200, `{"ok":true,"has_more":true,"messages":[`+parent+`,`+reply("1.1", "run-1#1")+`],"response_metadata":{"next_cursor":"c"}}`),
		says(500, `oops`),
		says(200, `{"ok":true,"has_more":false,"messages":[`+parent+`,{"ts":"1.2","thread_ts":"1.0","text":"a person"},`+reply("1.3", "run-1#2")+`]}`),
	)
	keys, err := c.Replies(t.Context(), slack.Posted{Channel: "C1", TS: "1.0"})
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"run-1#1": true, "run-1#2": true}, keys)
	require.Equal(t, "1.0", s.forms[0]["ts"])
	require.Equal(t, "1", s.forms[0]["include_all_metadata"])
	require.Equal(t, []string{"", "c", "c"}, []string{s.forms[0]["cursor"], s.forms[1]["cursor"], s.forms[2]["cursor"]},
		"reading is repeated when an answer fails")
}

func TestReplies_ThreadNotWhole_IsNotAbsence(t *testing.T) {
	for name, body := range map[string]string{
		"cut off":         `{"ok":true,"has_more":false,"mess`,
		"more, not where": `{"ok":true,"has_more":true,"messages":[],"response_metadata":{"next_cursor":""}}`,
		"never ends":      `{"ok":true,"has_more":true,"messages":[],"response_metadata":{"next_cursor":"c"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := connect(t, says(200, body))
			_, err := c.Replies(t.Context(), slack.Posted{Channel: "C1", TS: "1.0"})
			require.True(t, fault.Passing(err), "%v", err)
		})
	}
}

func TestReplies_Refused_SaysWhatToDo(t *testing.T) {
	c, _ := connect(t, says(200, `{"ok":false,"error":"missing_scope"}`))
	_, err := c.Replies(t.Context(), slack.Posted{Channel: "C1", TS: "1.0"})
	require.True(t, fault.Is(err, fault.Precondition))
	require.ErrorContains(t, err, "channels:history")
}
