// Package wire builds the audit-scheduler. It is the one place where its parts are made and joined.
package wire

import (
	"context"
	"net"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/objects"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/mtls"
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/pkg/store"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/conduct"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/retention"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/schedules"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/settings"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/tick"
)

// announceAfter is how long what was announced may wait for a worker before it is announced again.
const announceAfter = 30 * time.Second

// Scheduler wires the service.
func Scheduler(ctx context.Context, s *service.Service, cfg settings.Settings) error {
	db, err := store.Open(ctx, cfg.Database.URL, store.Options{MaxConns: cfg.Database.MaxConns})
	if err != nil {
		return err
	}
	s.Close("database", func(context.Context) error { db.Close(); return nil })
	s.Ready("database", db.Ping)

	client, err := queue.Open(ctx, queue.Config(cfg.SQS))
	if err != nil {
		return err
	}
	s.Close("queue", func(context.Context) error { client.Close(); return nil })
	waiting := db.NewOutbox(store.Queues{
		Reconcile: cfg.SQS.ReconcileQueue, Notifications: cfg.SQS.NotificationsQueue, Audit: cfg.SQS.AuditQueue,
	}, announceAfter)
	relay := queue.NewRelay(waiting, queue.NewProducer(client), s.Log, queue.RelayOptions{})
	s.Go("outbox relay", relay.Run)

	hub := db.NewAuditHub(s.Log)
	s.Go("audit hub", hub.Run)
	news, unsubscribe := hub.SubscribeAll()
	s.Close("audit news", func(context.Context) error { unsubscribe(); return nil })
	conductor := conduct.New(conduct.Config{
		Store: db, News: news, Poke: relay.Poke, PublicURL: strings.TrimRight(cfg.Ticks.PublicURL, "/"), SilentFor: announceAfter, Log: s.Log,
	})
	s.Go("conductor", conductor.Run)

	ticker := &tick.Ticker{Store: db, Poke: relay.Poke, Log: s.Log, Now: time.Now}
	if cfg.Ticks.Queue == "" {
		s.Go("ticks", ticker.Loop(cfg.Ticks.Every))
	} else {
		consumer := queue.NewConsumer(client, cfg.Ticks.Queue, ticker.Handle, s.Log, queue.ConsumerOptions{Concurrency: 1})
		s.Serve("consumer of ticks", consumer.Run)
	}
	if err := count(s, db); err != nil {
		return err
	}
	if err := archive(ctx, s, db, cfg); err != nil {
		return err
	}
	return serve(ctx, s, cfg, &schedules.Server{Store: db, Poke: relay.Poke, Now: time.Now})
}

// archive moves old parts of the trail away, where a time is set after which they are old.
func archive(ctx context.Context, s *service.Service, db *store.Store, cfg settings.Settings) error {
	if cfg.Trail.Keep == 0 {
		return nil
	}
	place, err := objects.Open(ctx, objects.Config{URL: cfg.Trail.Archive, Endpoint: cfg.S3.Endpoint})
	if err != nil {
		return err
	}
	s.Close("trail archive", func(context.Context) error { place.Close(); return nil })
	moved, err := otel.Meter(meterName).Int64Counter("nthlayer.trail.archived", metric.WithDescription("Entries of the trail that were moved to archives."))
	if err != nil {
		return err
	}
	archiver := &retention.Archiver{
		Store: db, Objects: place, Place: cfg.Trail.Archive, Keep: cfg.Trail.Keep, Every: 24 * time.Hour, Now: time.Now, Log: s.Log,
		Moved: func(ctx context.Context, n int64) { moved.Add(ctx, n) },
	}
	s.Go("trail archiver", archiver.Run)
	return nil
}

// serve answers the gateway.
func serve(ctx context.Context, s *service.Service, cfg settings.Settings, server *schedules.Server) error {
	identity, err := mtls.Load(mtls.Files(cfg.TLS), s.Log)
	if err != nil {
		return err
	}
	chain, err := rpc.Internal(s.Log, "gateway")
	if err != nil {
		return err
	}
	grpcServer, err := rpc.NewServer(rpc.ServerConfig{Chain: chain, TLS: identity.Server()}, func(r grpc.ServiceRegistrar) {
		internalv1.RegisterSchedulerServiceServer(r, server)
	})
	if err != nil {
		return err
	}
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Internal.Addr)
	if err != nil {
		return fault.New(fault.Invalid, "cannot listen on NTHLAYER_INTERNAL_ADDR "+cfg.Internal.Addr+"; choose another address", err)
	}
	s.Log.Info("listening", "internal_grpc", lis.Addr().String())
	s.Serve("internal grpc", func(ctx context.Context) error { return grpcServer.Serve(ctx, lis) })
	return nil
}
