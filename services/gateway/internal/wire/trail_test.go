package wire_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// recorded makes a run that recorded a finding at each of these times.
func (s *system) recorded(team string, at ...time.Time) string {
	s.t.Helper()
	id, err := s.client("alice", "nthlayer/operator").Reconcile(s.t.Context(), "", &nthlayerv1.ReconcileTeamRequest{TeamId: team})
	require.NoError(s.t, err)
	claim, err := s.db.Claim(s.t.Context(), uuid.MustParse(id), store.Terms{Owner: "worker", Lease: time.Minute})
	require.NoError(s.t, err)
	var findings []trail.Finding
	for i, at := range at {
		findings = append(findings, trail.Finding{
			ChangeID: fmt.Sprint(i), Action: "add_member", Outcome: trail.Applied, RecordedAt: at, PlanHash: "p", ApprovedBy: []string{"bob"},
			Decision: &trail.Decision{Verdict: "require_approval", Reasons: []string{"too many"}, Notes: []string{"a note"}, Revision: "r"},
		})
	}
	require.NoError(s.t, claim.Record(s.t.Context(), findings))
	require.NoError(s.t, claim.Finish(s.t.Context(), store.Ending{Status: store.Succeeded}))
	return id
}

// A period is one stretch of the trail, whatever the size of the pages, and what is recorded while somebody reads is not in it.
func TestFindings_OfAPeriod_AreOneStretch(t *testing.T) {
	s := start(t)
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	hour := func(n int) time.Time { return at.Add(time.Duration(n) * time.Hour) }
	s.recorded("payments", hour(0), hour(2), hour(0), hour(3), hour(9))
	c := s.client("vera", "nthlayer/viewer")
	request := &nthlayerv1.ListFindingsRequest{PageSize: 1, RecordedFrom: timestamppb.New(hour(1)), RecordedTo: timestamppb.New(hour(8))}
	var v trail.Verifier
	var seqs []int64
	for {
		page, err := c.Trail.ListFindings(t.Context(), request)
		require.NoError(t, err)
		for _, f := range page.GetFindings() {
			entry, err := api.Entry(f)
			require.NoError(t, err)
			if len(seqs) == 0 {
				v = trail.NewVerifier(trail.Head{Seq: entry.Seq - 1, Hash: entry.PrevHash})
			}
			require.NoError(t, v.Next(entry))
			seqs = append(seqs, entry.Seq)
			require.Equal(t, "require_approval", f.GetDecision().GetVerdict())
			require.Equal(t, "a note", f.GetDecision().GetViolations()[0].GetReason())
			require.Equal(t, []string{"bob"}, f.GetApprovedBy())
			require.Equal(t, "p", f.GetPlanHash())
		}
		if len(seqs) == 1 {
			s.recorded("search", hour(4))
		}
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			break
		}
	}
	require.Equal(t, []int64{2, 3, 4}, seqs)
	viewer := s.token("vera", "nthlayer/viewer")
	status, body, _ := s.call(t, "GET", "/v1/findings?recorded_from=2026-03-02T00:00:00Z&recorded_to=2026-03-01T00:00:00Z", viewer, "")
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, "recorded_to")
	status, body, _ = s.call(t, "GET", "/v1/findings?recorded_from=2027-03-02T00:00:00Z", viewer, "")
	require.Equal(t, http.StatusOK, status, body)
	require.NotContains(t, body, "job_id", "nothing was recorded then")
}

// Whoever forges what is shown beside the content is found, whichever field it is.
func TestFindings_EachShownField_IsTheSealedOne(t *testing.T) {
	s := start(t)
	s.recorded("payments", time.Now())
	page, err := s.client("vera", "nthlayer/viewer").Trail.ListFindings(t.Context(), &nthlayerv1.ListFindingsRequest{})
	require.NoError(t, err)
	for name, forge := range map[string]func(*nthlayerv1.Finding){
		"reason":      func(f *nthlayerv1.Finding) { f.Reason = "x" },
		"request_id":  func(f *nthlayerv1.Finding) { f.RequestId = "x" },
		"plan_hash":   func(f *nthlayerv1.Finding) { f.PlanHash = "x" },
		"decision":    func(f *nthlayerv1.Finding) { f.Decision.Verdict = "allow" },
		"approved_by": func(f *nthlayerv1.Finding) { f.ApprovedBy = []string{"eve"} },
		"outcome":     func(f *nthlayerv1.Finding) { f.Outcome = "failed" },
		"recorded_at": func(f *nthlayerv1.Finding) { f.RecordedAt.Seconds++ },
	} {
		again, err := s.client("vera", "nthlayer/viewer").Trail.ListFindings(t.Context(), &nthlayerv1.ListFindingsRequest{})
		require.NoError(t, err)
		f := again.GetFindings()[0]
		_, err = api.Entry(f)
		require.NoError(t, err)
		forge(f)
		_, err = api.Entry(f)
		require.ErrorContains(t, err, "another "+name+" is shown")
	}
	require.Len(t, page.GetFindings(), 1)
}

// What was moved is named: the list begins after the anchor, archives are listed, and an old run says where its findings are.
func TestFindings_Moved_AreNamed(t *testing.T) {
	s := start(t)
	db, err := pgx.Connect(t.Context(), s.database)
	require.NoError(t, err)
	defer db.Close(t.Context())
	for _, statement := range []string{
		"SELECT drop_trail_partition(from_seq) FROM trail_partitions", "UPDATE trail_head SET block = 2, partitioned_to = 1",
	} {
		_, err := db.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	old := time.Now().Add(-100 * 24 * time.Hour)
	job := s.recorded("payments", old, old)
	young := s.recorded("payments", time.Now())
	_, err = db.Exec(t.Context(), "UPDATE runs SET created_at = $1, finished_at = $1 WHERE job_id = $2", old, job)
	require.NoError(t, err)
	entries, err := s.db.Findings(t.Context(), store.FindingFilter{Limit: 2})
	require.NoError(t, err)
	require.NoError(t, s.db.MoveTrail(t.Context(), store.TrailPartition{First: 1, Last: 2}, 24*time.Hour, []store.TrailArchive{{
		First: 1, Last: 2, LastHash: entries[1].Hash, Location: "s3://company/trail-1-2.jsonl.gz", SHA256: "ab", RecordedFrom: old, RecordedTo: old,
	}}))

	c := s.client("vera", "nthlayer/viewer")
	page, err := c.Trail.ListFindings(t.Context(), &nthlayerv1.ListFindingsRequest{})
	require.NoError(t, err)
	require.Len(t, page.GetFindings(), 1)
	require.Equal(t, int64(2), page.GetAnchor().GetSeq())
	require.Equal(t, page.GetFindings()[0].GetPrevHash(), page.GetAnchor().GetHash())
	archives, err := c.Trail.ListTrailArchives(t.Context(), &nthlayerv1.ListTrailArchivesRequest{})
	require.NoError(t, err)
	require.Len(t, archives.GetArchives(), 1)
	require.Equal(t, "s3://company/trail-1-2.jsonl.gz", archives.GetArchives()[0].GetLocation())

	run, err := c.Runs.GetRun(t.Context(), &nthlayerv1.GetRunRequest{JobId: job})
	require.NoError(t, err)
	require.Empty(t, run.GetFindings())
	require.Contains(t, run.GetFindingsArchived(), "s3://company/trail-1-2.jsonl.gz")
	run, err = c.Runs.GetRun(t.Context(), &nthlayerv1.GetRunRequest{JobId: young})
	require.NoError(t, err)
	require.Len(t, run.GetFindings(), 1)
	require.Empty(t, run.GetFindingsArchived())
}
