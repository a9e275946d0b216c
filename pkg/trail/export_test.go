package trail_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/trail"
)

// exportOf is an export of some entries of a chain.
func exportOf(t require.TestingT, entries []trail.Entry, anchor, head trail.Head) string {
	var out bytes.Buffer
	w, err := trail.NewWriter(&out, trail.Header{Anchor: anchor, Head: head, ExportedAt: time.Unix(1700000000, 0).UTC()})
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, w.Add(e))
	}
	_, err = w.Close()
	require.NoError(t, err)
	return out.String()
}

func checked(text string) (trail.Piece, int, error) {
	n := 0
	header, footer, err := trail.Check(strings.NewReader(text), func(trail.Entry) error { n++; return nil })
	return trail.Piece{Name: "file", Header: header, Footer: footer}, n, err
}

func TestExport_WrittenAndChecked_Holds(t *testing.T) {
	entries, head := chain(t, 9)
	piece, n, err := checked(exportOf(t, entries, trail.Head{}, head))
	require.NoError(t, err)
	require.Equal(t, 9, n)
	require.Equal(t, trail.Footer{Count: 9, Last: head}, piece.Footer)
	_, n, err = checked(exportOf(t, nil, trail.Head{}, trail.Head{}))
	require.NoError(t, err)
	require.Zero(t, n)
}

// Pieces, in whatever order, join on to each other; a missing one is noticed.
func TestJoin_PiecesOfOneChain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, head := chain(t, rapid.IntRange(3, 20).Draw(t, "n"))
		var pieces []trail.Piece
		anchor := trail.Head{}
		for rest := entries; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			piece, _, err := checked(exportOf(t, rest[:n], anchor, head))
			require.NoError(t, err)
			pieces, rest, anchor = append(pieces, piece), rest[n:], piece.Footer.Last
		}
		shuffled := rapid.Permutation(pieces).Draw(t, "order")
		first, last, err := trail.Join(shuffled)
		require.NoError(t, err)
		require.Equal(t, []trail.Head{{}, head}, []trail.Head{first, last})
		if len(pieces) > 2 {
			_, _, err = trail.Join(append(pieces[:1:1], pieces[2:]...))
			require.Error(t, err, "one is missing in the middle")
		}
		_, _, err = trail.Join(append(pieces, pieces[0]))
		require.Error(t, err, "one is there twice")
	})
}

// Whatever is done to an export, it does not hold any more.
func TestCheck_AnyEdit_IsFound(t *testing.T) {
	entries, head := chain(t, 6)
	whole := exportOf(t, entries, trail.Head{}, head)
	lines := strings.SplitAfter(strings.TrimSuffix(whole, "\n"), "\n")
	rapid.Check(t, func(t *rapid.T) {
		edited := append([]string{}, lines...)
		at := rapid.IntRange(1, 6).Draw(t, "line")
		switch edit := rapid.SampledFrom([]string{"drop", "cut", "swap", "repeat", "byte", "other", "after"}).Draw(t, "edit"); edit {
		case "drop":
			edited = append(edited[:at:at], edited[at+1:]...)
		case "cut":
			edited = edited[:rapid.IntRange(0, 7).Draw(t, "lines left")]
		case "swap":
			edited[at], edited[at%6+1] = edited[at%6+1], edited[at]
		case "repeat":
			edited[at] += edited[at]
		case "byte":
			i := rapid.IntRange(0, len(edited[at])-2).Draw(t, "byte")
			with := rapid.SampledFrom([]byte(`0a"x{`)).Draw(t, "with")
			if edited[at][i] == with {
				t.Skip("nothing changed")
			}
			edited[at] = edited[at][:i] + string(with) + edited[at][i+1:]
		case "other":
			edited[at] = strings.Replace(edited[at], `"actor":"ann"`, `"actor":"eve"`, 1)
		case "after":
			edited = append(edited, "\n{}\n")
		}
		if text := strings.Join(edited, ""); text != whole && strings.TrimSpace(text) != strings.TrimSpace(whole) {
			if _, _, err := checked(text); err == nil {
				t.Fatalf("not found:\n%s", text)
			}
		}
	})
}

// A forger who seals everything anew makes another chain: it does not join on to what is known.
func TestJoin_WrittenAnew_DoesNotJoin(t *testing.T) {
	entries, head := chain(t, 4)
	first, _, err := checked(exportOf(t, entries[:2], trail.Head{}, head))
	require.NoError(t, err)
	forged, now, err := trail.Head{Seq: 2, Hash: strings.Repeat("0", 64)}.Append(entries[2].Finding)
	require.NoError(t, err)
	second, _, err := checked(exportOf(t, []trail.Entry{forged}, trail.Head{Seq: 2, Hash: strings.Repeat("0", 64)}, now))
	require.NoError(t, err)
	_, _, err = trail.Join([]trail.Piece{first, second})
	require.Error(t, err)
}

// Entries that were sealed before the trail knew reasons and approvers read back as the bytes they are.
func TestVerifier_EntrySealedByAnOlderProgram_Holds(t *testing.T) {
	const content = `{"seq":1,"job_id":"j","change_id":"add_member:0","team_id":"payments","entity_ref":"person:0","action":"add_member","after":{"role":"<manager>"},"api_calls":[{"method":"PUT","path":"/teams/P1/users/P2","status":204,"at":"2023-11-14T22:13:20.123456Z"}],"outcome":"applied","actor":"ann","recorded_at":"2023-11-14T22:13:20.987654Z"}`
	finding, err := trail.Decode(content)
	require.NoError(t, err)
	entry, head, err := trail.Head{}.Append(finding)
	require.NoError(t, err)
	require.Equal(t, content, entry.Content)
	require.NoError(t, verify([]trail.Entry{entry}, head))
}

// What came to the trail later is sealed as well.
func TestVerifier_WhoApprovedAndWhy_IsSealed(t *testing.T) {
	finding := trail.Finding{
		JobID: "j", ChangeID: "c", Actor: "ann", Outcome: trail.Applied, Reason: "moved", RequestID: "r", PlanHash: "h", UserID: "P1",
		Decision: &trail.Decision{Verdict: "require_approval", Reasons: []string{"4 of 13"}, Notes: []string{"freeze"}, Revision: "1"}, ApprovedBy: []string{"bob"},
	}
	entry, head, err := trail.Head{}.Append(finding)
	require.NoError(t, err)
	require.NoError(t, verify([]trail.Entry{entry}, head))
	for name, edit := range map[string]func(f *trail.Finding){
		"reason":      func(f *trail.Finding) { f.Reason = "x" },
		"request_id":  func(f *trail.Finding) { f.RequestID = "" },
		"plan_hash":   func(f *trail.Finding) { f.PlanHash = "x" },
		"user_id":     func(f *trail.Finding) { f.UserID = "P2" },
		"verdict":     func(f *trail.Finding) { f.Decision = &trail.Decision{Verdict: "allow"} },
		"no decision": func(f *trail.Finding) { f.Decision = nil },
		"approver":    func(f *trail.Finding) { f.ApprovedBy = []string{"eve"} },
	} {
		edited := entry
		edit(&edited.Finding)
		require.Error(t, verify([]trail.Entry{edited}, head), name)
	}
}
