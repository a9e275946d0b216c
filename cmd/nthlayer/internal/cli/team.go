package cli

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) team() *cobra.Command {
	return group("team", "Show teams, plan, reconcile and pause them",
		a.teamList(), a.teamGet(), a.teamPlan(), a.teamReconcile(), a.teamPause(), a.teamResume(), a.teamAutoReconcile())
}

func (a *app) teamList() *cobra.Command {
	req := &nthlayerv1.ListTeamsRequest{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the teams and whether they are in sync",
		Example: `  nthlayer team list --status out_of_sync
  nthlayer team list --query storage -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAPI(func(api *client.Client) error {
				teams, _, err := connection.List(0, func(size int32, token string) (*nthlayerv1.ListTeamsResponse, error) {
					req.PageSize, req.PageToken = size, token
					return api.Teams.ListTeams(cmd.Context(), req)
				}, (*nthlayerv1.ListTeamsResponse).GetTeams)
				switch {
				case err != nil:
					return err
				case !a.forPeople():
					return output.Encode(a.Out, output.Format(a.format), &nthlayerv1.ListTeamsResponse{Teams: teams})
				case len(teams) == 0 && anyOf(cmd, "status", "query"):
					return output.ShowNoMatch(a.Out, "team")
				default:
					return output.ShowTeams(a.Out, a.Now(), teams)
				}
			})
		},
	}
	cmd.Flags().StringVar(&req.SyncStatus, "status", "", "only teams that are in_sync, out_of_sync or unknown")
	cmd.Flags().StringVar(&req.Query, "query", "", "only teams whose id or name contains this")
	must(cmd.RegisterFlagCompletionFunc("status",
		cobra.FixedCompletions([]string{"in_sync", "out_of_sync", "unknown"}, cobra.ShellCompDirectiveNoFileComp)))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) teamGet() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "get TEAM",
		Short:             "Show a team with its members, its link and its last run",
		Example:           "  nthlayer team get sig-storage",
		Args:              one("the team's tag in the catalogue"),
		ValidArgsFunction: a.completeTeams,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				team, err := api.Teams.GetTeam(cmd.Context(), &nthlayerv1.GetTeamRequest{TeamId: args[0]})
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), team)
				}
				return output.ShowTeam(a.Out, a.Now(), team)
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) teamPlan() *cobra.Command {
	var desired string
	req := &nthlayerv1.PlanTeamRequest{}
	cmd := &cobra.Command{
		Use:   "plan TEAM",
		Short: "Compare a team now and show what would change; nothing is written",
		Long: `Compare a team now and show what would change. Nothing is written anywhere.

Exit code 0: the team is in sync. 2: drift was found. 1: an error, or the team could not be compared.`,
		Example: `  nthlayer team plan sig-storage
  nthlayer team plan sig-storage --desired team.yaml     compare with a file instead of the catalogue
  nthlayer team plan sig-storage -o json | jq .changes
  nthlayer team plan sig-storage -o policy-input         what the policy is given, for nthlayer policy eval and explain`,
		Args:              one("the team's tag in the catalogue"),
		ValidArgsFunction: a.completeTeams,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.TeamId, req.PolicyInput = args[0], a.format == policyInput
			var err error
			if req.Desired, err = readDesired(desired); err != nil {
				return err
			}
			return a.withAPI(func(api *client.Client) error {
				plan, err := api.Teams.PlanTeam(cmd.Context(), req)
				if err != nil {
					return err
				}
				switch {
				case a.forPeople():
					err = output.ShowPlan(a.Out, plan)
				case req.GetPolicyInput() && len(plan.GetChanges()) > 0:
					err = a.showPolicyInput(plan)
				case req.GetPolicyInput():
					err = fmt.Errorf("there is nothing for the policy to decide on: the plan for %s has no changes", args[0])
				default:
					err = output.Encode(a.Out, output.Format(a.format), plan)
				}
				switch {
				case err != nil:
					return err
				case len(plan.GetChanges()) > 0:
					return errDrift
				case plan.GetSyncStatus() == "unknown":
					return fmt.Errorf("%s could not be compared; the plan's issues say why", args[0])
				default:
					return nil
				}
			})
		},
	}
	chooseFlags(cmd, &req.Only, &req.Exclude)
	desiredFlag(cmd, &desired)
	a.formatFlag(cmd, append(output.Formats(), policyInput))
	return cmd
}

func (a *app) teamReconcile() *cobra.Command {
	var (
		desired, key string
		wait         bool
	)
	req := &nthlayerv1.ReconcileTeamRequest{}
	cmd := &cobra.Command{
		Use:   "reconcile TEAM",
		Short: "Make the pager show what the catalogue declares for a team",
		Long: `Ask for a run that makes the pager show what the catalogue declares for a team. The command prints the run's job id as
soon as the run is durable; --wait follows it to its end, and then exits with 1 where the run failed.

The same --idempotency-key with the same request gives the same run, however often it is sent.`,
		Example: `  nthlayer team reconcile sig-storage --wait
  nthlayer team reconcile sig-storage --dry-run --wait
  nthlayer team reconcile sig-storage --exclude remove_member
  nthlayer team reconcile sig-storage --idempotency-key deploy-4711`,
		Args:              one("the team's tag in the catalogue"),
		ValidArgsFunction: a.completeTeams,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.TeamId = args[0]
			var err error
			if req.Desired, err = readDesired(desired); err != nil {
				return err
			}
			return a.withAPI(func(api *client.Client) error {
				jobID, err := api.Reconcile(cmd.Context(), key, req)
				switch {
				case cmd.Context().Err() != nil && err != nil:
					return fmt.Errorf("stopped before the answer came: the run may have been accepted\n  look with: nthlayer run list --team %s", args[0])
				case err != nil:
					return err
				}
				return a.acceptedRun(cmd, api, jobID, wait, &nthlayerv1.ReconcileTeamResponse{JobId: jobID})
			})
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "follow the run to its end")
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "plan and check only; the run stops after the guards")
	cmd.Flags().StringVar(&key, "idempotency-key", "", "name of this request (default: a new one)")
	chooseFlags(cmd, &req.Only, &req.Exclude)
	whyFlags(cmd, &req.Reason, &req.OverrideFreeze)
	desiredFlag(cmd, &desired)
	a.outputFlag(cmd)
	return cmd
}

// acceptedRun says which run was accepted, and follows it where that is wanted. Scripts get the answer, or the finished run.
func (a *app) acceptedRun(cmd *cobra.Command, api *client.Client, jobID string, wait bool, answer proto.Message) error {
	if !a.forPeople() && !wait {
		return output.Encode(a.Out, output.Format(a.format), answer)
	}
	// Said at once, and beside what scripts read: whoever loses the rest can still find the run.
	said := a.Out
	if !a.forPeople() {
		said = a.Err
	}
	fmt.Fprintf(said, "accepted as job %s\n", jobID)
	if wait {
		return a.follow(cmd.Context(), api, jobID, 0)
	}
	fmt.Fprintln(a.Out, output.Faint("follow it with: nthlayer run watch "+jobID))
	return nil
}

func (a *app) teamPause() *cobra.Command {
	req := &nthlayerv1.PauseTeamRequest{}
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "pause TEAM",
		Short: "Change nothing of a team for a while",
		Long: `Change nothing of a team for a while. Runs are still accepted, and wait; one that is being worked on stops between two
changes, and decides over again when the pause has ended. Plans and dry runs go on. A new pause replaces the one there is.`,
		Example:           `  nthlayer team pause sig-storage --for 2h --reason "incident 4711"`,
		Args:              one("the team's tag in the catalogue"),
		ValidArgsFunction: a.completeTeams,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.TeamId, req.Duration = args[0], durationpb.New(duration)
			return a.withAPI(func(api *client.Client) error {
				pause, err := api.Teams.PauseTeam(cmd.Context(), req)
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), pause)
				}
				fmt.Fprintf(a.Out, "%s is paused until %s\n%s\n", args[0], pause.GetUntil().AsTime().Local().Format(time.DateTime),
					output.Faint("end it sooner with: nthlayer team resume "+args[0]))
				if pause.GetTeamUnknown() {
					fmt.Fprintf(a.Err, "no team %s has been seen yet: see \"nthlayer team list\" for how it is spelled\n", args[0])
				}
				return nil
			})
		},
	}
	spanFlag(cmd, &duration, "for", "how long, from 1m to 30d (required)")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for those who find the team paused (required)")
	must(cmd.MarkFlagRequired("for"))
	must(cmd.MarkFlagRequired("reason"))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) teamResume() *cobra.Command {
	return &cobra.Command{
		Use:               "resume TEAM",
		Short:             "End a pause before its time",
		Long:              "End a pause before its time. Runs that waited are due at once. It is no error where there is no pause.",
		Example:           "  nthlayer team resume sig-storage",
		Args:              one("the team's tag in the catalogue"),
		ValidArgsFunction: a.completeTeams,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error {
				if _, err := api.Teams.ResumeTeam(cmd.Context(), &nthlayerv1.ResumeTeamRequest{TeamId: args[0]}); err != nil {
					return err
				}
				fmt.Fprintf(a.Out, "%s is not paused\n", args[0])
				return nil
			})
		},
	}
}

func (a *app) teamAutoReconcile() *cobra.Command {
	const standard = "default"
	modes := []string{audit.Observe, audit.Enforce, standard}
	cmd := &cobra.Command{
		Use:   "auto-reconcile TEAM observe|enforce|default",
		Short: "Say what audits do when they find a team out of sync",
		Long: `Say for one team what audits do when they find it out of sync, whatever they were told: observe changes nothing, enforce
asks for a run. default takes that back: an audit does for the team what it was told to do.`,
		Example: "  nthlayer team auto-reconcile sig-storage enforce",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 && slices.Contains(modes, args[1]) {
				return nil
			}
			return fmt.Errorf("%s takes a team and one of observe, enforce and default; see %s --help", cmd.CommandPath(), cmd.CommandPath())
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return modes, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeTeams(cmd, args, typed)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &nthlayerv1.SetTeamAutoReconcileRequest{TeamId: args[0], AutoReconcile: args[1]}
			if args[1] == standard {
				req.AutoReconcile = ""
			}
			return a.withAPI(func(api *client.Client) error {
				team, err := api.Teams.SetTeamAutoReconcile(cmd.Context(), req)
				if err != nil {
					return err
				}
				if !a.forPeople() {
					return output.Encode(a.Out, output.Format(a.format), team)
				}
				return output.ShowTeam(a.Out, a.Now(), team)
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}
