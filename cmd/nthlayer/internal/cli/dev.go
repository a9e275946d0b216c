package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/system"
)

const (
	stopWithin = 30 * time.Second
	maxWorkers = 16 // plenty for one machine
)

func (a *app) dev() *cobra.Command {
	var cfg system.Config
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Keep a whole system running on this machine",
		Long: `Run the whole system on this machine until Ctrl-C: the service binaries beside this program, PostgreSQL in the state
directory, Redis and SQS in memory, simulators of Cortex, PagerDuty and Slack, and an issuer of tokens.

When everything is ready, one line of JSON says how to reach it; <state-dir>/dev.json holds the same, with the process
ids kept current. A service or a PostgreSQL that dies is started again. Logs are in <state-dir>/logs. A second Ctrl-C does
not wait.

A variable replaces a part by one outside: NTHLAYER_CORTEX_URL, NTHLAYER_PAGERDUTY_URL and NTHLAYER_SLACK_URL (each with
its _TOKEN or _TOKEN_FILE), NTHLAYER_SQS_ENDPOINT, NTHLAYER_DATABASE_URL, NTHLAYER_REDIS_ADDR.`,
		Example: `  nthlayer dev
  nthlayer dev --port-base 7700 --workers 3
  nthlayer dev --org organisation.json
  NTHLAYER_CORTEX_URL=https://api.getcortexapp.com NTHLAYER_CORTEX_TOKEN=… nthlayer dev`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runDev(cmd.Context(), cfg) },
	}
	cmd.Flags().StringVar(&cfg.StateDir, "state-dir", connection.DevDir, "`directory` for everything the system keeps")
	cmd.Flags().IntVar(&cfg.PortBase, "port-base", 0, "first of the ports to use, one after the other; 0 takes free ones")
	cmd.Flags().StringVar(&cfg.OrgFile, "org", "", "JSON `file` with the organisation the simulators start with (default: an example)")
	cmd.Flags().IntVar(&cfg.Workers, "workers", 1, fmt.Sprintf("reconcile-worker processes, 1 to %d", maxWorkers))
	cmd.AddCommand(a.devToken())
	must(cmd.MarkFlagDirname("state-dir"))
	must(cmd.MarkFlagFilename("org", "json"))
	beforeRun(cmd, func() error {
		if cfg.Workers < 1 || cfg.Workers > maxWorkers {
			return fmt.Errorf("--workers %d: must be from 1 to %d", cfg.Workers, maxWorkers)
		}
		return nil
	})
	return cmd
}

func (a *app) devToken() *cobra.Command {
	var stateDir string
	var roles []string
	cmd := &cobra.Command{
		Use:   "token SUBJECT",
		Short: "Make a token of the running system for somebody else",
		Long: `Make a token of the system that runs on this machine, for another principal than its own: to see what a role may do, or to
approve what somebody else asked for.`,
		Example: `  NTHLAYER_TOKEN=$(nthlayer dev token bob --role approver) nthlayer run approve 0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e`,
		Args:    one("the principal's name"),
		RunE: func(_ *cobra.Command, args []string) error {
			scopes := make([]string, len(roles))
			for i, role := range roles {
				scopes[i] = "nthlayer/" + role
			}
			token, err := system.IssueToken(stateDir, args[0], scopes...)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.Out, token)
			return nil
		},
	}
	cmd.Flags().StringVar(&stateDir, "state-dir", connection.DevDir, "`directory` of the running system")
	cmd.Flags().StringSliceVar(&roles, "role", nil, "roles or actions that the token grants, such as viewer, operator, approver or teams.reconcile; none: only what is bound to the subject")
	must(cmd.MarkFlagDirname("state-dir"))
	return cmd
}

func (a *app) runDev(ctx context.Context, cfg system.Config) error {
	s, err := a.startSystem(ctx, cfg)
	if err != nil {
		return err
	}
	line, err := json.Marshal(s.Info())
	if err == nil {
		_, err = fmt.Fprintf(a.Out, "%s\n", line)
	}
	if err == nil {
		fmt.Fprintln(a.Err, output.Faint("Running; logs are in "+filepath.Join(cfg.StateDir, "logs")+". Ctrl-C stops everything."))
		<-ctx.Done()
	}
	return errors.Join(err, a.stopSystem(s))
}

// startSystem fills in what a system needs to know of this process.
func (a *app) startSystem(ctx context.Context, cfg system.Config) (*system.System, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the service binaries beside this program: %w", err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return nil, fmt.Errorf("find the service binaries beside this program: %w", err)
	}
	cfg.BinDir = filepath.Dir(self)
	if cfg.Outside, err = env.ParseAsWithOptions[system.Outside](env.Options{Environment: env.ToMap(a.Environ)}); err != nil {
		return nil, fmt.Errorf("read the environment: %w", err)
	}
	cfg.Log = a.logger()
	return system.Start(ctx, cfg)
}

// logger is for what goes wrong while something runs.
func (a *app) logger() *slog.Logger { return slog.New(slog.NewTextHandler(a.Err, nil)) }

// stopSystem takes the system down in order; when the user asks a second time, at once. What had to be killed then was
// killed because they asked.
func (a *app) stopSystem(s interface{ Stop(context.Context) error }) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	stopped := make(chan struct{})
	defer close(stopped)
	go func() {
		select {
		case <-a.Hurry:
			cancel()
		case <-stopped:
		}
	}()
	err := s.Stop(ctx)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		fmt.Fprintln(a.Err, output.Faint("Stopped at once, as you asked; what was still busy was killed."))
		return nil
	}
	return err
}

// withoutOutside is the environment without the variables that replace parts of the system.
func withoutOutside(environ []string) []string {
	params, err := env.GetFieldParams(&system.Outside{})
	must(err)
	return slices.DeleteFunc(slices.Clone(environ), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.ContainsFunc(params, func(p env.FieldParams) bool { return p.Key == name })
	})
}
