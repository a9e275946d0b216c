package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/system"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

func (a *app) simulate() *cobra.Command {
	var cfg system.SimulatorsConfig
	var fleet org.GenerateOptions
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run the simulators of Cortex, PagerDuty, Slack and SQS alone",
		Long: `Run simulators of the platforms that are given an address, until Ctrl-C, and print one line of JSON that says where they
are and which tokens they take (NTHLAYER_CORTEX_TOKEN, NTHLAYER_PAGERDUTY_TOKEN and NTHLAYER_SLACK_TOKEN where those are
set). Each is controlled under /_control/: see docs/simulators.md.

They take anybody who knows the token, so give loopback addresses.

With --teams and --people they hold a made-up organisation of that size, the same each time: one team in 20 has drifted,
every second one has an escalation policy, and one more in 100 is known to PagerDuty alone.`,
		Example: `  nthlayer simulate --cortex 127.0.0.1:7001 --pagerduty 127.0.0.1:7002
  nthlayer simulate --cortex 127.0.0.1:7001 --pagerduty 127.0.0.1:7002 --teams 10000 --people 60000
  nthlayer simulate --sqs 127.0.0.1:0`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Tokens = system.PlatformTokens{
				Cortex:    connection.Getenv(a.Environ, "NTHLAYER_CORTEX_TOKEN"),
				PagerDuty: connection.Getenv(a.Environ, "NTHLAYER_PAGERDUTY_TOKEN"),
				Slack:     connection.Getenv(a.Environ, "NTHLAYER_SLACK_TOKEN"),
			}
			if cmd.Flags().Changed("teams") {
				var err error
				if cfg.Org, err = madeUp(fleet); err != nil {
					return err
				}
			}
			return a.runSimulators(cmd.Context(), cfg)
		},
	}
	cmd.Flags().StringVar(&cfg.Cortex, "cortex", "", "`address` for Cortex; port 0 takes a free one")
	cmd.Flags().StringVar(&cfg.PagerDuty, "pagerduty", "", "`address` for PagerDuty")
	cmd.Flags().StringVar(&cfg.Slack, "slack", "", "`address` for Slack")
	cmd.Flags().StringVar(&cfg.SQS, "sqs", "", "`address` for SQS")
	cmd.Flags().StringVar(&cfg.OrgFile, "org", "", "JSON `file` with the organisation to start with (default: an example)")
	cmd.Flags().IntVar(&fleet.Teams, "teams", 0, "make an organisation of so many teams up")
	cmd.Flags().IntVar(&fleet.People, "people", 0, "people of the organisation that is made up")
	cmd.MarkFlagsRequiredTogether("teams", "people")
	cmd.MarkFlagsMutuallyExclusive("org", "teams")
	cmd.MarkFlagsOneRequired("cortex", "pagerduty", "slack", "sqs")
	must(cmd.MarkFlagFilename("org", "json"))
	return cmd
}

// madeUp is an organisation as messy as a large one is.
func madeUp(fleet org.GenerateOptions) (*org.Org, error) {
	switch {
	case fleet.Teams < 1 || fleet.Teams > org.MaxTeams:
		return nil, fmt.Errorf("--teams %d: must be from 1 to %d", fleet.Teams, org.MaxTeams)
	case fleet.People < 1 || fleet.People > org.MaxPeople:
		return nil, fmt.Errorf("--people %d: must be from 1 to %d", fleet.People, org.MaxPeople)
	}
	fleet.Drifted, fleet.Policies, fleet.Orphans = (fleet.Teams+19)/20, 0.5, fleet.Teams/100
	made := org.Generate(fleet)
	if err := made.Validate(); err != nil {
		return nil, fmt.Errorf("make an organisation up: %w", err)
	}
	return made, nil
}

func (a *app) runSimulators(ctx context.Context, cfg system.SimulatorsConfig) error {
	cfg.Log = a.logger()
	s, err := system.StartSimulators(ctx, cfg)
	if err != nil {
		return err
	}
	line, err := json.Marshal(s.Info())
	if err == nil {
		_, err = fmt.Fprintf(a.Out, "%s\n", line)
	}
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, a.stopSystem(s))
}
