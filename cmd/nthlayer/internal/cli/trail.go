package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/trailcheck"
	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) trail() *cobra.Command {
	return group("trail", "Show the audit trail and prove it", a.trailList(), a.trailVerify(), a.trailExport())
}

func (a *app) trailList() *cobra.Command {
	req := &nthlayerv1.ListFindingsRequest{}
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the trail from its beginning",
		Example: `  nthlayer trail list --team sig-storage
  nthlayer trail list --outcome failed -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				findings, next, err := connection.List(limit, func(size int32, token string) (*nthlayerv1.ListFindingsResponse, error) {
					req.PageSize, req.PageToken = size, token
					return api.Trail.ListFindings(cmd.Context(), req)
				}, (*nthlayerv1.ListFindingsResponse).GetFindings)
				if err != nil {
					return err
				}
				a.sayMore(len(findings), next)
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), &nthlayerv1.ListFindingsResponse{Findings: findings, NextPageToken: next})
				}
				return output.ShowFindings(a.Out, a.Now(), findings)
			})
		},
	}
	cmd.Flags().StringVar(&req.TeamId, "team", "", "only findings of this team")
	cmd.Flags().StringVar(&req.JobId, "job", "", "only findings of this run")
	cmd.Flags().StringVar(&req.Outcome, "outcome", "", "only findings with this outcome")
	limitFlag(cmd, &limit, 0)
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	must(cmd.RegisterFlagCompletionFunc("outcome", cobra.FixedCompletions(
		[]string{trail.Applied, trail.Failed, trail.Skipped, trail.Unknown, trail.Planned, trail.Awaiting, trail.Denied, trail.Ignored, trail.Reported}, cobra.ShellCompDirectiveNoFileComp)))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) trailVerify() *cobra.Command {
	var known string
	var files []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read the whole trail, or exports of it, and check the chain on this machine",
		Long: `Read the whole trail and check on this machine that no entry was changed, left out, put in or moved. The server is not
trusted with the check.

The chain cannot tell that the whole trail was written anew. Keep the head that this command prints somewhere else, and
give it back with --head: the trail must still hold that entry.

With --file, exports and archives are checked instead, without a server: each of them, and that they join on to each other.`,
		Example: `  nthlayer trail verify
  nthlayer trail verify --file 2026-q1.jsonl --file 2026-q2.jsonl.gz
  nthlayer trail verify --head 1042:9f2c…        the head that an earlier check printed`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kept, err := parseHead(known)
			if err != nil {
				return err
			}
			if len(files) > 0 {
				return a.verifyFiles(files, kept)
			}
			return a.withAPI(func(api *client.Client) error {
				head, anchor, err := trailcheck.Read(cmd.Context(), api.Trail, kept)
				if err != nil {
					return err
				}
				fmt.Fprintf(a.Out, "The trail holds: %d entries, none changed, missing or added.\n", head.Seq-anchor.Seq)
				if anchor.Seq > 0 {
					fmt.Fprintf(a.Out, "The %d before them lie in archives, which must end with %d:%s\n", anchor.Seq, anchor.Seq, anchor.Hash)
				}
				fmt.Fprintf(a.Out, "head %d:%s\n", head.Seq, head.Hash)
				return nil
			})
		},
	}
	cmd.Flags().StringSliceVar(&files, "file", nil, "check this export or archive instead; may be given several times")
	must(cmd.MarkFlagFilename("file", "jsonl", "gz"))
	cmd.Flags().StringVar(&known, "head", "", "`SEQ:HASH` that an earlier check printed and the trail must still hold")
	return cmd
}

func parseHead(text string) (trail.Head, error) {
	if text == "" {
		return trail.Head{}, nil
	}
	seq, hash, ok := strings.Cut(text, ":")
	n, err := strconv.ParseInt(seq, 10, 64)
	if !ok || err != nil || n < 1 || len(hash) != 64 {
		return trail.Head{}, fmt.Errorf("--head %q: must be SEQ:HASH as `nthlayer trail verify` prints it", text)
	}
	return trail.Head{Seq: n, Hash: hash}, nil
}
