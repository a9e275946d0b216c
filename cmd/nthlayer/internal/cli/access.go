package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) access() *cobra.Command {
	return group("access", "Who may do what: check, list, give and take roles",
		a.accessCheck(), a.accessList(), a.accessGrant(), a.accessRevoke(),
		group("role", "Roles and their actions", a.accessRoleList(), a.accessRoleSet(), a.accessRoleDelete()),
		group("identity", "Whose e-mail address is whose: for Slack, and for the managers of teams",
			a.accessIdentityList(), a.accessIdentityLink(), a.accessIdentityUnlink()))
}

func (a *app) accessCheck() *cobra.Command {
	req := &nthlayerv1.CheckAccessRequest{}
	cmd := &cobra.Command{
		Use:   "check ACTION",
		Short: "Say whether somebody may take an action, and why",
		Long: `Say whether you may take an action, and why. With --subject, whether somebody else may: by what is bound to them here, for
what their token grants is not known.

Exit code 0: yes. 2: no. 1: an error.`,
		Example: `  nthlayer access check teams.reconcile --team sig-storage
  nthlayer access check runs.approve --subject bob`,
		Args: one("the action, such as teams.reconcile"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Action = args[0]
			return a.withAPI(func(api *client.Client) error {
				answer, err := api.Access.CheckAccess(cmd.Context(), req)
				if err != nil {
					return err
				}
				if a.forPeople() {
					err = output.ShowAccess(a.Out, answer)
				} else {
					err = output.Encode(a.Out, output.Format(a.format), answer)
				}
				if err == nil && !answer.GetAllowed() {
					return errDrift
				}
				return err
			})
		},
	}
	cmd.Flags().StringVar(&req.TeamId, "team", "", "on this team; otherwise on everything")
	cmd.Flags().StringVar(&req.Subject, "subject", "", "somebody else: the subject of their token")
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) accessList() *cobra.Command {
	req := &nthlayerv1.ListGrantsRequest{}
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the roles that were given, newest first",
		Example: `  nthlayer access list
  nthlayer access list --subject bob --ended`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				grants, next, err := connection.List(limit, func(size int32, token string) (*nthlayerv1.ListGrantsResponse, error) {
					req.PageSize, req.PageToken = size, token
					return api.Access.ListGrants(cmd.Context(), req)
				}, (*nthlayerv1.ListGrantsResponse).GetGrants)
				if err != nil {
					return err
				}
				a.sayMore(len(grants), next)
				switch {
				case !a.forPeople():
					return output.Encode(a.Out, output.Format(a.format), &nthlayerv1.ListGrantsResponse{Grants: grants, NextPageToken: next})
				case len(grants) == 0 && anyOf(cmd, "team", "subject"):
					return output.ShowNoMatch(a.Out, "grant")
				default:
					return output.ShowGrants(a.Out, a.Now(), grants)
				}
			})
		},
	}
	cmd.Flags().StringVar(&req.TeamId, "team", "", "only those on this team")
	cmd.Flags().StringVar(&req.Subject, "subject", "", "only those of this principal")
	cmd.Flags().BoolVar(&req.Ended, "ended", false, "also those that were revoked or have expired")
	limitFlag(cmd, &limit, 50)
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) accessGrant() *cobra.Command {
	req := &nthlayerv1.GrantRoleRequest{}
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "grant SUBJECT ROLE",
		Short: "Give somebody a role, on everything or on one team",
		Long: `Give somebody a role: viewer, operator, approver, admin, a role of the company's own, or a single action. It counts on
everything, or with --team on one team, on top of what their token grants. Nobody gives what they do not hold themselves.`,
		Example: `  nthlayer access grant bob approver --reason "SRE lead"
  nthlayer access grant ann operator --team sig-storage --for 2w --reason "stands in for dan"`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Subject, req.Role = args[0], args[1]
			if within > 0 {
				req.ExpiresAt = timestamppb.New(a.Now().Add(within))
			}
			return a.withAPI(func(api *client.Client) error {
				grant, err := api.Access.GrantRole(cmd.Context(), req)
				if err != nil {
					return err
				}
				return a.showGrant(grant, "granted")
			})
		},
	}
	cmd.Flags().StringVar(&req.TeamId, "team", "", "on this team alone")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for those who look at it later (required)")
	spanFlag(cmd, &within, "for", "how long, such as 2w; otherwise until it is revoked")
	must(cmd.MarkFlagRequired("reason"))
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) accessRevoke() *cobra.Command {
	req := &nthlayerv1.RevokeRoleRequest{}
	cmd := &cobra.Command{
		Use:     "revoke SUBJECT ROLE",
		Short:   "Take a role back; it counts no more at once",
		Example: "  nthlayer access revoke ann operator --team sig-storage",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Subject, req.Role = args[0], args[1]
			return a.withAPI(func(api *client.Client) error {
				grant, err := api.Access.RevokeRole(cmd.Context(), req)
				if err != nil {
					return err
				}
				return a.showGrant(grant, "revoked")
			})
		},
	}
	cmd.Flags().StringVar(&req.TeamId, "team", "", "the role on this team; otherwise the one on everything")
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) showGrant(g *nthlayerv1.Grant, what string) error {
	if !a.forPeople() {
		return output.Encode(a.Out, output.Format(a.format), g)
	}
	return output.ShowGrant(a.Out, g, what)
}

