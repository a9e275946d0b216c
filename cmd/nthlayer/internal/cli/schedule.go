package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) auditSchedule() *cobra.Command {
	cmd := group("schedule", "Audit on a schedule",
		a.scheduleList(), a.scheduleGet(), a.scheduleCreate(), a.scheduleUpdate(), a.scheduleDelete(),
		a.scheduleTrigger(), a.schedulePause(), a.scheduleResume(), a.scheduleNext(), a.schedulePreview())
	cmd.Aliases = []string{"schedules"}
	return cmd
}

func (a *app) scheduleList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the schedules",
		Example: "  nthlayer audit schedule list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req := &nthlayerv1.ListSchedulesRequest{}
			return a.withAPI(func(api *client.Client) error {
				schedules, _, err := connection.List(0, func(size int32, token string) (*nthlayerv1.ListSchedulesResponse, error) {
					req.PageSize, req.PageToken = size, token
					return api.Schedules.ListSchedules(cmd.Context(), req)
				}, (*nthlayerv1.ListSchedulesResponse).GetSchedules)
				switch {
				case err != nil:
					return err
				case !a.forPeople():
					return output.Encode(a.Out, output.Format(a.format), &nthlayerv1.ListSchedulesResponse{Schedules: schedules})
				default:
					return output.ShowSchedules(a.Out, a.Now(), schedules)
				}
			})
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) scheduleGet() *cobra.Command {
	cmd := a.onSchedule("get", "Show a schedule", func(cmd *cobra.Command, api *client.Client, id string) error {
		found, err := api.Schedules.GetSchedule(cmd.Context(), &nthlayerv1.GetScheduleRequest{ScheduleId: id})
		if err != nil {
			return err
		}
		return a.showSchedule(found)
	})
	cmd.Example = "  nthlayer audit schedule get nightly"
	a.outputFlag(cmd)
	return cmd
}

func (a *app) scheduleCreate() *cobra.Command {
	var settings settings
	cmd := a.onSchedule("create", "Add a schedule", func(cmd *cobra.Command, api *client.Client, id string) error {
		req := &nthlayerv1.CreateScheduleRequest{ScheduleId: id, Settings: &nthlayerv1.ScheduleSettings{}}
		settings.apply(req.GetSettings())
		made, err := api.Schedules.CreateSchedule(cmd.Context(), req)
		if err != nil {
			return err
		}
		return a.showSchedule(made)
	})
	cmd.Long = "Add a schedule. Its name is for good: small letters, digits and hyphens. Asking twice for the same is the same as once."
	cmd.Example = `  nthlayer audit schedule create nightly --cron "0 2 * * *" --tz Europe/Berlin --slack-channel C0123456789
  nthlayer audit schedule create payments --cron @hourly --include 'payments-*' --notify on-new-findings --email oncall@example.org`
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	settings.bind(cmd)
	must(cmd.MarkFlagRequired("cron"))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) scheduleUpdate() *cobra.Command {
	var settings settings
	cmd := a.onSchedule("update", "Change settings of a schedule", func(cmd *cobra.Command, api *client.Client, id string) error {
		if !settings.given() {
			return errors.New("say what to change: nthlayer audit schedule update --help lists the settings")
		}
		old, err := api.Schedules.GetSchedule(cmd.Context(), &nthlayerv1.GetScheduleRequest{ScheduleId: id})
		if err != nil {
			return err
		}
		req := &nthlayerv1.UpdateScheduleRequest{ScheduleId: id, Settings: old.GetSettings(), Revision: old.GetRevision()}
		if req.Settings == nil {
			req.Settings = &nthlayerv1.ScheduleSettings{}
		}
		settings.apply(req.GetSettings())
		changed, err := api.Schedules.UpdateSchedule(cmd.Context(), req)
		if err != nil {
			return err
		}
		return a.showSchedule(changed)
	})
	cmd.Long = `Change the settings of a schedule that are given; the others stay. An empty value takes a setting away. Where somebody
else changes the schedule at the same moment, one of the two is refused.`
	cmd.Example = `  nthlayer audit schedule update nightly --notify on-change --email oncall@example.org --email sre@example.org
  nthlayer audit schedule update nightly --slack-channel ""          tell no channel any more`
	settings.bind(cmd)
	a.outputFlag(cmd)
	return cmd
}

func (a *app) scheduleDelete() *cobra.Command {
	var yes bool
	cmd := a.onSchedule("delete", "Remove a schedule; its audits stay", func(cmd *cobra.Command, api *client.Client, id string) error {
		if _, err := api.Schedules.DeleteSchedule(cmd.Context(), &nthlayerv1.DeleteScheduleRequest{ScheduleId: id}); err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "%s is no more; its audits stay\n", id)
		return nil
	})
	cmd.Aliases = []string{"rm"}
	cmd.Long = "Remove a schedule. Its audits and what they found stay. To stop it for a while, pause it."
	cmd.Example = "  nthlayer audit schedule delete nightly --yes"
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, remove it (required)")
	beforeRun(cmd, func() error {
		if !yes {
			return errors.New("a removed schedule does not come back: say --yes, or pause it")
		}
		return nil
	})
	return cmd
}

