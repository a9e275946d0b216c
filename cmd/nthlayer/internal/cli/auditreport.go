package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/auditreport"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/report"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const trendAudits = 30 // of a report's trend, with the one that it is of

// reportFormats writes a report in each format, by the word of -o.
var reportFormats = map[string]func(io.Writer, report.Report) error{
	"table":    report.Text,
	"json":     reportJSON,
	"csv":      func(w io.Writer, r report.Report) error { return report.CSV(w, r.Findings) },
	"markdown": report.Markdown,
	"html":     report.HTML,
}

func reportFormatNames() []string { return []string{"table", "json", "csv", "markdown", "html"} }

func reportJSON(w io.Writer, r report.Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		Audit    notice.AuditFinished `json:"audit"`
		Findings []notice.AuditItem   `json:"findings"`
	}{r.Audit, append([]notice.AuditItem{}, r.Findings...)})
}

func (a *app) auditReport() *cobra.Command {
	var schedule, file string
	cmd := &cobra.Command{
		Use:   "report [AUDIT]",
		Short: "Write the report of an audit that has ended",
		Long: `Write the report of an audit that has ended: what came out, how that compares with the audits before, and every finding
that stood at its end. Without AUDIT it is the newest one that came to its end; with --schedule, the newest of that schedule.

csv has the findings alone. What was resolved since the audit ended says so there and in json.`,
		Example: `  nthlayer audit report
  nthlayer audit report --schedule nightly --file report.html
  nthlayer audit report -o csv | mlr --icsv --opprint count -f kind`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeAudits,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && schedule != "" {
				return errors.New("say which: an audit's id, or --schedule")
			}
			if file != "" && !cmd.Flags().Changed("output") {
				a.format = formatOf(file)
			}
			return a.withAPI(func(api *client.Client) error {
				made, err := makeReport(cmd.Context(), api, schedule, slices.Concat(args, []string{""})[0])
				if err != nil {
					return err
				}
				var b bytes.Buffer
				if err := reportFormats[a.format](&b, made); err != nil {
					return err
				}
				if file == "" {
					_, err = b.WriteTo(a.Out)
					return err
				}
				if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
					return fmt.Errorf("write the report: %w", err)
				}
				fmt.Fprintf(a.Err, "the report of audit %s is in %s\n", made.Audit.AuditID, file)
				return nil
			})
		},
	}
	a.scheduleFlag(cmd, &schedule, "the newest audit of this schedule")
	cmd.Flags().StringVar(&file, "file", "", "write to this `file`; without -o its ending says the format")
	must(cmd.MarkFlagFilename("file", "txt", "json", "csv", "md", "html"))
	a.formatFlag(cmd, reportFormatNames())
	return cmd
}

// formatOf is the format of a file by its ending.
func formatOf(file string) string {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".json":
		return "json"
	case ".csv":
		return "csv"
	case ".md", ".markdown":
		return "markdown"
	case ".html", ".htm":
		return "html"
	default:
		return "table"
	}
}

// makeReport reads what a report is made of: an audit (empty id: the newest that counts), those before it, and findings.
func makeReport(ctx context.Context, api *client.Client, schedule, id string) (report.Report, error) {
	var of *nthlayerv1.Audit
	if id != "" {
		var err error
		if of, err = api.Audits.GetAudit(ctx, &nthlayerv1.GetAuditRequest{AuditId: id}); err != nil {
			return report.Report{}, err
		}
		if !client.AuditEnded(of.GetStatus()) {
			return report.Report{}, fmt.Errorf("audit %s has not ended\n  follow it with: nthlayer audit watch %s", output.Line(id), output.Line(id))
		}
		schedule = of.GetScheduleId()
	}
	of, before, err := history(ctx, api, schedule, of)
	if err != nil {
		return report.Report{}, err
	}
	if of == nil {
		return report.Report{}, errors.New("there is no audit yet that came to its end\n  start one with: nthlayer audit start --wait")
	}
	var findings []*nthlayerv1.AuditFinding
	for f, err := range api.ListAuditFindings(ctx, &nthlayerv1.ListAuditFindingsRequest{PageSize: 1000}) {
		if err != nil {
			return report.Report{}, err
		}
		findings = append(findings, f)
	}
	return auditreport.Make(of, before, findings), nil
}

// history gives the audits before one with the same schedule, or none, the newest first. Where of is nil it is the newest
// of the schedule or, without one, of all.
func history(ctx context.Context, api *client.Client, schedule string, of *nthlayerv1.Audit) (newest *nthlayerv1.Audit, before []*nthlayerv1.Audit, err error) {
	for one, err := range api.ListAudits(ctx, &nthlayerv1.ListAuditsRequest{ScheduleId: schedule, PageSize: 200}) {
		switch {
		case err != nil:
			return nil, nil, err
		case !auditreport.Counts(one):
		case of == nil:
			of = one
		case one.GetScheduleId() == of.GetScheduleId() && one.GetCreatedAt().AsTime().Before(of.GetCreatedAt().AsTime()):
			before = append(before, one)
		}
		if len(before) == trendAudits-1 {
			break
		}
	}
	return of, before, nil
}
