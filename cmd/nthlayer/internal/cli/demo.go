package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/demo"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/system"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

func (a *app) demo() *cobra.Command {
	cfg := system.Config{Fresh: true}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See NthLayer work, on an example organisation",
		Long: `Start a whole system on this machine with the organisation of a fictional company whose pager has drifted away from its
catalogue. Show what would change for a team, reconcile it, show the audit trail, what Slack was told and which API calls
it took, reconcile again to find nothing to do, and stop everything.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runDemo(cmd.Context(), cfg) },
	}
	cmd.Flags().StringVar(&cfg.StateDir, "state-dir", ".nthlayer/demo", "`directory` for what the demonstration keeps: its database and logs")
	must(cmd.MarkFlagDirname("state-dir"))
	return cmd
}

func (a *app) runDemo(ctx context.Context, cfg system.Config) error {
	example := org.Example()
	fmt.Fprintf(a.Out, "%s\n\nStarting PostgreSQL, the four services, and simulators of Cortex, PagerDuty and Slack with %d teams and %d people …",
		output.Heading("NthLayer on one machine"), len(example.Teams), len(example.People))
	began := a.Now()
	// Parts outside have no place in a demonstration: it must not touch anybody's PagerDuty.
	a.Environ = withoutOutside(a.Environ)
	s, err := a.startSystem(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, " up in %s.\n", a.Now().Sub(began).Round(100*time.Millisecond))
	return errors.Join(a.showDemo(ctx, s.Info(), example), a.stopSystem(s))
}

func (a *app) showDemo(ctx context.Context, info system.Info, example *org.Org) error {
	api, err := connection.Open(connection.Settings{Addr: info.GRPC, Token: info.Token, Plaintext: true})
	if err != nil {
		return err
	}
	show := demo.Show{Out: a.Out, Width: a.Width, Now: a.Now, API: api, Info: info}
	for _, team := range example.Teams {
		if !team.Archived {
			show.Teams = append(show.Teams, team.Tag)
		}
	}
	if err := errors.Join(show.Run(ctx), api.Close()); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "\n%s\n", output.Faint("Keep a system like this one running with: make dev"))
	return nil
}
