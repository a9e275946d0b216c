package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/progress"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) run() *cobra.Command {
	return group("run", "Show runs, follow, approve, cancel and undo them", a.runList(), a.runGet(), a.runWatch(), a.runCancel(),
		a.runApprove(), a.runReject(), a.runRollback())
}

func (a *app) runList() *cobra.Command {
	req := &nthlayerv1.ListRunsRequest{}
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List runs, newest first",
		Example: `  nthlayer run list --team sig-storage
  nthlayer run list --status failed --limit 0 -o yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				runs, next, err := connection.List(limit, func(size int32, token string) (*nthlayerv1.ListRunsResponse, error) {
					req.PageSize, req.PageToken = size, token
					return api.Runs.ListRuns(cmd.Context(), req)
				}, (*nthlayerv1.ListRunsResponse).GetRuns)
				if err != nil {
					return err
				}
				a.sayMore(len(runs), next)
				switch {
				case !a.forPeople():
					return output.Encode(a.Out, output.Format(a.format), &nthlayerv1.ListRunsResponse{Runs: runs, NextPageToken: next})
				case len(runs) == 0 && anyOf(cmd, "team", "status", "requested-by"):
					return output.ShowNoMatch(a.Out, "run")
				default:
					return output.ShowRuns(a.Out, a.Now(), runs)
				}
			})
		},
	}
	cmd.Flags().StringVar(&req.TeamId, "team", "", "only runs of this team")
	cmd.Flags().StringVar(&req.Status, "status", "", "only runs that are queued, running, awaiting_approval, succeeded, failed, canceled or dead_lettered")
	cmd.Flags().StringVar(&req.RequestedBy, "requested-by", "", "only runs asked for by this principal")
	limitFlag(cmd, &limit, 50)
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	must(cmd.RegisterFlagCompletionFunc("status",
		cobra.FixedCompletions([]string{"queued", "running", "awaiting_approval", "succeeded", "failed", "canceled", "dead_lettered"}, cobra.ShellCompDirectiveNoFileComp)))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) runGet() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "get JOB",
		Short:   "Show a run with its steps and findings",
		Example: "  nthlayer run get 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e",
		Args:    one("the run's job id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				run, err := api.Runs.GetRun(cmd.Context(), &nthlayerv1.GetRunRequest{JobId: args[0]})
				if err != nil {
					return err
				}
				return a.showRun(run)
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) runWatch() *cobra.Command {
	var after int64
	cmd := &cobra.Command{
		Use:   "watch JOB",
		Short: "Follow a run to its end",
		Long:  "Follow a run to its end, from its first event. Exits with 1 where the run did not succeed.",
		Args:  one("the run's job id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				return a.follow(cmd.Context(), api, args[0], after)
			})
		},
	}
	cmd.Flags().Int64Var(&after, "after", 0, "only events after this number")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) runCancel() *cobra.Command {
	req := &nthlayerv1.CancelRunRequest{}
	cmd := &cobra.Command{
		Use:   "cancel JOB",
		Short: "End a run before it is done",
		Long: `End a run before it is done. One that was not begun ends at once; one that is being worked on ends between two steps.
What it did until then stands in the trail.`,
		Example: `  nthlayer run cancel 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e --reason "wrong team"`,
		Args:    one("the run's job id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.JobId = args[0]
			return a.withAPI(func(api *client.Client) error {
				run, err := api.Runs.CancelRun(cmd.Context(), req)
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), run)
				}
				if run.GetStatus() == "canceled" {
					return output.ShowOutcome(a.Out, run)
				}
				fmt.Fprintf(a.Out, "asked for the end of job %s\n%s\n", args[0], output.Faint("see it end with: nthlayer run watch "+args[0]))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for those who look at the run later")
	a.outputFlag(cmd)
	return cmd
}

// follow shows a run while it happens and what came out. Scripts get the finished run alone. To stop following does not
// stop the run.
func (a *app) follow(ctx context.Context, api *client.Client, jobID string, after int64) error {
	err := a.followToTheEnd(ctx, api, jobID, after)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("no longer following run %s, which goes on by itself\n  follow it again with: nthlayer run watch %s\n  end it with: nthlayer run cancel %s",
			jobID, jobID, jobID)
	}
	return err
}

func (a *app) followToTheEnd(ctx context.Context, api *client.Client, jobID string, after int64) error {
	events := api.Watch(ctx, jobID, after)
	if a.forPeople() {
		if _, err := progress.Show(ctx, a.Out, a.Width, events); err != nil {
			return err
		}
	} else {
		for _, err := range events {
			if err != nil {
				return err
			}
		}
	}
	run, err := api.Runs.GetRun(ctx, &nthlayerv1.GetRunRequest{JobId: jobID})
	if err != nil {
		return err
	}
	if a.forPeople() {
		fmt.Fprintln(a.Out)
		err = output.ShowOutcome(a.Out, run)
	} else {
		err = output.Encode(a.Out, output.Format(a.format), run)
	}
	if err != nil {
		return err
	}
	if run.GetStatus() != "succeeded" {
		return fmt.Errorf("run %s %s: %s", jobID, strings.ReplaceAll(run.GetStatus(), "_", " "), run.GetError().GetMessage())
	}
	return nil
}

func (a *app) showRun(run *nthlayerv1.Run) error {
	if !a.forPeople() {
		return output.Encode(a.Out, output.Format(a.format), run)
	}
	return output.ShowRun(a.Out, a.Now(), run)
}

func limitFlag(cmd *cobra.Command, limit *int, usual int) {
	cmd.Flags().IntVar(limit, "limit", usual, "at most this many; 0 for all")
	beforeRun(cmd, func() error {
		if *limit < 0 {
			return fmt.Errorf("--limit %d: must be 0, for all, or more", *limit)
		}
		return nil
	})
}

// sayMore says that a list was cut, so that nobody takes its end for the end. next is the token of what is left.
func (a *app) sayMore(shown int, next string) {
	if next != "" {
		fmt.Fprintln(a.Err, output.Faint(fmt.Sprintf("These are the first %d; there are more. --limit 0 shows all, --limit N as many as you like.", shown)))
	}
}

// anyOf says whether one of the flags was given: a filter that matches nothing is not a system that has nothing.
func anyOf(cmd *cobra.Command, flags ...string) bool {
	return slices.ContainsFunc(flags, cmd.Flags().Changed)
}