func (a *app) scheduleTrigger() *cobra.Command {
	req := &nthlayerv1.TriggerScheduleRequest{}
	var wait bool
	cmd := a.onSchedule("trigger", "Start a schedule's audit now", func(cmd *cobra.Command, api *client.Client, id string) error {
		req.ScheduleId = id
		started, err := api.Schedules.TriggerSchedule(cmd.Context(), req)
		switch {
		case cmd.Context().Err() != nil && err != nil:
			return fmt.Errorf("stopped before the answer came: the audit may have been accepted\n  look with: nthlayer audit list --schedule %s", id)
		case err != nil:
			return err
		case !a.forPeople() && !wait:
			return output.Encode(a.Out, output.Format(a.format), started)
		}
		what := "accepted as audit " + started.GetAuditId()
		if started.GetAlreadyRunning() {
			what = "under way already: audit " + started.GetAuditId()
		}
		return a.accepted(cmd.Context(), api, what, started.GetAuditId(), wait)
	})
	cmd.Long = `Start a schedule's audit now, also of a schedule that is paused. While one of its audits is under way it is that one.

With --wait the command ` + auditExitCodes
	cmd.Example = "  nthlayer audit schedule trigger nightly --wait"
	modeFlag(cmd, &req.Mode, "")
	acceptShrunkenFlag(cmd, &req.AcceptShrunkenSource)
	cmd.Flags().BoolVar(&wait, "wait", false, "follow the audit to its end")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) schedulePause() *cobra.Command {
	req := &nthlayerv1.PauseScheduleRequest{}
	cmd := a.onSchedule("pause", "Keep a schedule from ticking", func(cmd *cobra.Command, api *client.Client, id string) error {
		req.ScheduleId = id
		paused, err := api.Schedules.PauseSchedule(cmd.Context(), req)
		if err != nil {
			return err
		}
		if !a.forPeople() {
			return output.Encode(a.Out, output.Format(a.format), paused)
		}
		fmt.Fprintf(a.Out, "%s is paused\n%s\n", id, output.Faint("end it with: nthlayer audit schedule resume "+id))
		return nil
	})
	cmd.Long = "Keep a schedule from ticking. An audit that is under way goes on; trigger still starts one."
	cmd.Example = `  nthlayer audit schedule pause nightly --reason "migration of the catalogue"`
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for those who find the schedule paused (required)")
	must(cmd.MarkFlagRequired("reason"))
	a.outputFlag(cmd)
	return cmd
}

func (a *app) scheduleResume() *cobra.Command {
	cmd := a.onSchedule("resume", "End a pause", func(cmd *cobra.Command, api *client.Client, id string) error {
		resumed, err := api.Schedules.ResumeSchedule(cmd.Context(), &nthlayerv1.ResumeScheduleRequest{ScheduleId: id})
		if err != nil {
			return err
		}
		return a.showSchedule(resumed)
	})
	cmd.Long = "End a pause. Ticks that were missed meanwhile are not caught up. It is no error where there is no pause."
	cmd.Example = "  nthlayer audit schedule resume nightly"
	a.outputFlag(cmd)
	return cmd
}

func (a *app) scheduleNext() *cobra.Command {
	req := &nthlayerv1.ListNextRunsRequest{}
	cmd := a.onSchedule("next", "Show when a schedule ticks next, in its time zone", func(cmd *cobra.Command, api *client.Client, id string) error {
		req.ScheduleId = id
		next, err := api.Schedules.ListNextRuns(cmd.Context(), req)
		if err != nil {
			return err
		}
		if !a.forPeople() {
			return output.Encode(a.Out, output.Format(a.format), next)
		}
		of, err := api.Schedules.GetSchedule(cmd.Context(), &nthlayerv1.GetScheduleRequest{ScheduleId: id})
		if err != nil {
			return err
		}
		return output.ShowNextRuns(a.Out, a.Now(), of, next.GetTimes())
	})
	cmd.Example = "  nthlayer audit schedule next nightly --count 10"
	cmd.Flags().Int32Var(&req.Count, "count", 5, "how many, from 1 to 100")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) schedulePreview() *cobra.Command {
	cmd := a.onSchedule("preview", "Show what would be told of a schedule's last audit, and to whom", func(cmd *cobra.Command, api *client.Client, id string) error {
		preview, err := api.Schedules.PreviewSchedule(cmd.Context(), &nthlayerv1.PreviewScheduleRequest{ScheduleId: id})
		if err != nil {
			return err
		}
		if !a.forPeople() {
			return output.Encode(a.Out, output.Format(a.format), preview)
		}
		return output.ShowPreview(a.Out, preview)
	})
	cmd.Long = "Show what would be told of a schedule's last audit, and to whom. Nothing is sent."
	cmd.Example = "  nthlayer audit schedule preview nightly"
	a.outputFlag(cmd)
	return cmd
}

// onSchedule is a command about one schedule.
func (a *app) onSchedule(verb, short string, do func(cmd *cobra.Command, api *client.Client, id string) error) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " SCHEDULE",
		Short:             short,
		Args:              one("the schedule's name"),
		ValidArgsFunction: a.completeSchedules,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withAPI(func(api *client.Client) error { return do(cmd, api, args[0]) })
		},
	}
}

func (a *app) showSchedule(s *nthlayerv1.Schedule) error {
	if !a.forPeople() {
		return output.Encode(a.Out, output.Format(a.format), s)
	}
	return output.ShowSchedule(a.Out, a.Now(), s)
}

func (a *app) scheduleFlag(cmd *cobra.Command, id *string, usage string) {
	cmd.Flags().StringVar(id, "schedule", "", usage)
	must(cmd.RegisterFlagCompletionFunc("schedule", func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return a.completeSchedules(cmd, nil, typed)
	}))
}

// completeSchedules offers the schedules there are.
func (a *app) completeSchedules(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []cobra.Completion
	err := a.withAPI(func(api *client.Client) error {
		resp, err := api.Schedules.ListSchedules(cmd.Context(), &nthlayerv1.ListSchedulesRequest{PageSize: 1000})
		for _, s := range resp.GetSchedules() {
			found = append(found, cobra.CompletionWithDesc(s.GetScheduleId(), output.Line(s.GetSettings().GetCron())))
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}
