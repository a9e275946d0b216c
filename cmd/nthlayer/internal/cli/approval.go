package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// shortestHash is how much of a plan's hash names it.
const shortestHash = 8

func (a *app) runApprove() *cobra.Command {
	req := &nthlayerv1.ApproveRunRequest{}
	var plan string
	cmd := &cobra.Command{
		Use:   "approve JOB",
		Short: "Show the plan that a run waits with, and approve it",
		Long: `Show the plan that a run waits with. With --plan and the hash that is shown, approve it: once everybody whom the rules ask
for has, the run compares once more and applies exactly that plan. Where the plan is another one by then, it asks again.`,
		Example: `  nthlayer run list --status awaiting_approval
  nthlayer run approve 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e
  nthlayer run approve 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e --plan 5c3f1e9a --reason "they left in October"`,
		Args: one("the run's job id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.JobId = args[0]
			return a.withAPI(func(api *client.Client) error {
				run, err := api.Runs.GetRun(cmd.Context(), &nthlayerv1.GetRunRequest{JobId: args[0]})
				if err != nil {
					return err
				}
				hash := run.GetApproval().GetPlanHash()
				switch {
				case hash == "":
					return fmt.Errorf("run %s waits for no approval: it is %s", args[0], strings.ReplaceAll(run.GetStatus(), "_", " "))
				case plan == "":
					return a.showWaiting(run)
				case len(plan) < shortestHash || !strings.HasPrefix(hash, strings.ToLower(plan)):
					return fmt.Errorf("--plan %s: the run waits with plan %.12s; look at it with: nthlayer run approve %s", plan, hash, args[0])
				}
				req.PlanHash = hash
				if run, err = api.Runs.ApproveRun(cmd.Context(), req); err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), run)
				}
				if run.GetStatus() == "awaiting_approval" {
					fmt.Fprintf(a.Out, "approved; job %s waits for more\n", args[0])
					return output.ShowApproval(a.Out, a.Now(), run.GetApproval())
				}
				fmt.Fprintf(a.Out, "approved; job %s goes on\n%s\n", args[0], output.Faint("follow it with: nthlayer run watch "+args[0]))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&plan, "plan", "", "the hash of the plan to approve, or its beginning; empty: show the plan")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for the trail")
	a.outputFlag(cmd)
	return cmd
}

// showWaiting shows what a run waits with, and how to approve it.
func (a *app) showWaiting(run *nthlayerv1.Run) error {
	if !a.forPeople() {
		return output.Encode(a.Out, output.Format(a.format), run)
	}
	if err := output.ShowPlan(a.Out, run.GetPlan()); err != nil {
		return err
	}
	fmt.Fprintln(a.Out)
	if err := output.ShowApproval(a.Out, a.Now(), run.GetApproval()); err != nil {
		return err
	}
	if run.GetStatus() == "awaiting_approval" {
		fmt.Fprintln(a.Out, output.Faint(fmt.Sprintf("approve it with: nthlayer run approve %s --plan %.12s", run.GetJobId(), run.GetApproval().GetPlanHash())))
	}
	return nil
}

func (a *app) runReject() *cobra.Command {
	req := &nthlayerv1.RejectRunRequest{}
	cmd := &cobra.Command{
		Use:     "reject JOB",
		Short:   "End a run that waits for approval, with nothing changed",
		Example: `  nthlayer run reject 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e --reason "dan stays on call until Friday"`,
		Args:    one("the run's job id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.JobId = args[0]
			return a.withAPI(func(api *client.Client) error {
				run, err := api.Runs.RejectRun(cmd.Context(), req)
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), run)
				}
				fmt.Fprintf(a.Out, "rejected; job %s ends with nothing changed\n", args[0])
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for who asked and for the trail")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) runRollback() *cobra.Command {
	req := &nthlayerv1.RollbackRunRequest{}
	var (
		key       string
		yes, wait bool
	)
	cmd := &cobra.Command{
		Use:   "rollback JOB",
		Short: "Undo what a run changed",
		Long: `Undo what a run changed, as the trail has it: the plan for that is shown, and applied with --yes. It passes the same rules
as any other plan. What was changed again since is shown and left alone.

The source still declares what the run had made true: the next run of the team does it again, unless the source changes, or
the team is paused.`,
		Example: `  nthlayer run rollback 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e
  nthlayer run rollback 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e --yes --wait --reason "wrong group"
  nthlayer run rollback 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e --only add_member --yes`,
		Args: one("the job id of the run to undo"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.JobId, req.DryRun = args[0], !yes
			return a.withAPI(func(api *client.Client) error {
				jobID, err := api.Rollback(cmd.Context(), key, req)
				if err != nil {
					return err
				}
				if yes {
					return a.acceptedRun(cmd, api, jobID, wait, &nthlayerv1.RollbackRunResponse{JobId: jobID})
				}
				run, err := api.Wait(cmd.Context(), jobID)
				switch {
				case err != nil:
					return err
				case !a.forPeople():
					return output.Encode(a.Out, output.Format(a.format), run)
				case run.GetPlan() == nil:
					return fmt.Errorf("no plan was made: %s", run.GetError().GetMessage())
				}
				if err := output.ShowPlan(a.Out, run.GetPlan()); err != nil {
					return err
				}
				if len(run.GetPlan().GetChanges()) > 0 {
					fmt.Fprintln(a.Out, output.Faint("nothing was changed; apply it with --yes"))
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, apply it")
	cmd.Flags().BoolVar(&wait, "wait", false, "with --yes: follow the run to its end")
	cmd.Flags().StringVar(&key, "idempotency-key", "", "name of this request (default: a new one)")
	chooseFlags(cmd, &req.Only, &req.Exclude)
	whyFlags(cmd, &req.Reason, &req.OverrideFreeze)
	a.outputFlag(cmd)
	return cmd
}

func whyFlags(cmd *cobra.Command, reason, override *string) {
	cmd.Flags().StringVar(reason, "reason", "", "why, for the trail and for who approves")
	cmd.Flags().StringVar(override, "override-freeze", "", "why it is applied although changes are frozen; for roles that may")
}

func chooseFlags(cmd *cobra.Command, only, exclude *[]string) {
	cmd.Flags().StringSliceVar(only, "only", nil, "only these changes, by kind (add_member) or id (add_member:person:ann@example.org)")
	cmd.Flags().StringSliceVar(exclude, "exclude", nil, "all changes but these")
	kinds := cobra.FixedCompletions([]string{"create_team", "update_team", "add_member", "change_role", "remove_member"}, cobra.ShellCompDirectiveNoFileComp)
	must(cmd.RegisterFlagCompletionFunc("only", kinds))
	must(cmd.RegisterFlagCompletionFunc("exclude", kinds))
}
