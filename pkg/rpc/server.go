package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const (
	maxReceiveBytes = 1 << 20  // 5,000 desired members have about 600 kB
	maxHeaderBytes  = 32 << 10 // a token is at most 8 kB
	maxStreams      = 250      // on one connection
	connectWithin   = 10 * time.Second
)

// ServerConfig describes a gRPC server.
type ServerConfig struct {
	Chain      Chain
	TLS        *tls.Config   // nil: plaintext, for loopback and behind a load balancer that ends TLS
	StopWithin time.Duration // how long calls may go on after the end was asked for; 20 s when 0
}

// Server serves the same services over the network and, for REST, in process. Both ways pass the same chain.
type Server struct {
	network    *grpc.Server
	inProcess  *inprocgrpc.Channel
	health     *health.Server
	stopWithin time.Duration
	stopping   context.Context
	stop       context.CancelCauseFunc
}

// NewServer makes a server with the services that register adds, health and reflection. It fails where the chain
// authorizes and a method does not declare its access.
func NewServer(c ServerConfig, register func(grpc.ServiceRegistrar)) (*Server, error) {
	if c.StopWithin == 0 {
		c.StopWithin = 20 * time.Second
	}
	s := &Server{health: health.NewServer(), stopWithin: c.StopWithin}
	s.stopping, s.stop = context.WithCancelCause(context.Background())
	chain := append(Chain{s.endingStreams()}, c.Chain...)

	options := []grpc.ServerOption{
		grpc.UnaryInterceptor(chain.Unary),
		grpc.StreamInterceptor(chain.Stream),
		grpc.StatsHandler(otelgrpc.NewServerHandler()),
		grpc.MaxRecvMsgSize(maxReceiveBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(connectWithin),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 15 * time.Minute, Time: time.Minute, Timeout: 20 * time.Second}),
	}
	if c.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(c.TLS)))
	}
	s.network = grpc.NewServer(options...)
	s.inProcess = (&inprocgrpc.Channel{}).
		WithServerUnaryInterceptor(chain.Unary).
		WithServerStreamInterceptor(chain.Stream).
		WithServerStatsHandler(otelgrpc.NewServerHandler())

	register(both{s.network, s.inProcess})
	healthgrpc.RegisterHealthServer(s.network, s.health)
	reflection.Register(s.network)
	if c.Chain.has("authz") {
		if err := checkAccess(s.network.GetServiceInfo()); err != nil {
			return nil, err
		}
	}
	return s, nil
}

type both struct{ network, inProcess grpc.ServiceRegistrar }

func (b both) RegisterService(desc *grpc.ServiceDesc, impl any) {
	b.network.RegisterService(desc, impl)
	b.inProcess.RegisterService(desc, impl)
}

// InProcess is a connection to the server that passes the whole chain and no network.
func (s *Server) InProcess() grpc.ClientConnInterface { return inProcess{s.inProcess} }

// Serve answers calls on lis until ctx ends. Then health turns to NOT_SERVING, streams are told to reconnect, and calls
// under way have StopWithin to end. It returns nil after an asked-for end.
func (s *Server) Serve(ctx context.Context, lis net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- s.network.Serve(lis) }()
	select {
	case err := <-served:
		s.stop(errStopping())
		return err
	case <-ctx.Done():
	}
	s.health.Shutdown()
	s.stop(errStopping())
	patience := time.AfterFunc(s.stopWithin, s.network.Stop)
	defer patience.Stop()
	s.network.GracefulStop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

func errStopping() error {
	return fault.New(fault.Unavailable, "the server is stopping; connect again", nil).WithReason("SERVER_STOPPING")
}

// endingStreams ends streams when the server stops: they would outlive any patience, and their clients know how to
// resume.
func (s *Server) endingStreams() Link {
	return Link{Name: "stop", Around: func(ctx context.Context, call *Call, next func(context.Context) error) error {
		if !call.Stream {
			return next(ctx)
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(s.stopping, func() { cancel(context.Cause(s.stopping)) })()
		err := next(ctx)
		if err != nil && s.stopping.Err() != nil && errors.Is(context.Cause(ctx), context.Cause(s.stopping)) {
			return context.Cause(s.stopping)
		}
		return err
	}}
}
