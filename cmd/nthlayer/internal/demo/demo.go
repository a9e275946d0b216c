// Package demo shows NthLayer at work, from a drifted team to "nothing to do", on a running system.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/progress"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/system"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/trailcheck"
	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Show is what a demonstration needs.
type Show struct {
	Out   io.Writer
	Width int // of the terminal; 0: not a terminal
	Now   func() time.Time
	API   *client.Client
	Info  system.Info
	Teams []string // the organisation's teams
}

// Run plays the whole demonstration.
func (s Show) Run(ctx context.Context) error {
	team, plan, err := s.mostDrifted(ctx)
	if err != nil {
		return err
	}
	s.heading("What the catalogue declares and the pager does not show")
	if err := output.ShowPlan(s.Out, plan); err != nil {
		return err
	}

	upstreams := newUpstreams(s.Info)
	if err := errors.Join(upstreams.forgetCalls(ctx), upstreams.answerAsOverTheInternet(ctx)); err != nil {
		return err
	}
	s.heading("Reconcile " + team)
	run, err := s.reconcile(ctx, team)
	if err != nil {
		return err
	}

	s.heading("The audit trail: who, what, before, after, and the calls it took")
	if err := output.ShowFindings(s.Out, s.Now(), run.GetFindings()); err != nil {
		return err
	}
	if err := s.verifyTrail(ctx); err != nil {
		return err
	}

	s.heading("What Slack was told")
	if err := upstreams.showMessages(ctx, s.Out); err != nil {
		return err
	}

	s.heading("The API calls this took")
	if err := upstreams.showCalls(ctx, s.Out); err != nil {
		return err
	}

	s.heading("Reconcile " + team + " again")
	if err := upstreams.forgetCalls(ctx); err != nil {
		return err
	}
	if run, err = s.reconcile(ctx, team); err != nil {
		return err
	}
	writes, err := upstreams.writesToPagerDuty(ctx)
	if err != nil {
		return err
	}
	if writes > 0 || len(run.GetPlan().GetChanges()) > 0 {
		return fmt.Errorf("the second run made %d writes; it should have found nothing to do", writes)
	}
	fmt.Fprintln(s.Out, "Nothing to do: PagerDuty shows what Cortex declares. Not one write was made.")
	return nil
}

func (s Show) heading(text string) { fmt.Fprintf(s.Out, "\n%s\n\n", output.Heading(text)) }

// mostDrifted plans the teams and picks the one whose plan shows the most kinds of changes and may be applied.
func (s Show) mostDrifted(ctx context.Context) (string, *nthlayerv1.Plan, error) {
	var team string
	var best *nthlayerv1.Plan
	for _, id := range s.Teams {
		plan, err := s.API.Teams.PlanTeam(ctx, &nthlayerv1.PlanTeamRequest{TeamId: id})
		if err != nil {
			return "", nil, fmt.Errorf("plan %s: %w", id, err)
		}
		if plan.GetDecision().GetVerdict() == "allow" && better(plan, best) {
			team, best = id, plan
		}
	}
	if best == nil {
		return "", nil, fmt.Errorf("none of the %d teams has drifted", len(s.Teams))
	}
	return team, best, nil
}

func better(a, b *nthlayerv1.Plan) bool {
	if len(a.GetChanges()) == 0 {
		return false
	}
	x, y := kinds(a), kinds(b)
	return x > y || x == y && len(a.GetChanges()) > len(b.GetChanges())
}

func kinds(p *nthlayerv1.Plan) int {
	seen := map[string]bool{}
	for _, c := range p.GetChanges() {
		seen[c.GetKind()] = true
	}
	return len(seen)
}

// reconcile asks for a run and shows it until its end.
func (s Show) reconcile(ctx context.Context, team string) (*nthlayerv1.Run, error) {
	jobID, err := s.API.Reconcile(ctx, "", &nthlayerv1.ReconcileTeamRequest{TeamId: team})
	if err != nil {
		return nil, fmt.Errorf("reconcile %s: %w", team, err)
	}
	if _, err := progress.Show(ctx, s.Out, s.Width, s.API.Watch(ctx, jobID, 0)); err != nil {
		return nil, fmt.Errorf("follow run %s: %w", jobID, err)
	}
	run, err := s.API.Runs.GetRun(ctx, &nthlayerv1.GetRunRequest{JobId: jobID})
	if err != nil {
		return nil, fmt.Errorf("get run %s: %w", jobID, err)
	}
	fmt.Fprintln(s.Out)
	if err := output.ShowOutcome(s.Out, run); err != nil {
		return nil, err
	}
	if run.GetStatus() != "succeeded" {
		return nil, fmt.Errorf("run %s %s: %s", run.GetJobId(), run.GetStatus(), run.GetError().GetMessage())
	}
	return run, nil
}

func (s Show) verifyTrail(ctx context.Context) error {
	_, head, err := trailcheck.Read(ctx, s.API.Trail, trail.Head{})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "\nThe chain of %d entries was checked here and holds; its head is %s…\n", head.Seq, head.Hash[:min(16, len(head.Hash))])
	return nil
}

// quoted sets text off from what the program says.
func quoted(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		lines[i] = "  " + output.Faint("│") + " " + output.Line(line)
	}
	return strings.Join(lines, "\n")
}
