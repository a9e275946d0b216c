// Package api turns the domain's values into the messages of nthlayer.v1 and back. It is the one place where the two
// vocabularies meet.
package api

import (
	"encoding/json"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Desired reads a desired state from a request; nil stays nil.
func Desired(d *nthlayerv1.Desired) *ownership.Desired {
	if d == nil {
		return nil
	}
	desired := &ownership.Desired{Name: d.GetName(), Description: d.GetDescription(), Members: []ownership.Member{}}
	for _, m := range d.GetMembers() {
		member := ownership.Member{Email: m.GetEmail(), Name: m.GetName()}
		if m.GetRole() != "" {
			member.Roles = []string{m.GetRole()}
		}
		desired.Members = append(desired.Members, member)
	}
	return desired
}

// Plan shows a plan with what the guards said of it.
func Plan(p ownership.Plan, d policy.Decision) *nthlayerv1.Plan {
	plan := &nthlayerv1.Plan{
		TeamId: p.TeamID, TeamName: p.TeamName, TargetTeamId: p.TargetID, SyncStatus: string(p.SyncStatus()),
		Hash: p.Hash(), Unchanged: int32(p.Unchanged),
		Decision: Decision(d),
	}
	for _, c := range p.LeftOut {
		plan.LeftOut = append(plan.LeftOut, Change(c))
	}
	for _, i := range p.Ignored {
		plan.Ignored = append(plan.Ignored, ignored(i))
	}
	for _, c := range p.Changes {
		plan.Changes = append(plan.Changes, Change(c))
	}
	for _, i := range p.Issues {
		plan.Issues = append(plan.Issues, issue(i))
	}
	return plan
}

func issue(i ownership.Issue) *nthlayerv1.Issue {
	return &nthlayerv1.Issue{Kind: string(i.Kind), EntityRef: i.EntityRef, Message: i.Message, BlocksRemovals: i.BlocksRemovals}
}

func ignored(i ownership.Ignored) *nthlayerv1.IgnoredChange {
	shown := &nthlayerv1.IgnoredChange{RuleId: i.RuleID, Reason: i.Reason, Owner: i.Owner, ExpiresAt: timestamppb.New(i.ExpiresAt)}
	if i.Issue != nil {
		shown.Issue = issue(*i.Issue)
	} else {
		shown.Change = Change(i.Change)
	}
	return shown
}

// IgnoreRule shows a rule that is in force.
func IgnoreRule(r ownership.IgnoreRule) *nthlayerv1.IgnoreRule {
	return &nthlayerv1.IgnoreRule{
		RuleId: r.ID, TeamId: r.TeamID, Kind: string(r.Kind), Value: r.Value, Reason: r.Reason, Owner: r.Owner,
		ExpiresAt: timestamppb.New(r.ExpiresAt), Status: "active",
	}
}

// Decision shows what the guards said of a plan.
func Decision(d policy.Decision) *nthlayerv1.Decision {
	decision := &nthlayerv1.Decision{Verdict: string(d.Verdict), Reasons: d.Reasons, Revision: d.Revision, Approvers: Approvers(d.Approvers)}
	for _, v := range d.Violations {
		decision.Violations = append(decision.Violations, &nthlayerv1.Violation{Rule: v.Rule, Verdict: string(v.Verdict), Reason: v.Reason})
	}
	return decision
}

// Approvers shows who has to approve.
func Approvers(approvers []policy.Approvers) []*nthlayerv1.Approvers {
	var shown []*nthlayerv1.Approvers
	for _, a := range approvers {
		shown = append(shown, &nthlayerv1.Approvers{Role: a.Role, Count: int32(a.Count), Requester: a.Requester})
	}
	return shown
}

// Change shows a change.
func Change(c ownership.Change) *nthlayerv1.Change {
	return &nthlayerv1.Change{
		Id: c.ID, Kind: string(c.Kind), EntityRef: c.EntityRef, Before: entity(c.Before), After: entity(c.After),
	}
}

// Finding shows an entry of the trail.
func Finding(e trail.Entry) *nthlayerv1.Finding {
	finding := &nthlayerv1.Finding{
		Seq: e.Seq, JobId: e.JobID, TeamId: e.TeamID, EntityRef: e.EntityRef, Action: e.Action,
		Before: object(e.Before), After: object(e.After), Outcome: e.Outcome, Message: e.Message, Actor: e.Actor,
		RecordedAt: timestamppb.New(e.RecordedAt), Hash: e.Hash, PrevHash: e.PrevHash, Content: []byte(e.Content),
		Reason: e.Reason, RequestId: e.RequestID, PlanHash: e.PlanHash, ApprovedBy: e.ApprovedBy,
	}
	if e.Decision != nil {
		finding.Decision = &nthlayerv1.Decision{Verdict: e.Decision.Verdict, Reasons: e.Decision.Reasons, Revision: e.Decision.Revision}
		for _, note := range e.Decision.Notes {
			finding.Decision.Violations = append(finding.Decision.Violations, &nthlayerv1.Violation{Verdict: string(policy.Allow), Reason: note})
		}
	}
	for _, c := range e.APICalls {
		finding.ApiCalls = append(finding.ApiCalls, &nthlayerv1.ApiCall{
			Method: c.Method, Path: c.Path, Status: int32(c.Status), At: timestamppb.New(c.At), RequestId: c.RequestID,
		})
	}
	return finding
}

// Entry reads an entry of the trail back from what the API showed. It takes the finding from the sealed content; what is
// shown beside the content must be the content, in every field, for that is what people read.
func Entry(f *nthlayerv1.Finding) (trail.Entry, error) {
	sealed, err := trail.Decode(string(f.GetContent()))
	if err != nil {
		return trail.Entry{}, &trail.BrokenError{Seq: f.GetSeq(), Problem: "its content cannot be read: " + err.Error()}
	}
	e := trail.Entry{Finding: sealed, Content: string(f.GetContent()), PrevHash: f.GetPrevHash(), Hash: f.GetHash()}
	if field := differs(f, Finding(e)); field != "" {
		return e, &trail.BrokenError{Seq: f.GetSeq(), Problem: "another " + field + " is shown than was sealed"}
	}
	return e, nil
}

// differs names the first field in which two findings differ, or "". Fields that this program does not know it does not show.
func differs(shown, want *nthlayerv1.Finding) string {
	a, b := shown.ProtoReflect(), want.ProtoReflect()
	fields := a.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if a.Has(field) != b.Has(field) || !a.Get(field).Equal(b.Get(field)) {
			return string(field.Name())
		}
	}
	return ""
}

// Time shows a time that may not have come yet.
func Time(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

func entity(e *ownership.Entity) *structpb.Struct {
	if e == nil {
		return nil
	}
	content, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings only: cannot fail
	}
	return object(content)
}

// object shows a JSON object; nil for none, and for what is not an object.
func object(content json.RawMessage) *structpb.Struct {
	if len(content) == 0 {
		return nil
	}
	s := &structpb.Struct{}
	if err := s.UnmarshalJSON(content); err != nil {
		return nil
	}
	return s
}
