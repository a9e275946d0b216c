package rules

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/nthlayer/nthlayer/pkg/policy"
)

// Keeper decides by the newest good state of a company's bundle. A broken update changes nothing: the last good state
// stays, and the log says what is wrong with the new one.
type Keeper struct {
	read func() (Files, error)
	log  *slog.Logger

	current atomic.Pointer[Engine]
	seen    string // the newest revision looked at, good or not; "" where it could not be read
}

// Open starts with the bundle in a directory; "" stands for the shipped rules alone. Without a good bundle there is no
// Keeper: nothing may be decided by rules other than the company's.
func Open(ctx context.Context, dir string, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{read: func() (Files, error) { return nil, nil }, log: log}
	if dir != "" {
		k.read = func() (Files, error) { return ReadFiles(os.DirFS(dir), ".") }
	}
	files, err := k.read()
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	if err := k.take(ctx, files); err != nil {
		return nil, fmt.Errorf("the policy in %s: %w", dir, err)
	}
	k.seen = files.revision()
	return k, nil
}

func (k *Keeper) take(ctx context.Context, files Files) error {
	bundle, err := Load(files)
	if err != nil {
		return err
	}
	engine, err := NewEngine(ctx, bundle)
	if err != nil {
		return err
	}
	k.current.Store(engine)
	return nil
}

// Run looks for a new state of the bundle at every tick until ctx ends.
func (k *Keeper) Run(ctx context.Context, tick <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
			k.renew(ctx)
		}
	}
}

// renew takes a state it has not looked at.
func (k *Keeper) renew(ctx context.Context) {
	files, err := k.read()
	if err != nil {
		if k.seen != "" {
			k.log.ErrorContext(ctx, "the policy cannot be read; the last good one stays", "error", err, "revision", k.Revision())
		}
		k.seen = ""
		return
	}
	revision := files.revision()
	if revision == k.seen {
		return
	}
	k.seen = revision
	if revision == k.Revision() { // back again
		return
	}
	if err := k.take(ctx, files); err != nil {
		k.log.ErrorContext(ctx, "the new policy is broken; the last good one stays", "error", err, "broken", revision, "revision", k.Revision())
		return
	}
	k.log.InfoContext(ctx, "new policy", "revision", revision)
}

// Revision is the state of the bundle that decides now.
func (k *Keeper) Revision() string { return k.current.Load().Revision() }

// Decide asks all rules of the bundle as it is now.
func (k *Keeper) Decide(ctx context.Context, in Input) (policy.Decision, error) {
	return k.current.Load().Decide(ctx, in)
}
