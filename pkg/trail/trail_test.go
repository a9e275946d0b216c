package trail_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/trail"
)

func chain(t require.TestingT, n int) ([]trail.Entry, trail.Head) {
	var head trail.Head
	var entries []trail.Entry
	for i := range n {
		entry, next, err := head.Append(trail.Finding{
			JobID: "j", ChangeID: fmt.Sprintf("add_member:%d", i), TeamID: "payments", EntityRef: fmt.Sprintf("person:%d", i),
			Action: "add_member", After: json.RawMessage(`{"role":"<manager>"}`), Outcome: trail.Applied, Actor: "ann",
			Reason: "<moved>", RequestID: "r1", PlanHash: "p1", ApprovedBy: []string{"bob", "cleo"}, UserID: "U1",
			Decision:   &trail.Decision{Verdict: "require_approval", Reasons: []string{"too many"}, Notes: []string{"freeze"}, Revision: "v1"},
			APICalls:   []trail.APICall{{Method: "PUT", Path: "/teams/P1/users/P2", Status: 204, At: time.Unix(1700000000, 123456789)}},
			RecordedAt: time.Unix(1700000000, 987654321).In(time.FixedZone("x", 3600)),
		})
		require.NoError(t, err)
		entries, head = append(entries, entry), next
	}
	return entries, head
}

func verify(entries []trail.Entry, head trail.Head) error {
	var v trail.Verifier
	for _, e := range entries {
		if err := v.Next(e); err != nil {
			return err
		}
	}
	return v.Close(head)
}

func TestVerifier_WholeTrail_Holds(t *testing.T) {
	entries, head := chain(t, 5)
	require.NoError(t, verify(entries, head))
	require.NoError(t, verify(nil, trail.Head{}))
}

func TestVerifier_ReadBackFromContent_Holds(t *testing.T) {
	entries, head := chain(t, 3)
	for i := range entries {
		f, err := trail.Decode(entries[i].Content)
		require.NoError(t, err)
		entries[i].Finding = f
	}
	require.NoError(t, verify(entries, head))
}

// Any edit is found: of the content, of what is shown beside it, of the links, by leaving out, putting in, moving, or
// cutting off the end.
func TestVerifier_AnyEdit_IsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, head := chain(t, rapid.IntRange(2, 12).Draw(t, "n"))
		i := rapid.IntRange(0, len(entries)-1).Draw(t, "at")
		e := &entries[i]
		edit := rapid.SampledFrom([]string{"content", "outcome", "actor", "time", "hash", "prev", "reason", "request id", "plan hash", "decision", "no decision",
			"verdict", "decision's reason", "note", "revision", "approver", "no approver", "user id", "drop", "cut", "swap", "repeat", "reseal"}).Draw(t, "edit")
		switch edit {
		case "content":
			e.Content = e.Content[:len(e.Content)-1] + " }"
		case "outcome":
			e.Outcome = trail.Failed
		case "actor":
			e.Actor = "eve"
		case "time":
			e.RecordedAt = e.RecordedAt.Add(time.Microsecond)
		case "reason":
			e.Reason = ""
		case "request id":
			e.RequestID = "r2"
		case "plan hash":
			e.PlanHash = "p2"
		case "decision":
			e.Decision = &trail.Decision{}
		case "no decision":
			e.Decision = nil
		case "verdict":
			e.Decision.Verdict = "allow"
		case "decision's reason":
			e.Decision.Reasons = nil
		case "note":
			e.Decision.Notes[0] = "no freeze"
		case "revision":
			e.Decision.Revision = "v2"
		case "approver":
			e.ApprovedBy[1] = "eve"
		case "no approver":
			e.ApprovedBy = e.ApprovedBy[:1]
		case "user id":
			e.UserID = "U2"
		case "hash":
			e.Hash = entries[(i+1)%len(entries)].Hash
		case "prev":
			e.PrevHash = head.Hash
		case "drop":
			entries = slices.Delete(entries, i, i+1)
		case "cut":
			entries = entries[:i]
		case "swap":
			j := (i + 1) % len(entries)
			entries[i], entries[j] = entries[j], entries[i]
		case "repeat":
			entries = slices.Insert(entries, i, entries[i])
		case "reseal": // a forger who seals the changed entry again breaks the link of the next, or the head
			f := e.Finding
			f.Actor = "eve"
			forged, _, err := trail.Head{Seq: e.Seq - 1, Hash: e.PrevHash}.Append(f)
			if err != nil {
				t.Fatal(err)
			}
			*e = forged
		}
		if err := verify(entries, head); err == nil {
			t.Fatalf("edit %q at %d was not found", edit, i)
		}
	})
}

// Without the link to the entry before, an entry that was left out would not be missed.
func TestControl_WithoutLinks_ALeftOutEntryIsNotFound(t *testing.T) {
	entries, _ := chain(t, 3)
	entries = slices.Delete(entries, 1, 2)
	for _, e := range entries {
		var unlinked trail.Verifier
		alone := e
		alone.Finding.Seq, alone.PrevHash = 1, ""
		resealed, _, err := trail.Head{}.Append(alone.Finding)
		require.NoError(t, err)
		require.NoError(t, unlinked.Next(resealed))
	}
}

func TestDecode_RefusesWhatWasNotSealedByUs(t *testing.T) {
	for _, bad := range []string{"", "{", `{"seq":1,"extra":true}`, `[]`} {
		_, err := trail.Decode(bad)
		require.Error(t, err, bad)
	}
}
