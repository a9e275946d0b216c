package cli

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/pkg/report"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// sheet writes entries for spreadsheets. The chain is checked on the way; the file itself proves nothing.
type sheet struct {
	out   *csv.Writer
	chain *trail.Verifier
	n     int64
}

func newCSV(w io.Writer, header trail.Header) (*sheet, error) {
	s := &sheet{out: csv.NewWriter(w), chain: trail.VerifyAfter(header.Anchor)}
	return s, s.out.Write([]string{
		"seq", "recorded_at", "team_id", "job_id", "action", "entity_ref", "before", "after", "outcome", "message", "actor", "reason",
		"request_id", "plan_hash", "verdict", "rules", "approved_by", "api_calls", "prev_hash", "hash",
	})
}

// Add writes the next entry.
func (s *sheet) Add(e trail.Entry) error {
	if err := s.chain.Next(e); err != nil {
		return err
	}
	s.n++
	calls, err := json.Marshal(e.APICalls)
	if err != nil {
		return err
	}
	decision := trail.Decision{}
	if e.Decision != nil {
		decision = *e.Decision
	}
	row := []string{
		strconv.FormatInt(e.Seq, 10), e.RecordedAt.UTC().Format(time.RFC3339Nano), e.TeamID, e.JobID, e.Action, e.EntityRef, string(e.Before),
		string(e.After), e.Outcome, e.Message, e.Actor, e.Reason, e.RequestID, e.PlanHash, decision.Verdict,
		strings.Join(append(append([]string{}, decision.Reasons...), decision.Notes...), "; "), strings.Join(e.ApprovedBy, ", "), string(calls), e.PrevHash, e.Hash,
	}
	for i, cell := range row {
		row[i] = report.Harmless(cell)
	}
	return s.out.Write(row)
}

// Close ends the file.
func (s *sheet) Close() (trail.Footer, error) {
	s.out.Flush()
	return trail.Footer{Count: s.n, Last: s.chain.Head()}, s.out.Error()
}
