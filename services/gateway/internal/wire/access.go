package wire

import (
	"context"
	"time"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/services/gateway/internal/settings"
)

const (
	// readGrants is how often the grants are read although nobody said that they have changed.
	readGrants = 10 * time.Second
	// readWithin bounds one reading: a connection that died silently must not keep the next from being tried.
	readWithin = 5 * time.Second
)

// access decides who may do what, by what is granted in the database at any moment: a change there is told to all gateways, and
// read again now and then in case that was lost.
func access(ctx context.Context, s *service.Service, db *store.Store, cfg settings.Settings) (*auth.Authorizer, error) {
	authorizer := auth.NewAuthorizer(store.Directory{Store: db, Roles: cfg.Roles.Map})
	learn := func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, readWithin)
		defer cancel()
		grants, err := db.Grants(ctx)
		if err == nil {
			authorizer.Learn(grants)
		}
		return err
	}
	if err := learn(ctx); err != nil {
		return nil, err
	}
	hub := db.NewAccessHub(s.Log)
	s.Go("access hub", hub.Run)
	s.Go("access", func(ctx context.Context) error {
		news, stop := hub.SubscribeAll()
		defer stop()
		again := time.NewTicker(readGrants)
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-news:
			case <-again.C:
			}
			if err := learn(ctx); err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "the grants cannot be read; those that were read last count for a while", "error", err)
			}
		}
	})
	return authorizer, nil
}
