package wire

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/pkg/store"
)

const meterName = "github.com/nthlayer/nthlayer/services/audit-scheduler"

// count shows how the fleet is: teams by status, and findings that are not resolved by kind, status and age.
func count(s *service.Service, db *store.Store) error {
	meter := otel.Meter(meterName)
	teams, err := meter.Int64ObservableGauge("nthlayer.teams", metric.WithDescription("Teams by sync status."))
	if err != nil {
		return err
	}
	findings, err := meter.Int64ObservableGauge("nthlayer.audit.findings",
		metric.WithDescription("Findings of audits that are not resolved, by kind, status and age (day, week, month, older)."))
	if err != nil {
		return err
	}
	counting, err := meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		ofTeams, ofFindings, err := db.CountFleet(ctx)
		for _, c := range ofTeams {
			o.ObserveInt64(teams, c.N, metric.WithAttributes(attribute.String("status", c.Status)))
		}
		for _, c := range ofFindings {
			o.ObserveInt64(findings, c.N, metric.WithAttributes(
				attribute.String("kind", c.Kind), attribute.String("status", c.Status), attribute.String("age", c.Age)))
		}
		return err
	}, teams, findings)
	if err != nil {
		return err
	}
	s.Close("fleet count", func(context.Context) error { return counting.Unregister() })
	return nil
}
