// Package wire builds the gateway. It is the one place where its parts are made and joined.
package wire

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/mtls"
	"github.com/nthlayer/nthlayer/pkg/rpc/rate"
	"github.com/nthlayer/nthlayer/pkg/rpc/rest"
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/pkg/store"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
	"github.com/nthlayer/nthlayer/proto/gen/openapi"
	"github.com/nthlayer/nthlayer/services/gateway/internal/handler"
	"github.com/nthlayer/nthlayer/services/gateway/internal/interactions"
	"github.com/nthlayer/nthlayer/services/gateway/internal/settings"
)

const (
	// announceAfter is how long an announced run may wait for a worker before it is announced again.
	announceAfter = 30 * time.Second
	// stopWithin is how long calls under way may go on; package service gives the whole end 24 s.
	stopWithin = 20 * time.Second
)

// Gateway wires the service.
func Gateway(ctx context.Context, s *service.Service, cfg settings.Settings) error {
	db, err := store.Open(ctx, cfg.Database.URL, store.Options{MaxConns: cfg.Database.MaxConns})
	if err != nil {
		return err
	}
	s.Close("database", func(context.Context) error { db.Close(); return nil })
	s.Ready("database", db.Ping)

	if err := deadLetters(s, db); err != nil {
		return err
	}
	relay, err := outbox(ctx, s, db, cfg)
	if err != nil {
		return err
	}
	hub := db.NewEventHub(s.Log)
	s.Go("event hub", hub.Run)
	audits := db.NewAuditHub(s.Log)
	s.Go("audit hub", audits.Run)

	peers, err := dial(s, cfg)
	if err != nil {
		return err
	}
	verifier, err := auth.NewVerifier(auth.Config{
		Issuer: cfg.JWT.Issuer, KeySetURL: cfg.JWT.KeySetURL, Audiences: cfg.JWT.Audience, Log: s.Log,
	})
	if err != nil {
		return err
	}
	s.Ready("issuer", verifier.Ready)

	authorizer, err := access(ctx, s, db, cfg)
	if err != nil {
		return err
	}
	// No retries in the client: the limiter has an answer for a Redis that is away.
	shared := redis.NewClient(&redis.Options{Addr: cfg.Redis.Addr, MaxRetries: -1})
	s.Close("redis", func(context.Context) error { return shared.Close() })
	chain, err := rpc.Public(s.Log, rpc.Vouched(rpc.Bearer(verifier.Verify)), admission(s, cfg, shared), authorizer)
	if err != nil {
		return err
	}
	server, err := rpc.NewServer(rpc.ServerConfig{Chain: chain, StopWithin: stopWithin}, func(r grpc.ServiceRegistrar) {
		nthlayerv1.RegisterTeamServiceServer(r, &handler.Teams{Store: db, Planner: peers.planner, Poke: relay.Poke})
		nthlayerv1.RegisterRunServiceServer(r, &handler.Runs{Store: db, News: hub, Poke: relay.Poke})
		nthlayerv1.RegisterTrailServiceServer(r, &handler.Trail{Store: db})
		nthlayerv1.RegisterDeliveryServiceServer(r, &handler.Deliveries{Notifier: peers.notifier})
		nthlayerv1.RegisterDeadLetterServiceServer(r, &handler.DeadLetters{Store: db, Poke: relay.Poke})
		nthlayerv1.RegisterUpstreamServiceServer(r, &handler.Upstreams{Store: db})
		nthlayerv1.RegisterAuditServiceServer(r, &handler.Audits{Store: db, News: audits, Poke: relay.Poke})
		nthlayerv1.RegisterIgnoreServiceServer(r, &handler.Ignores{Store: db})
		nthlayerv1.RegisterAccessServiceServer(r, &handler.Access{Store: db, Authorizer: authorizer})
		nthlayerv1.RegisterScheduleServiceServer(r, &handler.Schedules{Scheduler: peers.scheduler, Notifier: peers.notifier, Store: db})
	})
	if err != nil {
		return err
	}
	handler, err := rest.New(rest.Config{
		Conn:     server.InProcess(),
		Services: routes(),
		Package:  "nthlayer.v1",
		Statuses: map[protoreflect.FullName]int{
			"nthlayer.v1.ReconcileTeamResponse": http.StatusAccepted, "nthlayer.v1.StartAuditResponse": http.StatusAccepted,
			"nthlayer.v1.RollbackRunResponse": http.StatusAccepted,
		},
		OpenAPI: openapi.Spec(),
		Ready:   map[string]rest.Check{"database": db.Ping, "issuer": verifier.Ready},
		Beside:  fromSlack(s, cfg, shared, peers.notifier, authorizer, server),
		Log:     s.Log,
	})
	if err != nil {
		return err
	}
	// Both are bound before either serves: a port that is taken stops the start, not a running service.
	grpcListener, err := listen(ctx, "NTHLAYER_GRPC_ADDR", cfg.Listen.GRPC)
	if err != nil {
		return err
	}
	restListener, err := listen(ctx, "NTHLAYER_REST_ADDR", cfg.Listen.REST)
	if err != nil {
		return err
	}
	s.Log.Info("listening", "rest", restListener.Addr().String(), "grpc", grpcListener.Addr().String())
	s.Serve("grpc", func(ctx context.Context) error { return server.Serve(ctx, grpcListener) })
	s.Serve("rest", func(ctx context.Context) error { return rest.Serve(ctx, restListener, handler, stopWithin, s.Log) })
	return nil
}

