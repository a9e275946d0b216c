package rules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	"github.com/nthlayer/nthlayer/pkg/objects"
	"github.com/nthlayer/nthlayer/pkg/policy"
)

// Keeper decides by the newest good state of a company's bundle. An update that is broken or half there changes nothing: the
// last good state stays, and the log says what is wrong with the new one.
type Keeper struct {
	store objects.Store // nil: the shipped rules alone
	log   *slog.Logger

	current atomic.Pointer[Engine]
	stale   atomic.Pointer[time.Time]

	seen    listing // the newest state looked at, good or not
	broken  bool    // that state is
	trouble string  // the last one that was logged
}

// Open starts with the bundle in a store; nil stands for the shipped rules alone. Without a good bundle there is no Keeper:
// nothing may be decided by rules other than the company's.
func Open(ctx context.Context, store objects.Store, log *slog.Logger) (*Keeper, error) {
	k := &Keeper{store: store, log: log}
	var files Files
	if store != nil {
		var err error
		if k.seen, err = list(ctx, store); err == nil {
			files, err = read(ctx, store, k.seen)
		}
		if err != nil {
			return nil, fmt.Errorf("read the policy: %w", err)
		}
	}
	if err := k.take(ctx, files); err != nil {
		return nil, fmt.Errorf("load the policy: %w", err)
	}
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
		case now := <-tick:
			if k.store != nil {
				k.renew(ctx, now)
			}
		}
	}
}

// renew takes a state it has not looked at.
func (k *Keeper) renew(ctx context.Context, now time.Time) {
	listed, err := list(ctx, k.store)
	if err == nil && maps.Equal(listed, k.seen) {
		if !k.broken {
			k.fresh()
		}
		return
	}
	var files Files
	if err == nil {
		files, err = read(ctx, k.store, listed)
	}
	switch {
	case ctx.Err() != nil: // the process stops
		return
	case errors.Is(err, errChanging): // and is looked at again
		k.keep(ctx, now, slog.LevelInfo, "the policy is being changed; the last good one stays", err)
		return
	case err != nil:
		k.keep(ctx, now, slog.LevelError, "the policy cannot be read; the last good one stays", err)
		return
	}
	before, revision := k.Revision(), files.revision()
	if revision != before { // else it is back again
		if err := k.take(ctx, files); err != nil {
			if ctx.Err() != nil {
				return
			}
			k.seen, k.broken = listed, true
			k.keep(ctx, now, slog.LevelError, "the new policy is broken; the last good one stays", err, slog.String("broken", revision))
			return
		}
		k.log.InfoContext(ctx, "new policy", "revision", revision, "before", before)
	}
	k.seen, k.broken = listed, false
	k.fresh()
}

// keep says, once, why there is nothing newer.
func (k *Keeper) keep(ctx context.Context, now time.Time, level slog.Level, what string, err error, attrs ...slog.Attr) {
	k.stale.CompareAndSwap(nil, &now)
	if why := what + err.Error(); why != k.trouble {
		k.trouble = why
		//nolint:sloglint // what is one of three literals
		k.log.LogAttrs(ctx, level, what, append(attrs, slog.Any("error", err), slog.String("revision", k.Revision()))...)
	}
}

func (k *Keeper) fresh() {
	k.stale.Store(nil)
	k.trouble = ""
}

// Stale tells since when there is a newer state of the bundle that is broken or cannot be read; false: there is none.
func (k *Keeper) Stale() (since time.Time, stale bool) {
	if at := k.stale.Load(); at != nil {
		return *at, true
	}
	return time.Time{}, false
}

// Revision is the state of the bundle that decides now.
func (k *Keeper) Revision() string { return k.current.Load().Revision() }

// Decide asks all rules of the bundle as it is now.
func (k *Keeper) Decide(ctx context.Context, in Input) (policy.Decision, error) {
	return k.current.Load().Decide(ctx, in)
}
