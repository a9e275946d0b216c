// Package cli is the command line of NthLayer: one file a command, each thin over a package that does the work.
//
// Exit codes: 0 all is well, 1 an error, 2 drift was found by `team plan`, or by an audit that was followed to its end
// (`audit start --wait`, `audit schedule trigger --wait`, `audit watch`), or a plan may not be applied by itself (`policy eval`),
// or somebody may not do something (`access check`).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
)

// The exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitDrift = 2
)

// errDrift ends a comparison, or a decision, with its own exit code; what was shown of it says everything.
var errDrift = errors.New("drift found")

// Terminal is what the commands read from and write to.
type Terminal struct {
	Out, Err io.Writer
	Environ  []string
	Now      func() time.Time
	Width    int             // of the terminal that Out is; 0 where it is none
	Hurry    <-chan struct{} // closed when the user asks a second time to stop; nil: never
}

// OSTerminal is the terminal of this process.
func OSTerminal(hurry <-chan struct{}) Terminal {
	width := 0
	if fd := int(os.Stdout.Fd()); term.IsTerminal(fd) {
		if w, _, err := term.GetSize(fd); err == nil {
			width = w
		}
	}
	environ := os.Environ()
	return Terminal{
		Out: output.Writer(os.Stdout, environ), Err: output.Writer(os.Stderr, environ),
		Environ: environ, Now: time.Now, Width: width, Hurry: hurry,
	}
}

// Run executes a command line and gives the exit code.
func Run(ctx context.Context, t Terminal, args []string) int {
	root := newRoot(t)
	root.SetArgs(args)
	root.SetOut(t.Out)
	root.SetErr(t.Err)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errDrift):
		return exitDrift
	default:
		fmt.Fprintf(t.Err, "nthlayer: %s\n", connection.Explain(err))
		return exitError
	}
}

// app is what the commands share.
type app struct {
	Terminal
	settings connection.Settings
	format   string
}

func newRoot(t Terminal) *cobra.Command {
	a := &app{Terminal: t}
	root := &cobra.Command{
		Use:   "nthlayer",
		Short: "Keep on-call ownership true: what the catalogue declares, the pager shows",
		Long: `NthLayer compares who owns what in the catalogue (Cortex) with the pager (PagerDuty), shows the difference as a
plan, applies it safely, verifies it, and keeps an audit trail that can be proved.

Commands that talk to a system find it by --addr and NTHLAYER_ADDR, and else through the dev.json of a running
"nthlayer dev" in this directory.`,
		Example: `  nthlayer demo                          see it work, on an example organisation
  nthlayer dev                           keep a whole system running on this machine
  nthlayer team plan sig-storage         what would change
  nthlayer team reconcile sig-storage --wait
  nthlayer audit start --wait            compare every team`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
	}
	a.settings.Bind(root.PersistentFlags(), t.Environ)
	root.AddCommand(
		a.team(), a.run(), a.audit(), a.ignore(), a.access(), a.trail(), a.delivery(), a.dlq(), a.upstream(),
		a.dev(), a.demo(), a.simulate(), a.migrate(), a.flow(), a.policy(),
	)
	return root
}

// outputFlag adds -o to a command.
func (a *app) outputFlag(cmd *cobra.Command) { a.formatFlag(cmd, output.Formats()) }

// formatFlag adds -o with these formats, the usual one first.
func (a *app) formatFlag(cmd *cobra.Command, formats []string) {
	last := len(formats) - 1
	words := strings.Join(formats[:last], ", ") + " or " + formats[last]
	cmd.Flags().StringVarP(&a.format, "output", "o", formats[0], words)
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
	beforeRun(cmd, func() error {
		if !slices.Contains(formats, a.format) {
			return fmt.Errorf("--output %s: must be %s", a.format, words)
		}
		return nil
	})
}

// beforeRun adds a check to those that a command makes of its flags.
func beforeRun(cmd *cobra.Command, check func() error) {
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if before != nil {
			if err := before(cmd, args); err != nil {
				return err
			}
		}
		return check()
	}
}

// forPeople says whether the answer goes to a person.
func (a *app) forPeople() bool { return output.Format(a.format) == output.Table }

// group makes a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// must is for errors that only a mistake in this package can make.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && v == "(devel)" {
			v = s.Value
		}
	}
	return v
}