func (a *app) accessRoleList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the roles with their actions",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				answer, err := api.Access.ListRoles(cmd.Context(), &nthlayerv1.ListRolesRequest{})
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), answer)
				}
				return output.ShowRoles(a.Out, answer.GetRoles())
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) accessRoleSet() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "set ROLE ACTION…",
		Short:   "Make or change a role of the company's own",
		Example: "  nthlayer access role set sync teams.get teams.plan teams.reconcile runs.get runs.watch",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				role, err := api.Access.SetRole(cmd.Context(), &nthlayerv1.SetRoleRequest{Role: args[0], Actions: args[1:]})
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), role)
				}
				return output.ShowRoles(a.Out, []*nthlayerv1.Role{role})
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) accessRoleDelete() *cobra.Command {
	return &cobra.Command{
		Use:   "delete ROLE",
		Short: "Remove a role of the company's own that nobody holds",
		Args:  one("the role"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				if _, err := api.Access.DeleteRole(cmd.Context(), &nthlayerv1.DeleteRoleRequest{Role: args[0]}); err != nil {
					return err
				}
				fmt.Fprintf(a.Out, "role %s is gone\n", args[0])
				return nil
			})
		},
	}
}

func (a *app) accessIdentityList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List whose e-mail address is whose",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				answer, err := api.Access.ListIdentities(cmd.Context(), &nthlayerv1.ListIdentitiesRequest{})
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), answer)
				}
				return output.ShowIdentities(a.Out, a.Now(), answer.GetIdentities())
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) accessIdentityLink() *cobra.Command {
	return &cobra.Command{
		Use:   "link EMAIL SUBJECT",
		Short: "Say that an e-mail address is a principal's",
		Long: `Say that an e-mail address is a principal's: by it they are known in Slack, where they approve plans, and as the manager of the
teams that the source declares them to manage. One person is one principal, however they come in.`,
		Example: "  nthlayer access identity link bob@example.org 5f0c7a2e-7f1b-4c59-9a53-0f6b5a6f0b11",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				linked, err := api.Access.LinkIdentity(cmd.Context(), &nthlayerv1.LinkIdentityRequest{Email: args[0], Subject: args[1]})
				if err != nil {
					return err
				}
				fmt.Fprintf(a.Out, "%s is %s\n", linked.GetEmail(), linked.GetSubject())
				return nil
			})
		},
	}
}

func (a *app) accessIdentityUnlink() *cobra.Command {
	return &cobra.Command{
		Use:   "unlink EMAIL",
		Short: "Take that back",
		Args:  one("the e-mail address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				if _, err := api.Access.UnlinkIdentity(cmd.Context(), &nthlayerv1.UnlinkIdentityRequest{Email: args[0]}); err != nil {
					return err
				}
				fmt.Fprintf(a.Out, "%s is linked to nobody\n", args[0])
				return nil
			})
		},
	}
}
