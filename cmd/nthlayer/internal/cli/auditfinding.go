package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) auditFinding() *cobra.Command {
	cmd := group("finding", "Show what audits found wrong, and say that somebody knows of it",
		a.findingList(), a.findingShow(), a.findingAck(), a.findingReopen())
	cmd.Aliases = []string{"findings"}
	return cmd
}

func (a *app) findingList() *cobra.Command {
	req := &nthlayerv1.ListAuditFindingsRequest{}
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List findings, newest first",
		Example: `  nthlayer audit finding list
  nthlayer audit finding list --team sig-storage --status ""     those that are known or gone too
  nthlayer audit finding list --kind user_not_found --limit 0 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				findings, next, err := connection.List(limit, func(size int32, token string) (*nthlayerv1.ListAuditFindingsResponse, error) {
					req.PageSize, req.PageToken = size, token
					return api.Audits.ListAuditFindings(cmd.Context(), req)
				}, (*nthlayerv1.ListAuditFindingsResponse).GetFindings)
				if err != nil {
					return err
				}
				a.sayMore(len(findings), next)
				switch {
				case !a.forPeople():
					return output.Encode(a.Out, output.Format(a.format), &nthlayerv1.ListAuditFindingsResponse{Findings: findings, NextPageToken: next})
				case len(findings) == 0 && anyOf(cmd, "status", "kind", "team", "audit"):
					return output.ShowNoMatch(a.Out, "finding")
				default:
					return output.ShowAuditFindings(a.Out, a.Now(), findings)
				}
			})
		},
	}
	cmd.Flags().StringVar(&req.Status, "status", "open", "only findings that are open, acknowledged or resolved")
	cmd.Flags().StringVar(&req.Kind, "kind", "", "only findings of this kind")
	cmd.Flags().StringVar(&req.TeamId, "team", "", "only findings of this team")
	cmd.Flags().StringVar(&req.AuditId, "audit", "", "only findings that this audit was the last to see")
	limitFlag(cmd, &limit, 50)
	must(cmd.RegisterFlagCompletionFunc("status",
		cobra.FixedCompletions([]string{"open", "acknowledged", "resolved"}, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(findingKinds(), cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	must(cmd.RegisterFlagCompletionFunc("audit", a.completeAudits))
	a.outputFlag(cmd)
	return cmd
}

// findingKinds are all kinds of finding.
func findingKinds() []cobra.Completion {
	kinds := []cobra.Completion{audit.OrphanTeam, audit.SinglePersonTeam, audit.SharedTarget, audit.VanishedTeam}
	for _, c := range []ownership.Kind{
		ownership.AddMember, ownership.ChangeRole, ownership.RemoveMember, ownership.CreateTeam, ownership.UpdateTeam,
	} {
		kinds = append(kinds, string(c))
	}
	for _, i := range []ownership.IssueKind{
		ownership.MissingEmail, ownership.UserNotFound, ownership.AmbiguousUser, ownership.CannotJoin, ownership.FixedRole,
		ownership.OnEscalationPolicy, ownership.RemovalHeld, ownership.ArchivedTeam, ownership.TeamNotFound, ownership.AmbiguousTeam,
		ownership.LinkedElsewhere,
	} {
		kinds = append(kinds, string(i))
	}
	return kinds
}

func (a *app) findingShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "show FINDING",
		Aliases:           []string{"get"},
		Short:             "Show a finding: what is wrong, since when, and who made it so",
		Example:           "  nthlayer audit finding show 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e",
		Args:              one("the finding's id"),
		ValidArgsFunction: a.completeFindings("open", "acknowledged"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				found, err := api.Audits.GetAuditFinding(cmd.Context(), &nthlayerv1.GetAuditFindingRequest{FindingId: args[0]})
				if err != nil {
					return err
				}
				return a.showFinding(found)
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) findingAck() *cobra.Command {
	req := &nthlayerv1.AcknowledgeAuditFindingRequest{}
	var within time.Duration
	var until string
	cmd := &cobra.Command{
		Use:     "ack FINDING",
		Aliases: []string{"acknowledge"},
		Short:   "Say that somebody knows of a finding and why it stays",
		Long: `Say that somebody knows of a finding and why it stays, for a year at most. Then it is open again. The team stays out of
sync. A new acknowledgement replaces the one there is.`,
		Example: `  nthlayer audit finding ack 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e --reason "leaves in June" --for 30d
  nthlayer audit finding ack 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e --reason "leaves in June" --until 2026-06-30`,
		Args:              one("the finding's id"),
		ValidArgsFunction: a.completeFindings("open"),
		RunE: func(cmd *cobra.Command, args []string) error {
			end := a.Now().Add(within)
			if until != "" {
				var err error
				if end, err = parseTime(until); err != nil {
					return fmt.Errorf("--until: %w", err)
				}
			}
			req.FindingId, req.Until = args[0], timestamppb.New(end)
			return a.withAPI(func(api *client.Client) error {
				known, err := api.Audits.AcknowledgeAuditFinding(cmd.Context(), req)
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), known)
				}
				fmt.Fprintf(a.Out, "known until %s: %s\n%s\n", known.GetAcknowledgedUntil().AsTime().Local().Format(time.DateTime), output.Line(known.GetMessage()),
					output.Faint("take it back with: nthlayer audit finding reopen "+args[0]))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why it stays, for those who find it later (required)")
	spanFlag(cmd, &within, "for", "how long, such as 30d or 2w")
	cmd.Flags().StringVar(&until, "until", "", "until when: a `day` with its end, or a time")
	must(cmd.MarkFlagRequired("reason"))
	cmd.MarkFlagsOneRequired("for", "until")
	cmd.MarkFlagsMutuallyExclusive("for", "until")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) findingReopen() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "reopen FINDING",
		Short:             "Take an acknowledgement back",
		Long:              "Take an acknowledgement back. It is no error where there is none.",
		Example:           "  nthlayer audit finding reopen 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e",
		Args:              one("the finding's id"),
		ValidArgsFunction: a.completeFindings("acknowledged"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				found, err := api.Audits.ReopenAuditFinding(cmd.Context(), &nthlayerv1.ReopenAuditFindingRequest{FindingId: args[0]})
				if err != nil {
					return err
				}
				return a.showFinding(found)
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) showFinding(f *nthlayerv1.AuditFinding) error {
	if !a.forPeople() {
		return output.Encode(a.Out, output.Format(a.format), f)
	}
	return output.ShowAuditFinding(a.Out, a.Now(), f)
}

// completeFindings offers the newest findings with one of the statuses.
func (a *app) completeFindings(statuses ...string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var found []cobra.Completion
		err := a.withAPI(func(api *client.Client) error {
			for _, status := range statuses {
				resp, err := api.Audits.ListAuditFindings(cmd.Context(), &nthlayerv1.ListAuditFindingsRequest{PageSize: 100, Status: status})
				if err != nil {
					return err
				}
				for _, f := range resp.GetFindings() {
					found = append(found, cobra.CompletionWithDesc(f.GetFindingId(), output.Line(f.GetTeamId()+": "+f.GetMessage())))
				}
			}
			return nil
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}
