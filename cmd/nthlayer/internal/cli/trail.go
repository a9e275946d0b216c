package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
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
	return group("trail", "Show the audit trail and prove it", a.trailList(), a.trailVerify(), a.trailExport(), a.trailArchives())
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
		[]string{trail.Applied, trail.Failed, trail.Skipped, trail.Unknown, trail.Planned, trail.Denied, trail.Awaiting, trail.Ignored, trail.Reported}, cobra.ShellCompDirectiveNoFileComp)))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) trailVerify() *cobra.Command {
	var known, after string
	var files []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check the trail's chain on this machine, from the server or from exports",
		Long: `Read the whole trail and check on this machine that no entry was changed, left out, put in or moved. The server is not
trusted with the check. Where older entries were moved to archives, the check begins after them.

With --file no server is needed: exports and archives are checked, each for itself and that they follow each other without
a gap, in whatever order they are given. Where the archives end the trail in the database goes on: the last entry that is
printed here is the anchor that is printed there.

The chain cannot tell that the whole trail was written anew. Keep the head that this command prints somewhere else, and
give it back with --head: the trail must still hold that entry. --anchor is the entry that the files must follow.`,
		Example: `  nthlayer trail verify
  nthlayer trail verify --head 1042:9f2c…        the head that an earlier check printed
  nthlayer trail verify --file march.jsonl --file april.jsonl
  nthlayer trail verify --file archive/*.jsonl.gz`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 && len(files) == 0 {
				return fmt.Errorf("%q: say --file before the names of files", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			kept, err := parseHead("--head", known)
			if err != nil {
				return err
			}
			anchor, err := parseHead("--anchor", after)
			if err != nil {
				return err
			}
			if len(files) > 0 {
				return a.verifyFiles(append(files, args...), anchor, kept)
			}
			if after != "" {
				return errors.New("--anchor is for --file: the server says what its trail begins after")
			}
			return a.withAPI(func(api *client.Client) error {
				anchor, head, err := trailcheck.Read(cmd.Context(), api.Trail, kept)
				if err != nil {
					return err
				}
				fmt.Fprintf(a.Out, "The trail holds: %d entries, none changed, missing or added.\n", head.Seq-anchor.Seq)
				if anchor.Seq > 0 {
					fmt.Fprintf(a.Out, "%d entries before them are in archives, which `nthlayer trail verify --file` proves; they must end with the anchor.\nanchor %d:%s\n",
						anchor.Seq, anchor.Seq, anchor.Hash)
				}
				fmt.Fprintf(a.Out, "head %d:%s\n", head.Seq, head.Hash)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&known, "head", "", "`SEQ:HASH` that an earlier check printed and the trail must still hold")
	cmd.Flags().StringArrayVar(&files, "file", nil, "check this `EXPORT` instead of the server; may be repeated")
	cmd.Flags().StringVar(&after, "anchor", "", "`SEQ:HASH` of the entry that the files must follow")
	return cmd
}

func (a *app) verifyFiles(names []string, anchor, kept trail.Head) error {
	files := make([]trailcheck.File, len(names))
	for i, name := range names {
		files[i] = trailcheck.File{Name: name, Open: func() (io.ReadCloser, error) { return os.Open(name) }}
	}
	s, err := trailcheck.Files(files, anchor, kept)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "The trail holds from entry %d to %d: %d entries, none changed, missing or added.\n", s.Anchor.Seq+1, s.Last.Seq, s.Last.Seq-s.Anchor.Seq)
	if s.Anchor.Seq > 0 {
		fmt.Fprintf(a.Out, "anchor %d:%s\n", s.Anchor.Seq, s.Anchor.Hash)
	}
	fmt.Fprintf(a.Out, "head %d:%s\n", s.Last.Seq, s.Last.Hash)
	return nil
}

func (a *app) trailArchives() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "archives",
		Short: "List the parts of the trail that were moved out of the database",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				list, err := api.Trail.ListTrailArchives(cmd.Context(), &nthlayerv1.ListTrailArchivesRequest{})
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), list)
				}
				return output.ShowTrailArchives(a.Out, a.Now(), list.GetArchives())
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func parseHead(flag, text string) (trail.Head, error) {
	if text == "" {
		return trail.Head{}, nil
	}
	seq, hash, ok := strings.Cut(text, ":")
	n, err := strconv.ParseInt(seq, 10, 64)
	if !ok || err != nil || n < 1 || len(hash) != 64 {
		return trail.Head{}, fmt.Errorf("%s %q: must be SEQ:HASH as `nthlayer trail verify` prints it", flag, text)
	}
	return trail.Head{Seq: n, Hash: hash}, nil
}
