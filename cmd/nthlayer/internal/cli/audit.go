package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/progress"
	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const auditExitCodes = `exits with 0 where the audit succeeded and every team is in sync, with 2 where drift was found,
and with 1 where the audit failed, was canceled or could not read every team.`

func (a *app) audit() *cobra.Command {
	cmd := group("audit", "Compare the whole fleet without changing anything, now or on a schedule",
		a.auditStart(), a.auditList(), a.auditGet(), a.auditWatch(), a.auditCancel(), a.auditReport(), a.auditFinding(), a.auditSchedule())
	cmd.Long = `An audit compares every team of the catalogue with the pager and writes to neither. What it finds wrong is kept as a
finding until it is gone; "audit finding ack" says that somebody knows of one.`
	return cmd
}

func (a *app) auditStart() *cobra.Command {
	req := &nthlayerv1.StartAuditRequest{Scope: &nthlayerv1.AuditScope{}}
	var key string
	var enforce, wait bool
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Audit the fleet now",
		Long: `Ask for an audit of the fleet. The command prints the audit's id as soon as the audit is durable; --wait follows it to
its end. With --enforce each team that is out of sync gets a run; without it nothing is changed anywhere.

With --wait the command ` + auditExitCodes,
		Example: `  nthlayer audit start --wait
  nthlayer audit start --include 'payments-*' --exclude '*-sandbox' --mode full
  nthlayer audit start --wait -o json | jq .counts`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if enforce {
				req.AutoReconcile = audit.Enforce
			}
			return a.withAPI(func(api *client.Client) error {
				id, err := api.StartAudit(cmd.Context(), key, req)
				switch {
				case cmd.Context().Err() != nil && err != nil:
					return errors.New("stopped before the answer came: the audit may have been accepted\n  look with: nthlayer audit list")
				case err != nil:
					return err
				case !a.forPeople() && !wait:
					return output.Encode(a.Out, output.Format(a.format), &nthlayerv1.StartAuditResponse{AuditId: id})
				}
				return a.accepted(cmd.Context(), api, "accepted as audit "+id, id, wait)
			})
		},
	}
	modeFlag(cmd, &req.Mode, "auto")
	scopeFlags(cmd, req.Scope)
	cmd.Flags().BoolVar(&enforce, "enforce", false, "ask for a run of each team that is out of sync")
	acceptShrunkenFlag(cmd, &req.AcceptShrunkenSource)
	cmd.Flags().BoolVar(&wait, "wait", false, "follow the audit to its end")
	cmd.Flags().StringVar(&key, "idempotency-key", "", "name of this request (default: a new one)")
	a.outputFlag(cmd)
	return cmd
}

// accepted says which audit it is, at once and beside what scripts read: whoever loses the rest can still find it.
func (a *app) accepted(ctx context.Context, api *client.Client, what, id string, wait bool) error {
	said := a.Out
	if !a.forPeople() {
		said = a.Err
	}
	fmt.Fprintln(said, what)
	if wait {
		return a.followAudit(ctx, api, id)
	}
	fmt.Fprintln(a.Out, output.Faint("follow it with: nthlayer audit watch "+id))
	return nil
}

func modeFlag(cmd *cobra.Command, mode *string, usual string) {
	cmd.Flags().StringVar(mode, "mode", usual, "auto, full (read every team) or incremental (read those that changed)")
	must(cmd.RegisterFlagCompletionFunc("mode",
		cobra.FixedCompletions([]string{audit.Auto, audit.Full, audit.Incremental}, cobra.ShellCompDirectiveNoFileComp)))
}

func scopeFlags(cmd *cobra.Command, scope *nthlayerv1.AuditScope) {
	cmd.Flags().StringSliceVar(&scope.Include, "include", nil, "only teams that match one of these `patterns` (* and ?)")
	cmd.Flags().StringSliceVar(&scope.Exclude, "exclude", nil, "no team that matches one of these `patterns`")
}

func acceptShrunkenFlag(cmd *cobra.Command, accept *bool) {
	cmd.Flags().BoolVar(accept, "accept-shrunken-source", false, "trust the catalogue although it declares far less than before")
}

