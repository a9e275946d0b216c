package wire

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/nthlayer/nthlayer/pkg/objects"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/settings"
)

const policyEvery = 15 * time.Second // a company's rules are looked at again

// guards are the rules that decide on plans, kept up to date.
func guards(ctx context.Context, s *service.Service, cfg settings.Settings) (*rules.Keeper, error) {
	var bundle objects.Store
	if cfg.Rules.Policy != "" {
		var err error
		if bundle, err = objects.Open(ctx, objects.Config{URL: cfg.Rules.Policy, Endpoint: cfg.S3.Endpoint}); err != nil {
			return nil, err
		}
		s.Close("policy", func(context.Context) error { bundle.Close(); return nil })
	}
	keeper, err := rules.Open(ctx, bundle, s.Log)
	if err != nil {
		return nil, err
	}
	if err := watchPolicy(s, keeper); err != nil {
		return nil, err
	}
	s.Go("policy", func(ctx context.Context) error {
		look := time.NewTicker(policyEvery)
		defer look.Stop()
		return keeper.Run(ctx, look.C)
	})
	return keeper, nil
}

// watchPolicy shows for how long a new policy has not been taken, because it is broken or cannot be read: to be alarmed by.
func watchPolicy(s *service.Service, keeper *rules.Keeper) error {
	meter := otel.Meter("github.com/nthlayer/nthlayer/services/reconcile-worker")
	gauge, err := meter.Float64ObservableGauge("nthlayer.policy.stale", metric.WithUnit("s"),
		metric.WithDescription("For how long a new policy has been broken or could not be read; 0: the newest one decides."))
	if err != nil {
		return err
	}
	watching, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		stale := 0.0
		if since, is := keeper.Stale(); is {
			stale = time.Since(since).Seconds()
		}
		o.ObserveFloat64(gauge, stale)
		return nil
	}, gauge)
	if err != nil {
		return err
	}
	s.Close("policy metric", func(context.Context) error { return watching.Unregister() })
	return nil
}
