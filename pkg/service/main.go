package service

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// Main runs the service until SIGINT or SIGTERM and exits the process. A second signal ends it at once.
func Main[C Config](name string, wire Wire[C]) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // back to the default: the next signal kills
	os.Exit(Run(ctx, Invocation{
		Name: name, Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr,
	}, wire))
}

// Invocation is what the operating system gives to a program.
type Invocation struct {
	Name           string
	Args           []string
	Environ        []string
	Stdout, Stderr io.Writer // logs go to Stderr
}

// Run is Main without the process: it returns the exit code when ctx has ended and the service has stopped.
func Run[C Config](ctx context.Context, inv Invocation, wire Wire[C]) int {
	flags := flag.NewFlagSet(inv.Name, flag.ContinueOnError)
	flags.SetOutput(inv.Stderr)
	checkConfig := flags.Bool("check-config", false, "print the effective configuration without secrets and exit: 0 usable, 1 not")
	showVersion := flags.Bool("version", false, "print the version and exit")
	describe := flags.Bool("config-doc", false, "print the variables that the service reads, as JSON, and exit")
	if err := flags.Parse(inv.Args); err != nil || flags.NArg() > 0 {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		if flags.NArg() > 0 {
			fmt.Fprintf(inv.Stderr, "%s takes no arguments; it is configured by environment variables, see --config-doc\n", inv.Name)
		}
		return exitUsage
	}
	switch {
	case *showVersion:
		fmt.Fprintln(inv.Stdout, inv.Name, version())
		return exitOK
	case *describe:
		return report(inv, json.NewEncoder(inv.Stdout).Encode(config.Describe[C]()))
	}

	cfg, err := config.Load[C](inv.Environ)
	if err != nil {
		return report(inv, err)
	}
	if *checkConfig {
		for _, typo := range config.Typos[C](inv.Environ) {
			fmt.Fprintln(inv.Stderr, "warning:", typo)
		}
		return report(inv, config.Write(inv.Stdout, cfg))
	}
	level := new(slog.LevelVar)
	level.Set(cfg.Base().Log.Level)
	log := telemetry.NewLogger(inv.Stderr, level).With("service", inv.Name)
	slog.SetDefault(log) // for libraries that log on their own
	for _, typo := range config.Typos[C](inv.Environ) {
		log.Warn("unknown variable", "hint", typo)
	}
	if err := serve(ctx, &Service{Name: inv.Name, Version: version(), Log: log}, cfg, level, wire); err != nil {
		log.Error("service failed", "error", err)
		return exitFailed
	}
	log.Info("service stopped")
	return exitOK
}

func report(inv Invocation, err error) int {
	if err != nil {
		fmt.Fprintf(inv.Stderr, "%s: %s\n", inv.Name, err)
		return exitFailed
	}
	return exitOK
}

func serve[C Config](ctx context.Context, s *Service, cfg C, level *slog.LevelVar, wire Wire[C]) error {
	base := cfg.Base()
	flush, err := telemetry.Setup(ctx, base.Telemetry, s.Name, s.Version, s.Log)
	if err != nil {
		return err
	}
	// First in, last out: what the other parts tell while they stop is exported too.
	s.Close("telemetry", func(ctx context.Context) error {
		if err := flush(ctx); err != nil { // lost telemetry is no failure of the service
			s.Log.Warn("the last traces and metrics were not exported", "error", err)
		}
		return nil
	})
	life := newLifecycle(s.Log)
	var effective strings.Builder
	_ = config.Write(&effective, cfg) // a Builder takes everything
	health, err := startAdmin(ctx, base.Admin.Addr, inside{config: effective.String(), level: level, log: s.Log})
	if err != nil {
		life.unwind(context.WithoutCancel(ctx), s.parts, nil)
		return err
	}
	defer health.stop()

	if err := wire(ctx, s, cfg); err != nil {
		life.unwind(context.WithoutCancel(ctx), s.parts, nil)
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil // told to stop while it started
		}
		return errors.Join(err, life.result())
	}
	health.checks = s.checks
	health.state.Store(started)
	s.Log.Info("service started", "version", s.Version, "admin_addr", health.addr.String())
	return life.run(ctx, s, func() { health.state.Store(stopping) })
}

// version is what the build recorded: the module's version, or the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	if info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
