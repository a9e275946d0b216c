// Command configdoc writes docs/config.md: every environment variable of every service, as the services describe
// themselves with --config-doc.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"github.com/nthlayer/nthlayer/pkg/config"
)

//go:generate go run . -o ../../../docs/config.md ../../../services/gateway ../../../services/reconcile-worker ../../../services/notifier ../../../services/audit-scheduler

func main() {
	out := flag.String("o", "", "the file to write")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *out, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "configdoc:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string, dirs []string) error {
	var services []service
	for _, dir := range dirs {
		variables, err := describe(ctx, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		services = append(services, service{filepath.Base(dir), variables})
	}
	page, err := render(services)
	if err != nil {
		return err
	}
	return os.WriteFile(out, page, 0o644)
}

// describe asks the service itself: its structs are nobody else's.
func describe(ctx context.Context, dir string) ([]config.Variable, error) {
	cmd := exec.CommandContext(ctx, "go", "run", dir, "--config-doc")
	cmd.Stderr = os.Stderr
	content, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var variables []config.Variable
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	return variables, decoder.Decode(&variables)
}
