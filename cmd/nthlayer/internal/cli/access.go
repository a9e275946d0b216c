package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) access() *cobra.Command {
	cmd := group("access", "Show who may do what, and give and take roles",
		a.accessCheck(), a.accessList(), a.accessGrant(), a.accessRevoke(),
		group("role", "The roles, and those of your own", a.roleList(), a.roleSet(), a.roleDelete()),
		group("identity", "Whose e-mail address is whose", a.identityList(), a.identityLink(), a.identityUnlink()))
	cmd.Long = `What somebody may do comes from their token and from the roles that they were given here, everywhere or on one team.
The managers of a team, as the source declares them, may have it synced. Everything else is refused.`
	return cmd
}

func (a *app) accessCheck() *cobra.Command {
	req := &nthlayerv1.CheckAccessRequest{}
	cmd := &cobra.Command{
		Use:   "check ACTION",
		Short: "Say whether somebody may do something, and why",
		Long: `Say whether somebody may do something, and why. Everybody may ask about themselves. For --subject, which is for admins,
what was given here counts, and not what their token grants: nobody has seen it. The exit code is 2 where they may not.`,
		Example: `  nthlayer access check teams.reconcile --team payments
  nthlayer access check runs.approve --subject ann`,
		Args: one("an action"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Action = args[0]
			return a.withAPI(func(api *client.Client) error {
				answer, err := api.Access.CheckAccess(cmd.Context(), req)
				if err != nil {
					return err
				}
				if a.forPeople() {
					err = output.ShowAccessCheck(a.Out, answer)
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
	cmd.Flags().StringVar(&req.TeamId, "team", "", "on this team (default: on everything)")
	cmd.Flags().StringVar(&req.Subject, "subject", "", "who, by the subject of their token (default: yourself)")
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
		Example: `  nthlayer access list --team payments
  nthlayer access list --subject ann --all    also what was revoked or has expired`,
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
	cmd.Flags().StringVar(&req.Subject, "subject", "", "only roles of this principal")
	cmd.Flags().StringVar(&req.TeamId, "team", "", "only roles on this team")
	cmd.Flags().BoolVar(&req.Ended, "all", false, "also roles that were revoked or have expired")
	limitFlag(cmd, &limit, 50)
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) accessGrant() *cobra.Command {
	req := &nthlayerv1.GrantRoleRequest{}
	var within time.Duration
	var until string
	cmd := &cobra.Command{
		Use:   "grant SUBJECT ROLE",
		Short: "Give somebody a role, everywhere or on one team",
		Long: `Give somebody a role, everywhere or on one team. ROLE is viewer, operator, approver, admin, one of your own, or a single
action such as teams.reconcile. SUBJECT is the subject of their token. What is given already stays as it is; with another end it is
replaced. Nobody gives what they do not hold everywhere themselves.`,
		Example: `  nthlayer access grant ann operator --team payments --reason "on call for payments"
  nthlayer access grant ci teams.reconcile --reason "deploy pipeline" --until 2026-12-31`,
		Args:              two("a subject and a role"),
		ValidArgsFunction: completeSecond(roleNames()),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Subject, req.Role = args[0], args[1]
			switch {
			case until != "":
				end, err := parseTime(until)
				if err != nil {
					return fmt.Errorf("--until: %w", err)
				}
				req.ExpiresAt = timestamppb.New(end)
			case within != 0:
				req.ExpiresAt = timestamppb.New(a.Now().Add(within))
			}
			return a.withAPI(func(api *client.Client) error {
				grant, err := api.Access.GrantRole(cmd.Context(), req)
				if err != nil {
					return err
				}
				return a.showGrant(grant)
			})
		},
	}
	a.onTeam(cmd, &req.TeamId, "only on this team (default: everywhere)")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for those who look at it later (required)")
	spanFlag(cmd, &within, "for", "how long, such as 12h or 30d (default: until it is revoked)")
	cmd.Flags().StringVar(&until, "until", "", "until when: a `day` with its end, or a time")
	must(cmd.MarkFlagRequired("reason"))
	cmd.MarkFlagsMutuallyExclusive("for", "until")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) accessRevoke() *cobra.Command {
	req := &nthlayerv1.RevokeRoleRequest{}
	cmd := &cobra.Command{
		Use:   "revoke SUBJECT ROLE",
		Short: "Take a role back",
		Long: `Take a role back that was given everywhere or, with --team, on one team. It counts no more at once, and stays in the list
as revoked. What a token grants is taken back at its issuer.`,
		Example:           "  nthlayer access revoke ann operator --team payments",
		Args:              two("a subject and a role"),
		ValidArgsFunction: completeSecond(roleNames()),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Subject, req.Role = args[0], args[1]
			return a.withAPI(func(api *client.Client) error {
				grant, err := api.Access.RevokeRole(cmd.Context(), req)
				if err != nil {
					return err
				}
				return a.showGrant(grant)
			})
		},
	}
	a.onTeam(cmd, &req.TeamId, "the team that it was given on (default: everywhere)")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) roleList() *cobra.Command {
	req := &nthlayerv1.ListRolesRequest{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the roles with their actions",
		Example: "  nthlayer access role list -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				roles, err := api.Access.ListRoles(cmd.Context(), req)
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), roles)
				}
				return output.ShowRoles(a.Out, a.Now(), roles.GetRoles())
			})
		},
	}
	cmd.Flags().BoolVar(&req.Ended, "all", false, "also your own as they were before they were changed or deleted")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) roleSet() *cobra.Command {
	req := &nthlayerv1.SetRoleRequest{}
	cmd := &cobra.Command{
		Use:   "set ROLE ACTION…",
		Short: "Make a role of your own, or replace its actions",
		Long: `Make a role of your own, or replace its actions. Whoever holds it holds the new actions at once. A token grants it as it
grants the others: by the scope nthlayer/ROLE or the group nthlayer-ROLE.`,
		Example: "  nthlayer access role set syncer teams.get teams.plan teams.reconcile runs.get runs.watch",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return errors.New("say the role and one action at least; `nthlayer access role list` shows the actions")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Role, req.Actions = args[0], args[1:]
			return a.withAPI(func(api *client.Client) error {
				role, err := api.Access.SetRole(cmd.Context(), req)
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), role)
				}
				return output.ShowRoles(a.Out, a.Now(), []*nthlayerv1.Role{role})
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) roleDelete() *cobra.Command {
	return &cobra.Command{
		Use:     "delete ROLE",
		Aliases: []string{"rm"},
		Short:   "Remove a role of your own that nobody holds",
		Example: "  nthlayer access role delete syncer",
		Args:    one("the role"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				if _, err := api.Access.DeleteRole(cmd.Context(), &nthlayerv1.DeleteRoleRequest{Role: args[0]}); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.Out, "the role %s is deleted\n", output.Line(args[0]))
				return err
			})
		},
	}
}

