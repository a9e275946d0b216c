package trailcheck_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/trailcheck"
	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// aTrail is three entries as a truthful server shows them.
func aTrail(t *testing.T) *nthlayerv1.ListFindingsResponse {
	t.Helper()
	at := time.Date(2026, 3, 1, 9, 0, 0, 123456000, time.UTC)
	page := &nthlayerv1.ListFindingsResponse{}
	var head trail.Head
	for _, email := range []string{"ada@example.org", "ben@example.org", "cleo@example.org"} {
		after, err := structpb.NewStruct(map[string]any{"email": email, "role": "manager"})
		require.NoError(t, err)
		e, next, err := head.Append(trail.Finding{
			JobID: "job", ChangeID: "add_member:person:" + email, TeamID: "storage", EntityRef: "person:" + email,
			Action: "add_member", After: json.RawMessage(`{"email":"` + email + `","role":"manager"}`),
			APICalls: []trail.APICall{{Method: "PUT", Path: "/teams/T/users/U", Status: 204, At: at, RequestID: "r"}},
			Outcome:  trail.Applied, Actor: "dev", RecordedAt: at,
		})
		require.NoError(t, err)
		head = next
		page.Findings = append(page.Findings, &nthlayerv1.Finding{
			Seq: e.Seq, JobId: "job", TeamId: "storage", EntityRef: e.EntityRef, Action: e.Action, After: after,
			ApiCalls: []*nthlayerv1.ApiCall{{
				Method: "PUT", Path: "/teams/T/users/U", Status: 204, At: timestamppb.New(at), RequestId: "r",
			}},
			Outcome: trail.Applied, Actor: "dev", RecordedAt: timestamppb.New(at),
			Hash: e.Hash, PrevHash: e.PrevHash, Content: []byte(e.Content),
		})
	}
	page.Head = &nthlayerv1.TrailHead{Seq: head.Seq, Hash: head.Hash}
	return page
}

func verify(kept trail.Head, page *nthlayerv1.ListFindingsResponse) (trail.Head, error) {
	check := trailcheck.New(kept)
	if err := check.Page(page); err != nil {
		return trail.Head{}, err
	}
	return check.Close()
}

func TestCheck_TruthfulTrail_Holds(t *testing.T) {
	page := aTrail(t)
	head, err := verify(trail.Head{Seq: 2, Hash: page.Findings[1].Hash}, page)
	require.NoError(t, err)
	require.Equal(t, trail.Head{Seq: 3, Hash: page.Head.Hash}, head)
}

func TestCheck_EmptyTrail_Holds(t *testing.T) {
	_, err := verify(trail.Head{}, &nthlayerv1.ListFindingsResponse{})
	require.NoError(t, err)
}

func TestCheck_FindsEveryLie(t *testing.T) {
	lies := map[string]func(*nthlayerv1.ListFindingsResponse){
		"an entry is missing":       func(p *nthlayerv1.ListFindingsResponse) { p.Findings = append(p.Findings[:1], p.Findings[2:]...) },
		"the last entry is missing": func(p *nthlayerv1.ListFindingsResponse) { p.Findings = p.Findings[:2] },
		"entries are swapped":       func(p *nthlayerv1.ListFindingsResponse) { p.Findings[0], p.Findings[1] = p.Findings[1], p.Findings[0] },
		"the content is another":    func(p *nthlayerv1.ListFindingsResponse) { p.Findings[1].Content = p.Findings[0].Content },
		"the content is no finding": func(p *nthlayerv1.ListFindingsResponse) { p.Findings[1].Content = []byte("{") },
		"another actor is shown":    func(p *nthlayerv1.ListFindingsResponse) { p.Findings[1].Actor = "nobody" },
		"another change is shown": func(p *nthlayerv1.ListFindingsResponse) {
			p.Findings[1].After.Fields["role"] = structpb.NewStringValue("observer")
		},
		"a call is not shown":            func(p *nthlayerv1.ListFindingsResponse) { p.Findings[1].ApiCalls = nil },
		"another status is shown":        func(p *nthlayerv1.ListFindingsResponse) { p.Findings[1].ApiCalls[0].Status = 500 },
		"another time is shown":          func(p *nthlayerv1.ListFindingsResponse) { p.Findings[1].RecordedAt.Seconds++ },
		"the head is one that never was": func(p *nthlayerv1.ListFindingsResponse) { p.Head.Seq = 4 },
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			page := proto.CloneOf(aTrail(t))
			lie(page)
			_, err := verify(trail.Head{}, page)
			var broken *trail.BrokenError
			require.ErrorAs(t, err, &broken)
		})
	}
}

func TestCheck_TrailWrittenAnew_DoesNotHoldTheKeptHead(t *testing.T) {
	page := aTrail(t)
	_, err := verify(trail.Head{Seq: 2, Hash: page.Findings[0].Hash}, page)
	require.ErrorContains(t, err, "written anew")
	_, err = verify(trail.Head{Seq: 9, Hash: page.Head.Hash}, page)
	require.ErrorContains(t, err, "once had entry 9")
}
