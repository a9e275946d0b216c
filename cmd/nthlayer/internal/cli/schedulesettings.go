package cli

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nthlayer/nthlayer/pkg/audit"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// settings are the flags of a schedule's settings, of which only those count that were given.
type settings struct {
	cmd               *cobra.Command
	read              nthlayerv1.ScheduleSettings
	scope             nthlayerv1.AuditScope
	fullEvery, jitter time.Duration
	enforce, observe  bool
}

func (s *settings) bind(cmd *cobra.Command) {
	s.cmd = cmd
	f := cmd.Flags()
	f.StringVar(&s.read.Cron, "cron", "", "when, as a `cron` expression (minute hour day month weekday) or @hourly, @daily, @weekly, @monthly")
	f.StringVar(&s.read.TimeZone, "tz", "", "IANA time `zone` such as Europe/Berlin (default UTC)")
	scopeFlags(cmd, &s.scope)
	modeFlag(cmd, &s.read.Mode, "")
	spanFlag(cmd, &s.fullEvery, "full-every", "in the mode auto: read everything when the last full read is older, from 1h to 30d (default 7d)")
	spanFlag(cmd, &s.jitter, "jitter", "each tick is late by up to this, at most 1h")
	f.StringVar(&s.read.Owner, "owner", "", "whom to ask about the schedule")
	f.BoolVar(&s.enforce, "enforce", false, "ask for a run of each team that is out of sync")
	f.BoolVar(&s.observe, "observe", false, "change nothing (as without --enforce)")
	cmd.MarkFlagsMutuallyExclusive("enforce", "observe")
	f.StringVar(&s.read.Notify, "notify", "", "when to tell: always (default), on-change, on-new-findings or never")
	f.StringVar(&s.read.SlackChannel, "slack-channel", "", "`id` of the Slack channel to tell (C…)")
	f.StringArrayVar(&s.read.Emails, "email", nil, "`address` to tell; may be given several times")
	f.StringSliceVar(&s.read.IgnoreOrphans, "ignore-orphans", nil, "`patterns` of names of PagerDuty teams that need no catalogue entry")
	must(cmd.RegisterFlagCompletionFunc("notify",
		cobra.FixedCompletions([]string{"always", "on-change", "on-new-findings", "never"}, cobra.ShellCompDirectiveNoFileComp)))
}

// setters put one setting each into settings, by the name of their flag.
func (s *settings) setters() map[string]func(*nthlayerv1.ScheduleSettings) {
	return map[string]func(*nthlayerv1.ScheduleSettings){
		"cron":    func(to *nthlayerv1.ScheduleSettings) { to.Cron = s.read.GetCron() },
		"tz":      func(to *nthlayerv1.ScheduleSettings) { to.TimeZone = s.read.GetTimeZone() },
		"include": func(to *nthlayerv1.ScheduleSettings) { scopeOf(to).Include = s.scope.GetInclude() },
		"exclude": func(to *nthlayerv1.ScheduleSettings) { scopeOf(to).Exclude = s.scope.GetExclude() },
		"mode":    func(to *nthlayerv1.ScheduleSettings) { to.Mode = s.read.GetMode() },
		"full-every": func(to *nthlayerv1.ScheduleSettings) {
			to.FullEvery = nil // the API's own
			if s.fullEvery > 0 {
				to.FullEvery = durationpb.New(s.fullEvery)
			}
		},
		"jitter":         func(to *nthlayerv1.ScheduleSettings) { to.Jitter = durationpb.New(s.jitter) },
		"owner":          func(to *nthlayerv1.ScheduleSettings) { to.Owner = s.read.GetOwner() },
		"enforce":        func(to *nthlayerv1.ScheduleSettings) { to.AutoReconcile = autoReconcile(s.enforce) },
		"observe":        func(to *nthlayerv1.ScheduleSettings) { to.AutoReconcile = autoReconcile(!s.observe) },
		"notify":         func(to *nthlayerv1.ScheduleSettings) { to.Notify = strings.ReplaceAll(s.read.GetNotify(), "-", "_") },
		"slack-channel":  func(to *nthlayerv1.ScheduleSettings) { to.SlackChannel = s.read.GetSlackChannel() },
		"email":          func(to *nthlayerv1.ScheduleSettings) { to.Emails = filled(s.read.GetEmails()) },
		"ignore-orphans": func(to *nthlayerv1.ScheduleSettings) { to.IgnoreOrphans = s.read.GetIgnoreOrphans() },
	}
}

// given reports that there is a setting to apply.
func (s *settings) given() bool { return anyOf(s.cmd, slices.Collect(maps.Keys(s.setters()))...) }

// apply puts what was given into settings.
func (s *settings) apply(to *nthlayerv1.ScheduleSettings) {
	for flag, set := range s.setters() {
		if s.cmd.Flags().Changed(flag) {
			set(to)
		}
	}
}

func autoReconcile(enforce bool) string {
	if enforce {
		return audit.Enforce
	}
	return audit.Observe
}

func scopeOf(s *nthlayerv1.ScheduleSettings) *nthlayerv1.AuditScope {
	if s.GetScope() == nil {
		s.Scope = &nthlayerv1.AuditScope{}
	}
	return s.GetScope()
}

// filled leaves out what is empty: a flag with an empty value takes all away.
func filled(list []string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}