func (a *app) identityList() *cobra.Command {
	req := &nthlayerv1.ListIdentitiesRequest{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List whose e-mail address is whose",
		Example: "  nthlayer access identity list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				found, err := api.Access.ListIdentities(cmd.Context(), req)
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), found)
				}
				return output.ShowIdentities(a.Out, a.Now(), found.GetIdentities())
			})
		},
	}
	cmd.Flags().BoolVar(&req.Ended, "all", false, "also those that were replaced or taken back")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) identityLink() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "link EMAIL SUBJECT",
		Short: "Say that an e-mail address is a principal's",
		Long: `Say that an e-mail address is a principal's. By it they are known when they press a button in Slack, and as a manager of
the teams that the source declares them a manager of. Only those who may do everything may say it: whoever says whose an address is
decides who acts in that name.`,
		Example: "  nthlayer access identity link ann@example.org 3f1c2a9e-ann",
		Args:    two("an e-mail address and a subject"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				linked, err := api.Access.LinkIdentity(cmd.Context(), &nthlayerv1.LinkIdentityRequest{Email: args[0], Subject: args[1]})
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), linked)
				}
				_, err = fmt.Fprintf(a.Out, "%s is %s\n%s\n", output.Line(linked.GetEmail()), output.Line(linked.GetSubject()),
					output.Faint("take it back with: nthlayer access identity unlink "+output.Line(linked.GetEmail())))
				return err
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) identityUnlink() *cobra.Command {
	return &cobra.Command{
		Use:     "unlink EMAIL",
		Short:   "Take that back",
		Example: "  nthlayer access identity unlink ann@example.org",
		Args:    one("an e-mail address"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				if _, err := api.Access.UnlinkIdentity(cmd.Context(), &nthlayerv1.UnlinkIdentityRequest{Email: args[0]}); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.Out, "%s is nobody's any more\n", output.Line(args[0]))
				return err
			})
		},
	}
}

func (a *app) showGrant(g *nthlayerv1.Grant) error {
	if !a.forPeople() {
		return output.Encode(a.Out, output.Format(a.format), g)
	}
	return output.ShowGrant(a.Out, g)
}

// onTeam adds a --team that, where it is given, must name one: an empty variable in a script must not mean everywhere.
func (a *app) onTeam(cmd *cobra.Command, teamID *string, usage string) {
	cmd.Flags().StringVar(teamID, "team", "", usage)
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	beforeRun(cmd, func() error {
		if *teamID == "" && cmd.Flags().Changed("team") {
			return errors.New("--team must not be empty; leave it out for a role that counts everywhere")
		}
		return nil
	})
}

// two takes two arguments.
func two(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 2 {
			return nil
		}
		return fmt.Errorf("%s takes two arguments, %s, and got %d; see %s --help", cmd.CommandPath(), what, len(args), cmd.CommandPath())
	}
}

// roleNames are the roles that are built in.
func roleNames() []cobra.Completion { return auth.BuiltIn() }

// completeSecond offers words for the second argument.
func completeSecond(words []cobra.Completion) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) != 1 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}
