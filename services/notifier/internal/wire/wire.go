// Package wire builds the notifier. It is the one place where its parts are made and joined.
package wire

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/mail"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/mtls"
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/pkg/slack"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/upstream"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	"github.com/nthlayer/nthlayer/services/notifier/internal/deliver"
	"github.com/nthlayer/nthlayer/services/notifier/internal/handler"
	"github.com/nthlayer/nthlayer/services/notifier/internal/settings"
)

// announceAfter is how long an announced run may wait for a worker before it is announced again.
const announceAfter = 30 * time.Second

// Notifier wires the service.
func Notifier(ctx context.Context, s *service.Service, cfg settings.Settings) error {
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
	s.Ready("queue", func(ctx context.Context) error {
		_, err := client.Depth(ctx, cfg.SQS.NotificationsQueue)
		return err
	})
	// A resend and a delivery that is tried again leave at once, without a worker's or the gateway's relay.
	waiting := db.NewOutbox(store.Queues{
		Reconcile: cfg.SQS.ReconcileQueue, Notifications: cfg.SQS.NotificationsQueue, Audit: cfg.SQS.AuditQueue,
	}, announceAfter)
	relay := queue.NewRelay(waiting, queue.NewProducer(client), s.Log, queue.RelayOptions{})
	s.Go("outbox relay", relay.Run)
	announcer := &deliver.Announcer{SilentFor: cfg.Delivery.SilentFor, Announce: db.AnnounceDeliveries, Poke: relay.Poke, Log: s.Log}
	s.Go("announcer", announcer.Run)

	// Deliveries to one channel come one after the other, from whichever notifier, because the channel is the message group: a
	// limit in the process is enough.
	way, err := toSlack(ctx, s, cfg, upstream.NewLocal("slack", slack.PerMinute))
	if err != nil {
		return err
	}
	// Somebody who pressed a button does not wait behind the messages, nor may they for the 3 s that Slack gives. People press
	// few buttons: three calls each, where Slack allows 50 a minute and more of any of them.
	people, err := toSlack(ctx, s, cfg, nil)
	if err != nil {
		return err
	}
	reporter := &upstream.Reporter{Process: service.Process(), Ways: []*upstream.Transport{way}, To: db, Log: s.Log}
	s.Go("upstream reporter", reporter.Run)
	mailer, err := byEmail(ctx, s, cfg.Email)
	if err != nil {
		return err
	}
	deliverer := deliver.New(db, slack.New(slack.Config{BaseURL: cfg.Slack.URL, HTTP: way.Client()}), s.Log,
		deliver.Options{MaxAttempts: cfg.Delivery.Attempts, Mail: mailer, Buttons: cfg.Buttons.Shown})
	var options queue.ConsumerOptions
	if mailer == nil {
		// While Slack is left alone, deliveries would only be received to be put off again. E-mails do not wait for it.
		options.Hold = func(context.Context) time.Duration { return way.Hold() }
	}
	consumer := queue.NewConsumer(client, cfg.SQS.NotificationsQueue, deliverer.Handle, s.Log, options)
	s.Serve("consumer", consumer.Run)
	dead := queue.NewConsumer(client, queue.DeadLetter(cfg.SQS.NotificationsQueue), deliverer.HandleDead, s.Log, queue.ConsumerOptions{Concurrency: 1})
	s.Serve("consumer of dead letters", dead.Run)
	return serve(ctx, s, cfg, &handler.Deliveries{
		Store: db, Poke: relay.Poke, Slack: slack.New(slack.Config{BaseURL: cfg.Slack.URL, HTTP: people.Client()}),
	})
}

// toSlack makes a way to Slack.
func toSlack(ctx context.Context, s *service.Service, cfg settings.Settings, limiter upstream.Limiter) (*upstream.Transport, error) {
	credential, err := cfg.Slack.Credential(ctx)
	if err != nil {
		return nil, err
	}
	way := upstream.New(slack.Upstream(upstream.Config{
		Log: s.Log, Credentials: credential, Limiter: limiter,
	}))
	s.Close("slack", func(context.Context) error { return way.Close() })
	return way, nil
}

// byEmail makes what sends e-mails; nil: nothing is configured that could. Mail servers have limits of their own, and say
// so.
func byEmail(ctx context.Context, s *service.Service, cfg settings.Email) (deliver.Mailer, error) {
	if !cfg.Configured() {
		return nil, nil
	}
	from, err := mail.ParseAddress(cfg.From)
	if err != nil {
		return nil, err
	}
	if cfg.SESRegion == "" {
		return mail.NewSMTP(mail.SMTPConfig{
			Addr: cfg.SMTPAddr, From: from, Security: cfg.Security(), User: cfg.SMTPUser, Password: cfg.SMTPPassword,
		})
	}
	ses, err := mail.OpenSES(ctx, mail.SESConfig{Region: cfg.SESRegion, Endpoint: cfg.SESEndpoint, From: from})
	if err != nil {
		return nil, err
	}
	s.Close("ses", func(context.Context) error { ses.Close(); return nil })
	return ses, nil
}

// serve answers the gateway.
func serve(ctx context.Context, s *service.Service, cfg settings.Settings, deliveries *handler.Deliveries) error {
	identity, err := mtls.Load(mtls.Files(cfg.TLS), s.Log)
	if err != nil {
		return err
	}
	chain, err := rpc.Internal(s.Log, "gateway")
	if err != nil {
		return err
	}
	server, err := rpc.NewServer(rpc.ServerConfig{Chain: chain, TLS: identity.Server()}, func(r grpc.ServiceRegistrar) {
		internalv1.RegisterNotifierServiceServer(r, deliveries)
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
