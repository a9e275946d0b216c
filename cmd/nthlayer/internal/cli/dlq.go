package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) dlq() *cobra.Command {
	cmd := group("dlq", "Show what was given up, and raise or discard it", a.dlqList(), a.dlqShow(), a.dlqRequeue(), a.dlqDiscard())
	cmd.Long = `Dead letters are runs that failed in every attempt or waited longer than their patience, and messages that nobody could
read. They stay until somebody requeues or discards them.`
	return cmd
}

func (a *app) dlqList() *cobra.Command {
	req := &nthlayerv1.ListDeadLettersRequest{}
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List dead letters, newest first",
		Example: `  nthlayer dlq list
  nthlayer dlq list --reason PAGERDUTY_UNAVAILABLE -o json
  nthlayer dlq list --status ""                           those that were settled too`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				letters, next, err := connection.List(limit, func(size int32, token string) (*nthlayerv1.ListDeadLettersResponse, error) {
					req.PageSize, req.PageToken = size, token
					return api.DeadLetters.ListDeadLetters(cmd.Context(), req)
				}, (*nthlayerv1.ListDeadLettersResponse).GetDeadLetters)
				if err != nil {
					return err
				}
				a.sayMore(len(letters), next)
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), &nthlayerv1.ListDeadLettersResponse{DeadLetters: letters, NextPageToken: next})
				}
				return output.ShowDeadLetters(a.Out, a.Now(), letters)
			})
		},
	}
	cmd.Flags().StringVar(&req.Status, "status", "dead", "only those that are dead, requeued or discarded")
	cmd.Flags().StringVar(&req.Kind, "kind", "", "only those of kind run or message")
	cmd.Flags().StringVar(&req.TeamId, "team", "", "only runs of this team")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "only those with this reason")
	limitFlag(cmd, &limit, 50)
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	must(cmd.RegisterFlagCompletionFunc("status",
		cobra.FixedCompletions([]string{"dead", "requeued", "discarded"}, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"run", "message"}, cobra.ShellCompDirectiveNoFileComp)))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) dlqShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show LETTER",
		Short:   "Show a dead letter; of a run, LETTER is its job id",
		Example: "  nthlayer dlq show 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e",
		Args:    one("the letter's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				letter, err := api.DeadLetters.GetDeadLetter(cmd.Context(), &nthlayerv1.GetDeadLetterRequest{LetterId: args[0]})
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), letter)
				}
				return output.ShowDeadLetter(a.Out, a.Now(), letter)
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) dlqRequeue() *cobra.Command {
	return a.settle("requeue", "requeued", "Give runs another life, under the same job id",
		`Give runs another life, under the same job id: with all their attempts, and with a plan made anew.`,
		func(ctx context.Context, api *client.Client, w which) ([]*nthlayerv1.DeadLetter, error) {
			r, err := api.DeadLetters.RequeueDeadLetters(ctx, &nthlayerv1.RequeueDeadLettersRequest{
				LetterId: w.letter, TeamId: w.team, Reason: w.reason, All: w.all, DiedBefore: w.before,
			})
			return r.GetDeadLetters(), err
		})
}

func (a *app) dlqDiscard() *cobra.Command {
	return a.settle("discard", "discarded", "Give dead letters up for good",
		`Give dead letters up for good. Runs end as failed.`,
		func(ctx context.Context, api *client.Client, w which) ([]*nthlayerv1.DeadLetter, error) {
			r, err := api.DeadLetters.DiscardDeadLetters(ctx, &nthlayerv1.DiscardDeadLettersRequest{
				LetterId: w.letter, TeamId: w.team, Reason: w.reason, All: w.all, DiedBefore: w.before,
			})
			return r.GetDeadLetters(), err
		})
}

// which dead letters to settle.
type which struct {
	letter, team, reason string
	all                  bool
	before               *timestamppb.Timestamp
}

// settle is a command that settles dead letters: one, those that a filter selects, or all.
func (a *app) settle(
	verb, done, short, long string, settle func(context.Context, *client.Client, which) ([]*nthlayerv1.DeadLetter, error),
) *cobra.Command {
	var w which
	cmd := &cobra.Command{
		Use:   verb + " [LETTER]",
		Short: short,
		Long:  long + " Name one, select by --team and --reason, or say --all.",
		Example: "  nthlayer dlq " + verb + ` 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e
  nthlayer dlq ` + verb + ` --reason PAGERDUTY_BREAKER_OPEN
  nthlayer dlq ` + verb + " --all",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				w.letter = args[0]
			}
			if w.letter == "" && w.team == "" && w.reason == "" && !w.all {
				return errors.New("say which: a letter's id, --team, --reason, or --all")
			}
			return a.withAPI(func(api *client.Client) error {
				if w.letter == "" {
					var err error
					if w.before, err = newest(cmd.Context(), api, w); err != nil {
						return err
					}
				}
				letters, err := settle(cmd.Context(), api, w)
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), &nthlayerv1.ListDeadLettersResponse{DeadLetters: letters})
				}
				fmt.Fprintf(a.Out, "%s: %d\n", done, len(letters))
				return output.ShowDeadLetters(a.Out, a.Now(), letters)
			})
		},
	}
	cmd.Flags().StringVar(&w.team, "team", "", "those of this team")
	cmd.Flags().StringVar(&w.reason, "reason", "", "those with this reason")
	cmd.Flags().BoolVar(&w.all, "all", false, "all of them")
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	a.outputFlag(cmd)
	return cmd
}

// newest is when the newest of the letters died that the selection means now. It bounds the request, so that one that is
// sent again does not meet what has died again meanwhile.
func newest(ctx context.Context, api *client.Client, w which) (*timestamppb.Timestamp, error) {
	list, err := api.DeadLetters.ListDeadLetters(ctx, &nthlayerv1.ListDeadLettersRequest{
		PageSize: 1, Status: "dead", TeamId: w.team, Reason: w.reason,
	})
	if err != nil || len(list.GetDeadLetters()) == 0 {
		return nil, err
	}
	return list.GetDeadLetters()[0].GetDiedAt(), nil
}
