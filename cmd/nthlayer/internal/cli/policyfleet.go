package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// plansAtOnce is how many teams are planned at the same time. The workers' quotas bound what that costs.
const plansAtOnce = 4

func (a *app) policyFleet() *cobra.Command {
	req := &nthlayerv1.ListTeamsRequest{SyncStatus: "out_of_sync"}
	team := "*"
	cmd := &cobra.Command{
		Use:   "fleet DIR",
		Short: "Say what a policy would stop, of all that is to be changed now",
		Long: `Plan teams as they are now, ask a policy what it says of each plan, and compare that with what the deployed policy says.
Nothing is changed. Each team is read from the catalogue and the pager, within the workers' quotas; --team and --status say
which teams. Rules that go by who asks are given whoever runs the command.

Exit code 0: all these teams were planned, whatever the policy says. 1: an error, or some could not be planned.`,
		Example: `  nthlayer policy fleet ./policy
  nthlayer policy fleet s3://company/policy --team 'sig-*'
  nthlayer policy fleet ./policy -o json | jq '.teams[] | select(.policy.verdict == "deny")'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := path.Match(team, ""); err != nil {
				return fmt.Errorf("--team %s: is no pattern; * and ? stop at slashes", team)
			}
			b, err := a.bundle(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			engine, err := rules.NewEngine(cmd.Context(), b)
			if err != nil {
				return err
			}
			return a.withAPI(func(api *client.Client) error {
				teams, _, err := connection.List(0, func(size int32, token string) (*nthlayerv1.ListTeamsResponse, error) {
					req.PageSize, req.PageToken = size, token
					return api.Teams.ListTeams(cmd.Context(), req)
				}, (*nthlayerv1.ListTeamsResponse).GetTeams)
				if err != nil {
					return err
				}
				fleet := output.Fleet{Revision: b.Revision, Teams: []output.FleetTeam{}}
				for _, t := range teams {
					if fits, _ := path.Match(team, t.GetTeamId()); fits {
						fleet.Teams = append(fleet.Teams, output.FleetTeam{TeamID: t.GetTeamId()})
					}
				}
				if len(fleet.Teams) == 0 && a.forPeople() {
					return output.ShowNoMatch(a.Out, "team")
				}
				fmt.Fprintf(a.Err, "planning %d teams: each is read from the catalogue and the pager\n", len(fleet.Teams))
				if err := judge(cmd.Context(), api, engine, fleet.Teams); err != nil {
					return err
				}
				return a.showFleet(fleet)
			})
		},
	}
	cmd.Flags().StringVar(&req.SyncStatus, "status", req.GetSyncStatus(), "only teams that are in_sync, out_of_sync or unknown; empty: all")
	cmd.Flags().StringVar(&team, "team", team, "only teams whose id matches this `pattern`, with * and ? that stop at slashes")
	must(cmd.RegisterFlagCompletionFunc("status",
		cobra.FixedCompletions([]string{"in_sync", "out_of_sync", "unknown"}, cobra.ShellCompDirectiveNoFileComp)))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) showFleet(fleet output.Fleet) error {
	show := output.ShowFleet
	if !a.forPeople() {
		show = func(w io.Writer, f output.Fleet) error { return output.EncodeValue(w, output.Format(a.format), f) }
	}
	if err := show(a.Out, fleet); err != nil {
		return err
	}
	if n := fleet.Failed(); n > 0 {
		return fmt.Errorf("%d of %d teams could not be planned", n, len(fleet.Teams))
	}
	return nil
}

// judge plans teams and asks the policy. A team that cannot be planned says so, and leaves the others alone.
func judge(ctx context.Context, api *client.Client, engine *rules.Engine, teams []output.FleetTeam) error {
	var planning errgroup.Group
	planning.SetLimit(plansAtOnce)
	for i := range teams {
		planning.Go(func() error {
			if err := judgeOne(ctx, api, engine, &teams[i]); err != nil {
				teams[i].Error = connection.Explain(err)
			}
			return ctx.Err()
		})
	}
	return planning.Wait()
}

func judgeOne(ctx context.Context, api *client.Client, engine *rules.Engine, team *output.FleetTeam) error {
	plan, err := api.Teams.PlanTeam(ctx, &nthlayerv1.PlanTeamRequest{TeamId: team.TeamID, PolicyInput: true})
	if err != nil {
		return err
	}
	team.Changes = len(plan.GetChanges())
	switch {
	case plan.GetSyncStatus() == "unknown" && team.Changes == 0:
		return errors.New("it could not be compared; the issues of its plan say why")
	case team.Changes == 0:
		return nil
	}
	in, err := inputOf(plan)
	if err != nil {
		return err
	}
	decision, err := engine.Decide(ctx, in)
	if err != nil {
		return err
	}
	deployed := policy.Decision{
		Verdict: policy.Verdict(plan.GetDecision().GetVerdict()), Reasons: plan.GetDecision().GetReasons(), Revision: plan.GetDecision().GetRevision(),
	}
	for _, v := range plan.GetDecision().GetViolations() {
		deployed.Violations = append(deployed.Violations, policy.Violation{Rule: v.GetRule(), Verdict: policy.Verdict(v.GetVerdict()), Reason: v.GetReason()})
	}
	team.Deployed, team.Policy = &deployed, &decision
	return nil
}

// inputOf is what the rules were given to decide on a plan.
func inputOf(plan *nthlayerv1.Plan) (rules.Input, error) {
	if plan.GetPolicyInput() == nil {
		return rules.Input{}, errors.New("the reconcile-worker does not say what its rules were given; it is older than this program")
	}
	text, err := protojson.Marshal(plan.GetPolicyInput())
	if err != nil {
		return rules.Input{}, err
	}
	return rules.ParseInput(bytes.NewReader(text))
}