func (a *app) auditList() *cobra.Command {
	req := &nthlayerv1.ListAuditsRequest{}
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List audits, newest first",
		Example: `  nthlayer audit list --schedule nightly
  nthlayer audit list --status incomplete -o yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				audits, next, err := connection.List(limit, func(size int32, token string) (*nthlayerv1.ListAuditsResponse, error) {
					req.PageSize, req.PageToken = size, token
					return api.Audits.ListAudits(cmd.Context(), req)
				}, (*nthlayerv1.ListAuditsResponse).GetAudits)
				if err != nil {
					return err
				}
				a.sayMore(len(audits), next)
				switch {
				case !a.forPeople():
					return output.Encode(a.Out, output.Format(a.format), &nthlayerv1.ListAuditsResponse{Audits: audits, NextPageToken: next})
				case len(audits) == 0 && anyOf(cmd, "schedule", "status"):
					return output.ShowNoMatch(a.Out, "audit")
				default:
					return output.ShowAudits(a.Out, a.Now(), audits)
				}
			})
		},
	}
	a.scheduleFlag(cmd, &req.ScheduleId, "only audits of this schedule")
	cmd.Flags().StringVar(&req.Status, "status", "", "only audits that are queued, running, succeeded, incomplete, failed or canceled")
	limitFlag(cmd, &limit, 50)
	must(cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(
		[]string{audit.Queued, audit.Running, audit.Succeeded, audit.Incomplete, audit.Failed, audit.Canceled}, cobra.ShellCompDirectiveNoFileComp)))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) auditGet() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "get AUDIT",
		Short:             "Show an audit: how far it is, or what came out",
		Example:           "  nthlayer audit get 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e",
		Args:              one("the audit's id"),
		ValidArgsFunction: a.completeAudits,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				found, err := api.Audits.GetAudit(cmd.Context(), &nthlayerv1.GetAuditRequest{AuditId: args[0]})
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), found)
				}
				return output.ShowAudit(a.Out, a.Now(), found)
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) auditWatch() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "watch AUDIT",
		Short:             "Follow an audit to its end",
		Long:              "Follow an audit to its end. The command " + auditExitCodes,
		Args:              one("the audit's id"),
		ValidArgsFunction: a.completeAudits,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error { return a.followAudit(cmd.Context(), api, args[0]) })
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) auditCancel() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "cancel AUDIT",
		Short:             "End an audit before it is done",
		Long:              "End an audit before it is done. What was compared until then stays. It is no error to ask twice.",
		Example:           "  nthlayer audit cancel 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e",
		Args:              one("the audit's id"),
		ValidArgsFunction: a.completeAudits,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				canceled, err := api.Audits.CancelAudit(cmd.Context(), &nthlayerv1.CancelAuditRequest{AuditId: args[0]})
				if err != nil {
					return err
				}
				switch {
				case !a.forPeople():
					return output.Encode(a.Out, output.Format(a.format), canceled)
				case client.AuditEnded(canceled.GetStatus()):
					return output.ShowAuditOutcome(a.Out, canceled)
				}
				fmt.Fprintf(a.Out, "asked for the end of audit %s\n%s\n", args[0], output.Faint("see it end with: nthlayer audit watch "+args[0]))
				return nil
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

// followAudit shows an audit while it happens and what came out. Scripts get the ended audit alone. To stop following does
// not stop the audit.
func (a *app) followAudit(ctx context.Context, api *client.Client, id string) error {
	ended, err := a.auditToTheEnd(ctx, api, id)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("no longer following audit %s, which goes on by itself\n  follow it again with: nthlayer audit watch %s\n  end it with: nthlayer audit cancel %s",
			id, id, id)
	case err != nil:
		return err
	case a.forPeople():
		fmt.Fprintln(a.Out)
		if err = output.ShowAuditOutcome(a.Out, ended); err == nil {
			fmt.Fprintf(a.Out, "\n%s\n", output.Faint("the whole report: nthlayer audit report "+id))
		}
	default:
		err = output.Encode(a.Out, output.Format(a.format), ended)
	}
	switch {
	case err != nil:
		return err
	case ended.GetStatus() != audit.Succeeded:
		return fmt.Errorf("audit %s ended as %s", id, output.Line(ended.GetStatus())) // why was shown
	case drifted(ended):
		return errDrift
	default:
		return nil
	}
}

func (a *app) auditToTheEnd(ctx context.Context, api *client.Client, id string) (ended *nthlayerv1.Audit, err error) {
	audits := api.WatchAudit(ctx, id)
	if a.forPeople() {
		return progress.ShowAudit(ctx, a.Out, a.Width, audits)
	}
	for ended, err = range audits {
		if err != nil {
			return nil, err
		}
	}
	return ended, nil
}

// drifted reports that the target is not as the source declares it, also where somebody knows of it.
func drifted(a *nthlayerv1.Audit) bool {
	return a.GetCounts().GetOutOfSync() > 0 || slices.ContainsFunc(a.GetKinds(), func(k *nthlayerv1.AuditKindCount) bool {
		return k.GetOpen() > 0 && audit.CategoryOf(k.GetKind()) == audit.Drift
	})
}

// completeAudits offers the newest audits.
func (a *app) completeAudits(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []cobra.Completion
	err := a.withAPI(func(api *client.Client) error {
		resp, err := api.Audits.ListAudits(cmd.Context(), &nthlayerv1.ListAuditsRequest{PageSize: 50})
		for _, one := range resp.GetAudits() {
			found = append(found, cobra.CompletionWithDesc(one.GetAuditId(), output.Line(one.GetStatus()+" "+one.GetScheduleId())))
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}
