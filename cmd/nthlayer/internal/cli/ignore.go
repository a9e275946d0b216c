package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) ignore() *cobra.Command {
	return group("ignore", "Leave some differences alone for a while: people, roles, teams", a.ignoreList(), a.ignoreAdd(), a.ignoreRemove())
}

func (a *app) ignoreList() *cobra.Command {
	req := &nthlayerv1.ListIgnoreRulesRequest{}
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List ignore rules, newest first",
		Example: `  nthlayer ignore list
  nthlayer ignore list --team sig-storage     its own rules and the fleet's
  nthlayer ignore list --past -o json         also those that have expired or were removed`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				rules, next, err := connection.List(limit, func(size int32, token string) (*nthlayerv1.ListIgnoreRulesResponse, error) {
					req.PageSize, req.PageToken = size, token
					return api.Ignores.ListIgnoreRules(cmd.Context(), req)
				}, (*nthlayerv1.ListIgnoreRulesResponse).GetRules)
				if err != nil {
					return err
				}
				a.sayMore(len(rules), next)
				switch {
				case !a.forPeople():
					return output.Encode(a.Out, output.Format(a.format), &nthlayerv1.ListIgnoreRulesResponse{Rules: rules, NextPageToken: next})
				case len(rules) == 0 && anyOf(cmd, "team", "kind"):
					return output.ShowNoMatch(a.Out, "ignore rule")
				default:
					return output.ShowIgnoreRules(a.Out, rules)
				}
			})
		},
	}
	cmd.Flags().StringVar(&req.TeamId, "team", "", "only rules of this team and of the fleet")
	cmd.Flags().StringVar(&req.Kind, "kind", "", "only rules about a person, a role or a team")
	cmd.Flags().BoolVar(&req.Past, "past", false, "also rules that have expired or were removed")
	limitFlag(cmd, &limit, 50)
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	must(cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"person", "role", "team"}, cobra.ShellCompDirectiveNoFileComp)))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) ignoreAdd() *cobra.Command {
	req := &nthlayerv1.CreateIgnoreRuleRequest{}
	var within time.Duration
	var person, role, teams, until string
	var everything bool
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Leave some differences alone for a while",
		Long: `Leave some differences of a team or of the whole fleet alone for a while: they are neither applied nor counted as drift,
and shown wherever they are hidden. A rule lasts for 90 days where nothing else is said, for a year at most.

--person hides what is about one person, named by the e-mail address or the id of the PagerDuty account. --role hides what gives
that role or takes it: adds with it, removals from it, changes from it and to it. --everything hides all of the team, --teams all
of the teams that match.

Nobody is removed who would not be removed without the rule: while a declared person cannot be matched, removals stay held
although nobody wants to hear of that person.`,
		Example: `  nthlayer ignore add --team payments --person ann@example.org --reason "on loan until spring" --owner sre@example.org --until 2027-01-31
  nthlayer ignore add --fleet --role observer --reason "observers are kept by hand" --owner sre@example.org
  nthlayer ignore add --team payments --everything --reason "being split" --owner ann@example.org --for 2w
  nthlayer ignore add --fleet --teams "sandbox/*" --reason "not on call" --owner sre@example.org`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case person != "":
				req.Kind, req.Value = "person", person
			case role != "":
				req.Kind, req.Value = "role", role
			case teams != "" && req.GetTeamId() != "":
				return errors.New("--teams is for rules of the fleet: say --fleet instead of --team, or --everything instead of --teams")
			case everything && req.GetTeamId() == "":
				return errors.New("--everything is for one team: say --team instead of --fleet, or --teams instead of --everything")
			case teams != "", everything:
				req.Kind, req.Value = "team", teams
			default:
				return errors.New("--person, --role and --teams must not be empty")
			}
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
				rule, err := api.Ignores.CreateIgnoreRule(cmd.Context(), req)
				if err != nil {
					return err
				}
				return a.showIgnoreRule(rule)
			})
		},
	}
	a.teamOrFleet(cmd, &req.TeamId, "the team whose differences are left alone", "leave the whole fleet's alone")
	cmd.Flags().StringVar(&person, "person", "", "an e-mail address, or the id of a PagerDuty account")
	cmd.Flags().StringVar(&role, "role", "", "manager, responder or observer")
	cmd.Flags().BoolVar(&everything, "everything", false, "all of the team")
	cmd.Flags().StringVar(&teams, "teams", "", "all of these teams: an id, in which * and ? stop at slashes")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for those who see that something is hidden (required)")
	cmd.Flags().StringVar(&req.Owner, "owner", "", "whom to ask about it: an e-mail address or a group (required)")
	spanFlag(cmd, &within, "for", "how long, such as 30d or 2w (default 90d)")
	cmd.Flags().StringVar(&until, "until", "", "until when: a `day` with its end, or a time")
	must(cmd.MarkFlagRequired("reason"))
	must(cmd.MarkFlagRequired("owner"))
	cmd.MarkFlagsMutuallyExclusive("for", "until")
	cmd.MarkFlagsOneRequired("person", "role", "everything", "teams")
	cmd.MarkFlagsMutuallyExclusive("person", "role", "everything", "teams")
	must(cmd.RegisterFlagCompletionFunc("role",
		cobra.FixedCompletions([]string{"manager", "responder", "observer"}, cobra.ShellCompDirectiveNoFileComp)))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) ignoreRemove() *cobra.Command {
	req := &nthlayerv1.DeleteIgnoreRuleRequest{}
	cmd := &cobra.Command{
		Use:     "remove RULE",
		Aliases: []string{"rm"},
		Short:   "Take an ignore rule back",
		Long:    "Take an ignore rule back. What it hid is drift again. It is no error where it was taken back before.",
		Example: "  nthlayer ignore remove 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e --team payments",
		Args:    one("the rule's id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.RuleId = args[0]
			return a.withAPI(func(api *client.Client) error {
				rule, err := api.Ignores.DeleteIgnoreRule(cmd.Context(), req)
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), rule)
				}
				_, err = fmt.Fprintf(a.Out, "%s %s is not ignored any more by rule %s\n", output.Line(rule.GetKind()), output.Line(rule.GetValue()), args[0])
				return err
			})
		},
	}
	a.teamOrFleet(cmd, &req.TeamId, "the rule's team", "it is a rule of the fleet")
	a.outputFlag(cmd)
	return cmd
}

// teamOrFleet adds --team and --fleet, of which one must be said: nobody means the whole fleet by saying nothing.
func (a *app) teamOrFleet(cmd *cobra.Command, teamID *string, team, fleet string) {
	cmd.Flags().StringVar(teamID, "team", "", team)
	cmd.Flags().Bool("fleet", false, fleet)
	cmd.MarkFlagsOneRequired("team", "fleet")
	cmd.MarkFlagsMutuallyExclusive("team", "fleet")
	must(cmd.RegisterFlagCompletionFunc("team", a.completeTeams))
	beforeRun(cmd, func() error {
		if *teamID == "" && cmd.Flags().Changed("team") {
			return errors.New("--team must not be empty; --fleet is for the whole fleet")
		}
		return nil
	})
}

func (a *app) showIgnoreRule(rule *nthlayerv1.IgnoreRule) error {
	if !a.forPeople() {
		return output.Encode(a.Out, output.Format(a.format), rule)
	}
	return output.ShowIgnoreRule(a.Out, rule)
}
