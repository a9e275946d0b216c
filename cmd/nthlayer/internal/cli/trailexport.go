package cli

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const exportPage = 1000 // the API's largest page

func (a *app) trailExport() *cobra.Command {
	var from, to, format, file string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the trail of a period to a file",
		Long: `Write the trail of a period to a file: from the first entry that was recorded in it to the last, with all between, so that
it has no gap. The chain is checked on the way.

jsonl can be proved later without this system: nthlayer trail verify --file. csv is for spreadsheets and proves nothing by itself.`,
		Example: `  nthlayer trail export --from 2026-01-01 --to 2026-04-01 --file 2026-q1.jsonl
  nthlayer trail export --format csv > trail.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req := &nthlayerv1.ListFindingsRequest{PageSize: exportPage}
			var header trail.Header
			for _, bound := range []struct {
				flag, text string
				shown      **time.Time
				asked      **timestamppb.Timestamp
			}{{"from", from, &header.From, &req.RecordedFrom}, {"to", to, &header.To, &req.RecordedTo}} {
				if bound.text == "" {
					continue
				}
				at, err := parseTime(bound.text)
				if err != nil {
					return fmt.Errorf("--%s: %w", bound.flag, err)
				}
				if _, err := time.Parse(time.DateOnly, bound.text); err == nil && bound.flag == "from" {
					at = at.AddDate(0, 0, -1) // a day is taken from its beginning to its end
				}
				*bound.shown, *bound.asked = &at, timestamppb.New(at)
			}
			header.ExportedAt = a.Now().UTC()
			return a.withAPI(func(api *client.Client) error {
				return a.writeFile(file, func(w io.Writer) error {
					n, err := export(cmd.Context(), api.Trail, req, header, format, w)
					if err == nil && file != "" {
						fmt.Fprintf(a.Out, "%d entries in %s\n", n, file)
					}
					return err
				})
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "only what was recorded at this time or later: 2026-01-31, or a time as RFC 3339 has it")
	cmd.Flags().StringVar(&to, "to", "", "only what was recorded before this time")
	cmd.Flags().StringVar(&file, "file", "", "where to write it; otherwise to the standard output")
	cmd.Flags().StringVar(&format, "format", "jsonl", "jsonl or csv")
	must(cmd.MarkFlagFilename("file", "jsonl", "csv"))
	must(cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"jsonl", "csv"}, cobra.ShellCompDirectiveNoFileComp)))
	beforeRun(cmd, func() error {
		if format != "jsonl" && format != "csv" {
			return fmt.Errorf("--format %s: must be jsonl or csv", format)
		}
		return nil
	})
	return cmd
}

// writeFile has a file written whole or not at all; "" is the standard output.
func (a *app) writeFile(name string, write func(io.Writer) error) error {
	if name == "" {
		return write(a.Out)
	}
	temp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	err = write(temp)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}

// rows takes the entries of an export, one after the other.
type rows interface {
	Add(trail.Entry) error
	Close() (trail.Footer, error)
}

// export writes the pages of a list, and checks the chain on the way.
func export(ctx context.Context, findings nthlayerv1.TrailServiceClient, req *nthlayerv1.ListFindingsRequest, header trail.Header, format string, w io.Writer) (int64, error) {
	var out rows
	for {
		page, err := findings.ListFindings(ctx, req)
		if err != nil {
			return 0, err
		}
		if out == nil {
			header.Head = trail.Head{Seq: page.GetHead().GetSeq(), Hash: page.GetHead().GetHash()}
			header.Anchor = trail.Head{Seq: page.GetAnchor().GetSeq(), Hash: page.GetAnchor().GetHash()}
			if f := page.GetFindings(); len(f) > 0 {
				header.Anchor = trail.Head{Seq: f[0].GetSeq() - 1, Hash: f[0].GetPrevHash()}
			}
			if out, err = newRows(w, header, format); err != nil {
				return 0, err
			}
		}
		for _, f := range page.GetFindings() {
			entry, err := api.Entry(f)
			if err != nil {
				return 0, err
			}
			if err := out.Add(entry); err != nil {
				return 0, err
			}
		}
		if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
			footer, err := out.Close()
			return footer.Count, err
		}
	}
}

func newRows(w io.Writer, header trail.Header, format string) (rows, error) {
	if format == "csv" {
		return newCSV(w, header)
	}
	return trail.NewWriter(w, header)
}

// verifyFiles checks exports, and that they join on to each other.
func (a *app) verifyFiles(files []string, kept trail.Head) error {
	pieces := make([]trail.Piece, len(files))
	found := false
	for i, file := range files {
		header, footer, err := checkFile(file, func(e trail.Entry) error {
			if e.Seq == kept.Seq {
				found = true
				if e.Hash != kept.Hash {
					return &trail.BrokenError{Seq: e.Seq, Problem: "it is not the entry whose hash was kept: the trail was written anew"}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		pieces[i] = trail.Piece{Name: file, Header: header, Footer: footer}
		fmt.Fprintf(a.Out, "%s holds: %d entries after %d\n", file, footer.Count, header.Anchor.Seq)
	}
	first, last, err := trail.Join(pieces)
	switch {
	case err != nil:
		return err
	case kept.Seq > 0 && !found:
		return fmt.Errorf("entry %d, whose hash was kept, is in none of the files", kept.Seq)
	}
	fmt.Fprintf(a.Out, "Entries %d to %d: none changed, missing or added.\n", first.Seq+1, last.Seq)
	if first.Seq > 0 {
		fmt.Fprintf(a.Out, "What was before them must end with %d:%s\n", first.Seq, first.Hash)
	}
	fmt.Fprintf(a.Out, "head %d:%s\n", last.Seq, last.Hash)
	return nil
}

// checkFile checks one export, compressed or not.
func checkFile(name string, each func(trail.Entry) error) (trail.Header, trail.Footer, error) {
	file, err := os.Open(name)
	if err != nil {
		return trail.Header{}, trail.Footer{}, err
	}
	defer func() { _ = file.Close() }()
	var content io.Reader = bufio.NewReader(file)
	if strings.HasSuffix(name, ".gz") {
		unzipped, err := gzip.NewReader(content)
		if err != nil {
			return trail.Header{}, trail.Footer{}, fmt.Errorf("it cannot be unpacked: %w", err)
		}
		content = unzipped
	}
	return trail.Check(content, each)
}
