package audits

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// again is how often a part is gone over when runs write about its teams meanwhile; then it is put back.
const again = 5

// teams compares the teams of a part, one after the other: PagerDuty asks for serial requests. What was compared when a
// platform went away, or this process was stopped, is written down; the rest is put back.
func (w *Worker) teams(ctx context.Context, job *store.AuditJob) error {
	ctx, calls := upstream.Record(ctx)
	flow, err := audit.New(audit.Parts{
		Source: w.source, Target: &known{Target: w.target, store: w.store, listed: job.Audit.UsersListed},
		Roles: w.opts.Roles, CreateTeams: w.opts.CreateTeams,
	})
	if err != nil {
		return fault.New(fault.Internal, "the flow is not well formed", err)
	}
	var counted store.Calls
	for range again {
		teams, err := job.Teams(ctx)
		if err != nil {
			return err
		}
		audited, broken := w.compare(ctx, job, flow, teams)
		if fault.Is(context.Cause(ctx), fault.Fenced) {
			return context.Cause(ctx)
		}
		made := callsOf(calls)
		settled, err := w.settle(ctx, job, audited, made.Less(counted))
		switch {
		case err != nil:
			return err
		case broken != nil:
			return w.putBack(ctx, job, broken, store.AuditDelay{WentOn: len(audited) > 0})
		case settled.Left == 0:
			return nil
		}
		counted = made
	}
	return w.putBack(ctx, job, fault.New(fault.Canceled, "runs keep changing the teams", nil), store.AuditDelay{WentOn: true})
}

func (w *Worker) settle(ctx context.Context, job *store.AuditJob, audited []store.AuditedTeam, calls store.Calls) (store.Settled, error) {
	ctx, cancel := settling(ctx)
	defer cancel()
	return job.Settle(ctx, audited, calls)
}

func callsOf(calls *upstream.Calls) store.Calls {
	return store.Calls{Cortex: calls.Count("cortex"), PagerDuty: calls.Count("pagerduty")}
}

// inARow is how many teams may fail one after the other before the platform is taken for away.
const inARow = 3

// compare goes over the teams. One that cannot be read now does not hold up the others, unless the platform says that it is
// to be left alone, or seems to be away. broken says why teams are left.
func (w *Worker) compare(ctx context.Context, job *store.AuditJob, flow *audit.Flow, teams []store.AuditTeam) (audited []store.AuditedTeam, broken error) {
	failed := 0
	for _, team := range teams {
		if _, draining := queue.StopsAt(ctx); draining || ctx.Err() != nil {
			return audited, fault.New(fault.Canceled, "the worker is stopping", nil)
		}
		if team.Vanished {
			audited = append(audited, vanished(team))
			continue
		}
		state, err := flow.Audit(ctx, team.Subject)
		switch {
		case err == nil:
			failed = 0
			audited = append(audited, w.audited(job, team, state))
		case stopping(err) || ctx.Err() != nil:
			return audited, fault.New(fault.Canceled, "the worker is stopping", err)
		case fault.Passing(err) && !fault.Is(err, fault.Incomplete) && job.FailingFor < w.opts.Patience:
			broken = err
			if failed++; failed == inARow || fault.RetryAfterOf(err) > 0 {
				return audited, broken
			}
		default:
			reason, message := why(err)
			w.log.WarnContext(ctx, "team could not be read; it is unknown", "team_id", team.Subject.Desired.TeamID, "reason", reason, "error", err)
			audited = append(audited, store.AuditedTeam{
				Team: team, Status: ownership.Unknown, UnreadReason: reason, UnreadMessage: message,
			})
		}
	}
	return audited, broken
}

// vanished is a team with a link that the source does not declare any more. That is no knowledge of who owns it: nothing
// is compared.
func vanished(team store.AuditTeam) store.AuditedTeam {
	id := team.Subject.Desired.TeamID
	seen := ownership.Plan{TeamID: id, Issues: []ownership.Issue{{Kind: audit.VanishedTeam, EntityRef: "team:" + id, Message: fmt.Sprintf(
		"the source does not declare the team any more, and team %s on the target still stands for it; declare it again, or take the target's team down", team.Subject.Link,
	)}}}.Ignore(team.Subject.Ignores)
	a := store.AuditedTeam{Team: team, Status: ownership.Unknown, TargetID: team.Subject.Link, Ignored: seen.Ignored}
	for _, i := range seen.Issues {
		a.Findings = append(a.Findings, audit.Finding{
			TeamID: id, Kind: audit.VanishedTeam, EntityRef: i.EntityRef, TargetID: team.Subject.Link, Message: i.Message,
		})
	}
	return a
}

// audited is what came of a team, with the run that mends it where that is wanted.
func (w *Worker) audited(job *store.AuditJob, team store.AuditTeam, s *audit.State) store.AuditedTeam {
	a := store.AuditedTeam{
		Team: team, Status: s.Plan.SyncStatus(), TargetID: s.TargetID, Name: s.Unlisted, Description: s.Described,
		Read: s.Read, Missed: s.Missed, Findings: s.Findings, Ignored: s.Plan.Ignored,
	}
	mode := team.AutoReconcile
	if mode == "" {
		mode = job.Audit.Request.AutoReconcile
	}
	if mode == audit.Enforce && !s.Plan.Empty() {
		id := team.Subject.Desired.TeamID
		key := "audit:" + job.Audit.AuditID.String() + ":" + id
		hash := sha256.Sum256([]byte(key))
		a.Run = &store.NewRun{
			Principal: job.Audit.RequestedBy, IdempotencyKey: key, RequestHash: hash[:], TeamID: id,
			Request: store.Request{Source: store.SourceCortex}, Trace: job.Audit.Trace,
		}
	}
	return a
}

// known is the target as an audit asks it: people are looked up among those who are known first.
type known struct {
	Target
	store  *store.Store
	listed bool // everybody is known
}

func (k *known) FindUsers(ctx context.Context, emails []string) ([]ownership.User, error) {
	users, err := k.store.FindTargetUsers(ctx, emails)
	if err != nil || k.listed {
		return users, err
	}
	met := map[string]bool{}
	for _, u := range users {
		met[ownership.NormalizeEmail(u.Email)] = true
	}
	var others []string
	for _, email := range emails {
		if !met[email] {
			others = append(others, email)
		}
	}
	if len(others) == 0 {
		return users, nil
	}
	asked, err := k.Target.FindUsers(ctx, others)
	return append(users, asked...), err
}
