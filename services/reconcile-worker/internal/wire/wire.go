// Package wire builds the reconcile-worker. It is the one place where its parts are made and joined.
package wire

import (
	"context"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/cortex"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/reconcile"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/mtls"
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/upstream"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/audits"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/catalogue"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/planner"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/settings"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/work"
)

// Worker wires the service.
func Worker(ctx context.Context, s *service.Service, cfg settings.Settings) error {
	db, err := store.Open(ctx, cfg.Database.URL, store.Options{MaxConns: cfg.Database.MaxConns})
	if err != nil {
		return err
	}
	s.Close("database", func(context.Context) error { db.Close(); return nil })
	s.Ready("database", db.Ping)

	process := service.Process()
	to, err := reach(ctx, s, cfg)
	if err != nil {
		return err
	}
	reporter := &upstream.Reporter{Process: process, Ways: to.ways, To: db, Log: s.Log}
	s.Go("upstream reporter", reporter.Run)
	guard, err := guards(ctx, s, cfg)
	if err != nil {
		return err
	}
	flow, err := reconcile.New(reconcile.Parts{
		Source: to.source, Target: to.target, Applier: reconcile.Live{Writer: to.target}, Links: db, Ignores: db, Guard: guard, Trail: db,
		Settings: reconcile.Settings{
			Roles: cfg.Roles.Map, CreateTeams: cfg.Rules.CreateTeams, Channel: cfg.Slack.ID, VerifyWithin: cfg.Rules.VerifyWithin,
			ApproveWithin: cfg.Work.ApproveWithin,
		},
	})
	if err != nil {
		return err
	}
	events := db.NewEventLog(s.Log)
	s.Go("event log", events.Run)
	client, err := queue.Open(ctx, queue.Config(cfg.SQS))
	if err != nil {
		return err
	}
	s.Close("queue", func(context.Context) error { client.Close(); return nil })
	waiting := db.NewOutbox(store.Queues{
		Reconcile: cfg.SQS.ReconcileQueue, Notifications: cfg.SQS.NotificationsQueue, Audit: cfg.SQS.AuditQueue,
	}, cfg.Work.Lease)
	relay := queue.NewRelay(waiting, queue.NewProducer(client), s.Log, queue.RelayOptions{})
	s.Go("outbox relay", relay.Run)
	consume(s, client, db, work.Options{
		Terms:       store.Terms{Owner: process, Lease: cfg.Work.Lease, PlanGoodFor: cfg.Work.PlanGoodFor},
		MaxAttempts: cfg.Work.MaxAttempts, Backoff: cfg.Work.Backoff, Patience: cfg.Work.Patience, Attempt: cfg.Work.Attempt,
		Hold: to.hold,
	}, flow, events, relay.Poke, cfg)
	consumeAudits(s, client, audits.New(db, to.source, to.target.Reader(), relay.Poke, s.Log, audits.Options{
		Owner: process, Lease: cfg.Work.Lease, Patience: cfg.Audit.Patience, Settle: cfg.Audit.Settle, Shrink: cfg.Audit.Shrink,
		Roles: cfg.Roles.Map, CreateTeams: cfg.Rules.CreateTeams, OwnToken: to.ownToken,
	}), cfg)
	refresher := &catalogue.Refresher{Source: to.source, Store: db, Log: s.Log, Period: cfg.Work.Catalogue}
	s.Go("catalogue", refresher.Run)
	return plan(ctx, s, flow, cfg)
}

// platforms are the clients of both platforms and the ways to them.
type platforms struct {
	source   *cortex.Client
	target   *pagerduty.Client
	ways     []*upstream.Transport
	ownToken func() string // what PagerDuty's records show of the token
}

// hold is how long runs are better left in the queue, because a platform that each of them needs is left alone.
func (p platforms) hold() (longest time.Duration) {
	for _, way := range p.ways {
		longest = max(longest, way.Hold())
	}
	return longest
}

