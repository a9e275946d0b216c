// Package trailcheck proves an audit trail from what the API shows of it, without trusting the server: the chain of
// seals holds, every entry shows what was sealed, and the trail ends at its head.
package trailcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const pageSize = 1000 // the API's largest page

// Check reads a trail page by page, from its beginning.
type Check struct {
	chain  *trail.Verifier // nil before the first page
	anchor trail.Head      // what lies in archives ends with this entry
	kept   trail.Head      // an entry that must be in the trail; zero: none
	head   trail.Head      // as the newest page gave it
}

// New begins a check. kept is a head that was printed before and must still be in the trail; the zero Head asks for
// nothing.
func New(kept trail.Head) *Check { return &Check{kept: kept} }

// Read reads the whole trail from the API, checks it and gives its head, and the entry with which its archives end.
func Read(ctx context.Context, api nthlayerv1.TrailServiceClient, kept trail.Head) (head, anchor trail.Head, err error) {
	check := New(kept)
	for token := ""; ; {
		page, err := api.ListFindings(ctx, &nthlayerv1.ListFindingsRequest{PageSize: pageSize, PageToken: token})
		if err != nil {
			return head, anchor, err
		}
		if err := check.Page(page); err != nil {
			return head, anchor, err
		}
		if token = page.GetNextPageToken(); token == "" {
			head, err = check.Close()
			return head, check.anchor, err
		}
	}
}

// Page checks the next page.
func (c *Check) Page(page *nthlayerv1.ListFindingsResponse) error {
	if c.chain == nil {
		c.anchor = trail.Head{Seq: page.GetAnchor().GetSeq(), Hash: page.GetAnchor().GetHash()}
		c.chain = trail.VerifyAfter(c.anchor)
	}
	for _, f := range page.GetFindings() {
		if err := c.entry(f); err != nil {
			return err
		}
	}
	c.head = trail.Head{Seq: page.GetHead().GetSeq(), Hash: page.GetHead().GetHash()}
	return nil
}

func (c *Check) entry(shown *nthlayerv1.Finding) error {
	sealed, err := trail.Decode(string(shown.GetContent()))
	if err != nil {
		return &trail.BrokenError{Seq: shown.GetSeq(), Problem: "its content cannot be read: " + err.Error()}
	}
	entry := trail.Entry{
		Finding: sealed, Content: string(shown.GetContent()), PrevHash: shown.GetPrevHash(), Hash: shown.GetHash(),
	}
	if err := c.chain.Next(entry); err != nil {
		return err
	}
	if field := differs(shown, sealed); field != "" {
		return &trail.BrokenError{Seq: sealed.Seq, Problem: "the server shows another " + field + " than was sealed"}
	}
	if c.kept.Seq == sealed.Seq && c.kept.Hash != shown.GetHash() {
		return &trail.BrokenError{Seq: sealed.Seq, Problem: "it is not the entry whose hash was kept: the trail was written anew"}
	}
	return nil
}

// Close checks that the trail ends where it should and gives its head.
func (c *Check) Close() (trail.Head, error) {
	if err := c.chain.Close(c.head); err != nil {
		return trail.Head{}, err
	}
	switch {
	case c.kept.Seq == 0 || c.kept.Seq > c.anchor.Seq:
	case c.kept.Seq < c.anchor.Seq:
		return trail.Head{}, fmt.Errorf("entry %d lies in an archive: check that with --file", c.kept.Seq)
	case c.kept != c.anchor:
		return trail.Head{}, &trail.BrokenError{Seq: c.anchor.Seq, Problem: "it is not the entry whose hash was kept: the trail was written anew"}
	}
	if c.kept.Seq > c.head.Seq {
		return trail.Head{}, &trail.BrokenError{
			Seq: c.head.Seq, Problem: fmt.Sprintf("the trail ends here, but it once had entry %d", c.kept.Seq),
		}
	}
	return c.head, nil
}

// differs names the first field in which what is shown is not what was sealed, or "".
func differs(shown *nthlayerv1.Finding, sealed trail.Finding) string {
	for _, field := range []struct {
		name string
		same bool
	}{
		{"seq", shown.GetSeq() == sealed.Seq},
		{"job_id", shown.GetJobId() == sealed.JobID},
		{"team_id", shown.GetTeamId() == sealed.TeamID},
		{"entity_ref", shown.GetEntityRef() == sealed.EntityRef},
		{"action", shown.GetAction() == sealed.Action},
		{"before", sameObject(shown.GetBefore(), sealed.Before)},
		{"after", sameObject(shown.GetAfter(), sealed.After)},
		{"api_calls", sameCalls(shown.GetApiCalls(), sealed.APICalls)},
		{"outcome", shown.GetOutcome() == sealed.Outcome},
		{"message", shown.GetMessage() == sealed.Message},
		{"actor", shown.GetActor() == sealed.Actor},
		{"reason", shown.GetReason() == sealed.Reason},
		{"request_id", shown.GetRequestId() == sealed.RequestID},
		{"plan_hash", shown.GetPlanHash() == sealed.PlanHash},
		{"decision", sameDecision(shown.GetDecision(), sealed.Decision)},
		{"approved_by", slices.Equal(shown.GetApprovedBy(), sealed.ApprovedBy)},
		{"recorded_at", sameTime(shown.GetRecordedAt().AsTime(), sealed.RecordedAt)},
	} {
		if !field.same {
			return field.name
		}
	}
	return ""
}

func sameDecision(shown *nthlayerv1.Decision, sealed *trail.Decision) bool {
	if shown == nil || sealed == nil {
		return shown == nil && sealed == nil
	}
	var notes []string
	for _, v := range shown.GetViolations() {
		notes = append(notes, v.GetReason())
	}
	return shown.GetVerdict() == sealed.Verdict && slices.Equal(shown.GetReasons(), sealed.Reasons) && slices.Equal(notes, sealed.Notes) &&
		shown.GetRevision() == sealed.Revision
}

func sameObject(shown *structpb.Struct, sealed json.RawMessage) bool {
	var want map[string]any
	if len(sealed) > 0 {
		if err := json.Unmarshal(sealed, &want); err != nil {
			return false
		}
	}
	got := shown.AsMap()
	return len(got) == 0 && len(want) == 0 || reflect.DeepEqual(got, want)
}

func sameCalls(shown []*nthlayerv1.ApiCall, sealed []trail.APICall) bool {
	if len(shown) != len(sealed) {
		return false
	}
	for i, s := range shown {
		w := sealed[i]
		if s.GetMethod() != w.Method || s.GetPath() != w.Path || int(s.GetStatus()) != w.Status ||
			s.GetRequestId() != w.RequestID || !sameTime(s.GetAt().AsTime(), w.At) {
			return false
		}
	}
	return true
}

// sameTime compares as the trail keeps times: to the microsecond.
func sameTime(a, b time.Time) bool {
	return a.Truncate(time.Microsecond).Equal(b.Truncate(time.Microsecond))
}
