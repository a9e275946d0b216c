package wire

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// deadLetters shows how many dead letters wait for somebody: the number to be alarmed by.
func deadLetters(s *service.Service, db *store.Store) error {
	meter := otel.Meter("github.com/nthlayer/nthlayer/services/gateway")
	gauge, err := meter.Int64ObservableGauge("nthlayer.dead_letters", metric.WithDescription("Dead letters that wait for somebody."))
	if err != nil {
		return err
	}
	counting, err := meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		n, err := db.CountDead(ctx)
		if err == nil {
			o.ObserveInt64(gauge, n)
		}
		return err
	}, gauge)
	if err != nil {
		return err
	}
	s.Close("dead letter count", func(context.Context) error { return counting.Unregister() })
	return nil
}
