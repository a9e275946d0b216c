package cli

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/trailcheck"
	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/report"
	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) trailExport() *cobra.Command {
	req := &nthlayerv1.ListFindingsRequest{PageSize: 1000}
	var from, to, format, file string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the trail of a period to a file that proves itself",
		Long: `Write the trail of a period as JSON Lines, which ` + "`nthlayer trail verify --file`" + ` proves without a server, or as CSV for
people and spreadsheets.

The period is the stretch of the trail from its first to its last entry: runs record side by side, so a few entries in it may
be from just before or after it. With a filter, entries are left out, and the file cannot prove anything.
A file whose name ends in .gz is compressed.`,
		Example: `  nthlayer trail export --from 2026-03-01 --to 2026-03-31 -o march.jsonl
  nthlayer trail export --team sig-storage --format csv -o storage.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format == "" {
				format = "jsonl"
				if strings.HasSuffix(strings.TrimSuffix(file, ".gz"), ".csv") {
					format = "csv"
				}
			}
			if format != "jsonl" && format != "csv" {
				return fmt.Errorf("--format %q: must be jsonl or csv", format)
			}
			if err := period(req, from, to); err != nil {
				return err
			}
			return a.withAPI(func(api *client.Client) error {
				return toFile(a.Out, file, func(w io.Writer) error { return a.export(cmd.Context(), api.Trail, req, format, w) })
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "from this `TIME` or day on (default: from the beginning)")
	f.StringVar(&to, "to", "", "up to this `TIME`, or to the end of this day (default: up to now)")
	f.StringVar(&req.TeamId, "team", "", "only findings of this team")
	f.StringVar(&req.JobId, "job", "", "only findings of this run")
	f.StringVar(&req.Outcome, "outcome", "", "only findings with this outcome")
	f.StringVar(&format, "format", "", "jsonl or csv (default: as --out ends, or jsonl)")
	f.StringVarP(&file, "out", "o", "", "write to this `FILE`, whole or not at all (default: to the output)")
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	must(cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"jsonl", "csv"}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// period reads the bounds into a request. A day begins at its beginning and ends at its end.
func period(req *nthlayerv1.ListFindingsRequest, from, to string) error {
	if from != "" {
		at, err := time.ParseInLocation(time.DateOnly, from, time.Local)
		if err != nil {
			if at, err = parseTime(from); err != nil {
				return fmt.Errorf("--from: %w", err)
			}
		}
		req.RecordedFrom = timestamppb.New(at)
	}
	if to != "" {
		at, err := parseTime(to)
		if err != nil {
			return fmt.Errorf("--to: %w", err)
		}
		req.RecordedTo = timestamppb.New(at)
	}
	if from != "" && to != "" && !req.GetRecordedFrom().AsTime().Before(req.GetRecordedTo().AsTime()) {
		return errors.New("--to must be later than --from")
	}
	return nil
}

// entries writes entries one after another.
type entries interface {
	Add(trail.Entry) error
	Close() error
}

// export reads page by page and keeps none.
func (a *app) export(ctx context.Context, service nthlayerv1.TrailServiceClient, req *nthlayerv1.ListFindingsRequest, format string, w io.Writer) error {
	var out entries
	var head, last trail.Head
	for n := 0; ; {
		page, err := service.ListFindings(ctx, req)
		if err != nil {
			return err
		}
		if out == nil { // what is recorded while we read is not part of the export
			head = trail.Head{Seq: page.GetHead().GetSeq(), Hash: page.GetHead().GetHash()}
			h := a.header(req, head)
			if page.GetPartial() {
				h.Filters = map[string]string{"teams": "visible"}
				fmt.Fprintln(a.Err, "You do not see the findings of every team: the export cannot prove anything.")
			}
			out = newEntries(w, format, h)
			if first := page.GetFindings(); page.GetAnchor().GetSeq() > 0 && (len(first) == 0 || first[0].GetSeq() == page.GetAnchor().GetSeq()+1) {
				fmt.Fprintf(a.Err, "Entries up to %d were moved to archives, which `nthlayer trail archives` lists.\n", page.GetAnchor().GetSeq())
			}
		} else if last.Seq < page.GetAnchor().GetSeq() {
			return trailcheck.ErrMoved
		}
		token := page.GetNextPageToken()
		for _, shown := range page.GetFindings() {
			if shown.GetSeq() > head.Seq {
				token = ""
				break
			}
			entry, err := api.Entry(shown)
			if err == nil {
				err = out.Add(entry)
			}
			if err != nil {
				return err
			}
			n, last = n+1, trail.Head{Seq: entry.Seq, Hash: entry.Hash}
		}
		if token == "" {
			if n == 0 {
				return errors.New("nothing was recorded that fits: there is nothing to export")
			}
			fmt.Fprintf(a.Err, "%d entries, the last is %d:%s\n", n, last.Seq, last.Hash)
			return out.Close()
		}
		req.PageToken = token
	}
}

func (a *app) header(req *nthlayerv1.ListFindingsRequest, head trail.Head) trail.Header {
	h := trail.Header{Head: head, ExportedAt: a.Now()}
	for _, bound := range []struct {
		at   *timestamppb.Timestamp
		into **time.Time
	}{{req.GetRecordedFrom(), &h.From}, {req.GetRecordedTo(), &h.To}} {
		if bound.at != nil {
			at := bound.at.AsTime()
			*bound.into = &at
		}
	}
	for name, value := range map[string]string{"team_id": req.GetTeamId(), "job_id": req.GetJobId(), "outcome": req.GetOutcome()} {
		if value != "" {
			if h.Filters == nil {
				h.Filters = map[string]string{}
			}
			h.Filters[name] = value
		}
	}
	return h
}

func newEntries(w io.Writer, format string, h trail.Header) entries {
	if format == "csv" {
		out := csv.NewWriter(w)
		out.UseCRLF = true
		_ = out.Write(trail.CSVTitles()) // Close gives the error
		return &csvEntries{out: out, check: trail.NewExporter(io.Discard, h)}
	}
	return trail.NewExporter(w, h)
}

// csvEntries writes a table. It checks as an exporter does.
type csvEntries struct {
	out   *csv.Writer
	check *trail.Exporter
}

func (c *csvEntries) Add(e trail.Entry) error {
	if err := c.check.Add(e); err != nil {
		return err
	}
	cells := trail.CSVCells(e)
	for i := range cells[:len(cells)-1] { // the sealed content begins with a brace, and stays as it is
		cells[i] = report.Harmless(cells[i])
	}
	return c.out.Write(cells)
}

func (c *csvEntries) Close() error {
	c.out.Flush()
	return c.out.Error()
}

// toFile writes a file whole or not at all: beside its place first. Without a name it writes to out.
func toFile(out io.Writer, name string, write func(io.Writer) error) (err error) {
	if name == "" {
		return write(out)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if strings.HasSuffix(name, ".gz") {
		z := gzip.NewWriter(f)
		err = cmp.Or(write(z), z.Close())
	} else {
		err = write(f)
	}
	if err == nil {
		err = errors.Join(f.Chmod(0o644), f.Sync(), f.Close())
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
