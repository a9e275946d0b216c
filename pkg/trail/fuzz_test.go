package trail_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/trail"
)

// edits are all the places where somebody could write text over an entry.
var edits = []func(e *trail.Entry, text string){
	func(e *trail.Entry, text string) { e.Content = text },
	func(e *trail.Entry, text string) { e.PrevHash = text },
	func(e *trail.Entry, text string) { e.Hash = text },
	func(e *trail.Entry, text string) { e.JobID = text },
	func(e *trail.Entry, text string) { e.ChangeID = text },
	func(e *trail.Entry, text string) { e.TeamID = text },
	func(e *trail.Entry, text string) { e.EntityRef = text },
	func(e *trail.Entry, text string) { e.Action = text },
	func(e *trail.Entry, text string) { e.Outcome = text },
	func(e *trail.Entry, text string) { e.Message = text },
	func(e *trail.Entry, text string) { e.Actor = text },
	func(e *trail.Entry, text string) { e.Before = json.RawMessage(text) },
	func(e *trail.Entry, text string) { e.After = json.RawMessage(text) },
	func(e *trail.Entry, text string) { e.APICalls[0].Method = text },
	func(e *trail.Entry, text string) { e.APICalls[0].Path = text },
	func(e *trail.Entry, text string) { e.APICalls[0].RequestID = text },
	func(e *trail.Entry, text string) { e.Reason = text },
	func(e *trail.Entry, text string) { e.RequestID = text },
	func(e *trail.Entry, text string) { e.PlanHash = text },
	func(e *trail.Entry, text string) { e.UserID = text },
	func(e *trail.Entry, text string) { e.ApprovedBy = []string{text} },
	func(e *trail.Entry, text string) { e.Decision = &trail.Decision{Verdict: text} },
}

// FuzzVerifier: what was sealed is verified and reads back the same, whatever its texts; and an entry in which any text
// was replaced by another is found.
func FuzzVerifier(f *testing.F) {
	f.Add("ann", `{"role":"manager"}`, uint8(10), "eve")
	f.Add("", ``, uint8(0), `{"seq":1}`)
	f.Add("<&>\u2028", `{"a":[1,"\u00e9"]}`, uint8(11), `{ "a" : [1, "é"] }`)
	f.Add("\xff", `null`, uint8(10), "\xfe")
	f.Add("\ufffd", `"x"`, uint8(10), "\xff")
	f.Fuzz(func(t *testing.T, actor, value string, where uint8, text string) {
		finding := trail.Finding{
			JobID: "j", ChangeID: "add_member:1", TeamID: "payments", EntityRef: "person:1", Action: "add_member",
			Before: json.RawMessage(value), After: json.RawMessage(`{"role":"manager"}`), Outcome: trail.Applied, Message: value, Actor: actor,
			APICalls:   []trail.APICall{{Method: "PUT", Path: "/teams/P1/users/P2", Status: 204, At: time.Unix(1700000000, 123456789), RequestID: actor}},
			RecordedAt: time.Unix(1700000000, 987654321),
		}
		first, head, err := trail.Head{}.Append(finding)
		if err != nil {
			return // it cannot be sealed, and is not
		}
		second, head, err := head.Append(trail.Finding{JobID: "j", ChangeID: "2"})
		require.NoError(t, err)
		require.NoError(t, verify([]trail.Entry{first, second}, head))
		read := first
		read.Finding, err = trail.Decode(first.Content)
		require.NoError(t, err)
		require.NoError(t, verify([]trail.Entry{read, second}, head), "it does not read back as it was sealed")

		edited := read
		edited.APICalls = []trail.APICall{read.APICalls[0]}
		edits[int(where)%len(edits)](&edited, text)
		if !same(edited, read) {
			require.Error(t, verify([]trail.Entry{edited, second}, head))
		}
	})
}

// same reports whether two entries say the same: JSON may be spaced as one likes.
func same(a, b trail.Entry) bool {
	for _, value := range []*json.RawMessage{&a.Before, &a.After, &b.Before, &b.After} {
		var compact bytes.Buffer
		if json.Compact(&compact, *value) == nil || len(*value) == 0 {
			*value = compact.Bytes()
		}
	}
	return reflect.DeepEqual(a, b)
}