// reach makes the clients. All workers share their quotas through Redis.
func reach(ctx context.Context, s *service.Service, cfg settings.Settings) (platforms, error) {
	toSource, err := cfg.Cortex.Credential(ctx)
	if err != nil {
		return platforms{}, err
	}
	toTarget, err := cfg.PagerDuty.Credential(ctx)
	if err != nil {
		return platforms{}, err
	}
	shared := redis.NewClient(&redis.Options{Addr: cfg.Redis.Addr})
	s.Close("redis", func(context.Context) error { return shared.Close() })
	way := func(platform string, credential *config.Credential, perMinute int) upstream.Config {
		return upstream.Config{Log: s.Log, Credentials: credential, Limiter: upstream.NewShared(shared, upstream.SharedConfig{
			Platform: platform, Credentials: credential, PerMinute: perMinute, Log: s.Log,
		})}
	}
	source := upstream.New(cortex.Upstream(way("cortex", toSource, cfg.Quota.Cortex)))
	s.Close("cortex", func(context.Context) error { return source.Close() })
	target := upstream.New(pagerduty.Upstream(way("pagerduty", toTarget, cfg.Quota.PagerDuty)))
	s.Close("pagerduty", func(context.Context) error { return target.Close() })
	return platforms{
		source:   cortex.New(cortex.Config{BaseURL: cfg.Cortex.URL, HTTP: source.Client()}),
		target:   pagerduty.New(pagerduty.Config{BaseURL: cfg.PagerDuty.URL, HTTP: target.Client()}),
		ways:     []*upstream.Transport{source, target},
		ownToken: func() string { return pagerduty.Truncated(toTarget.Current().Reveal()) },
	}, nil
}

// consume works on the runs that the queue brings.
func consume(
	s *service.Service, client *queue.Client, db *store.Store, opts work.Options, flow *reconcile.Flow, events *store.EventLog,
	poke func(), cfg settings.Settings,
) {
	control := db.NewControlHub(s.Log)
	s.Go("control hub", control.Run)
	worker := work.New(db, flow, events, control, poke, s.Log, opts)
	consumer := queue.NewConsumer(client, cfg.SQS.ReconcileQueue, worker.Handle, s.Log, queue.ConsumerOptions{
		Concurrency: cfg.Work.Concurrency, Visibility: cfg.Work.Lease, Hold: worker.Hold,
	})
	s.Serve("consumer", consumer.Run)
	dead := queue.NewConsumer(client, queue.DeadLetter(cfg.SQS.ReconcileQueue), worker.HandleDead, s.Log, queue.ConsumerOptions{Concurrency: 1})
	s.Serve("consumer of dead letters", dead.Run)
}

// consumeAudits works on the parts of audits that the queue brings.
func consumeAudits(s *service.Service, client *queue.Client, worker *audits.Worker, cfg settings.Settings) {
	consumer := queue.NewConsumer(client, cfg.SQS.AuditQueue, worker.Handle, s.Log, queue.ConsumerOptions{
		Concurrency: cfg.Audit.Concurrency, Visibility: cfg.Work.Lease,
	})
	s.Serve("consumer of audits", consumer.Run)
	dead := queue.NewConsumer(client, queue.DeadLetter(cfg.SQS.AuditQueue), worker.HandleDead, s.Log, queue.ConsumerOptions{Concurrency: 1})
	s.Serve("consumer of audits' dead letters", dead.Run)
}

// plan answers the gateway.
func plan(ctx context.Context, s *service.Service, flow *reconcile.Flow, cfg settings.Settings) error {
	identity, err := mtls.Load(mtls.Files(cfg.TLS), s.Log)
	if err != nil {
		return err
	}
	chain, err := rpc.Internal(s.Log, "gateway")
	if err != nil {
		return err
	}
	server, err := rpc.NewServer(rpc.ServerConfig{Chain: chain, TLS: identity.Server()}, func(r grpc.ServiceRegistrar) {
		internalv1.RegisterPlannerServiceServer(r, &planner.Server{Flow: flow})
	})
	if err != nil {
		return err
	}
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Internal.Addr)
	if err != nil {
		return fault.New(fault.Invalid, "cannot listen on NTHLAYER_INTERNAL_ADDR "+cfg.Internal.Addr+"; choose another address", err)
	}
	s.Log.Info("listening", "internal_grpc", lis.Addr().String())
	s.Serve("internal grpc", func(ctx context.Context) error { return server.Serve(ctx, lis) })
	return nil
}