// admission bounds what this gateway serves at a time, and what each principal may ask of all gateways.
func admission(s *service.Service, cfg settings.Settings, shared redis.UniversalClient) rpc.Admission {
	return rpc.Admission{Calls: cfg.Load.Calls, Streams: cfg.Load.Streams, Rate: rate.New(shared, cfg.Load.PerMinute, s.Log)}
}

// fromSlack takes what people press on Slack, where that is wanted.
func fromSlack(
	s *service.Service, cfg settings.Settings, shared redis.UniversalClient, notifier internalv1.NotifierServiceClient,
	people interactions.Principals, server *rpc.Server,
) map[string]http.Handler {
	if !cfg.Slack.Enabled() {
		return nil
	}
	return map[string]http.Handler{interactions.Pattern: interactions.New(interactions.Config{
		Secrets: cfg.Slack.Secrets(), Redis: shared, Notifier: notifier, Principals: people, API: server.InProcess(), Log: s.Log,
	})}
}

// outbox moves what was accepted to the queue.
func outbox(ctx context.Context, s *service.Service, db *store.Store, cfg settings.Settings) (*queue.Relay, error) {
	client, err := queue.Open(ctx, queue.Config(cfg.SQS))
	if err != nil {
		return nil, err
	}
	s.Close("queue", func(context.Context) error { client.Close(); return nil })
	waiting := db.NewOutbox(store.Queues{
		Reconcile: cfg.SQS.ReconcileQueue, Notifications: cfg.SQS.NotificationsQueue, Audit: cfg.SQS.AuditQueue,
	}, announceAfter)
	relay := queue.NewRelay(waiting, queue.NewProducer(client), s.Log, queue.RelayOptions{})
	s.Go("outbox relay", relay.Run)
	return relay, nil
}

type peers struct {
	planner   internalv1.PlannerServiceClient
	notifier  internalv1.NotifierServiceClient
	scheduler internalv1.SchedulerServiceClient
}

// dial connects to the other services, each of which must be the role it is called as.
func dial(s *service.Service, cfg settings.Settings) (p peers, err error) {
	identity, err := mtls.Load(mtls.Files(cfg.TLS), s.Log)
	if err != nil {
		return p, err
	}
	connect := func(addr, role string) (*grpc.ClientConn, error) {
		conn, err := rpc.Dial(addr, identity.Client(role))
		if err == nil {
			s.Close("connection to "+role, func(context.Context) error { return conn.Close() })
		}
		return conn, err
	}
	planner, err := connect(cfg.Peers.Planner, "reconcile-worker")
	if err != nil {
		return p, err
	}
	notifier, err := connect(cfg.Peers.Notifier, "notifier")
	if err != nil {
		return p, err
	}
	scheduler, err := connect(cfg.Peers.Scheduler, "audit-scheduler")
	if err != nil {
		return p, err
	}
	return peers{
		internalv1.NewPlannerServiceClient(planner), internalv1.NewNotifierServiceClient(notifier),
		internalv1.NewSchedulerServiceClient(scheduler),
	}, nil
}

func listen(ctx context.Context, variable, addr string) (net.Listener, error) {
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fault.New(fault.Invalid, "cannot listen on "+variable+" "+addr+"; choose another address", err)
	}
	return lis, nil
}
