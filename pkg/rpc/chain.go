package rpc

import (
	"context"
	"log/slog"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
)

// Call is what the links of a chain know of one call and tell each other.
type Call struct {
	Method    string // "/nthlayer.v1.TeamService/GetTeam"
	Stream    bool
	RequestID string
	Principal auth.Principal
	Action    string
	Resource  string
	Why       string // what allows it
	visible   auth.Visible
	authorize Authorizer
	noted     []slog.Attr
}

type callKey struct{}

// Note adds what a handler learned, such as the id it gave, to the line that is logged of the call.
func Note(ctx context.Context, attrs ...slog.Attr) {
	if call, ok := ctx.Value(callKey{}).(*Call); ok {
		call.noted = append(call.noted, attrs...)
	}
}

// Link is one named part of a chain. Around surrounds the whole call; Check sees each message of the caller before the
// handler does, in the order of the links and inside every Around. Either may be nil.
type Link struct {
	Name   string
	Around func(ctx context.Context, call *Call, next func(context.Context) error) error
	Check  func(ctx context.Context, call *Call, request proto.Message) error
}

// Chain is the ordered list of links around every call of a server.
type Chain []Link

// Names lists the links from the outermost to the innermost.
func (c Chain) Names() []string {
	names := make([]string, len(c))
	for i, link := range c {
		names[i] = link.Name
	}
	return names
}

func (c Chain) has(name string) bool { return slices.Contains(c.Names(), name) }

func (c Chain) around(ctx context.Context, call *Call, handler func(context.Context) error) error {
	for _, link := range slices.Backward(c) {
		if link.Around != nil {
			next := handler
			handler = func(ctx context.Context) error { return link.Around(ctx, call, next) }
		}
	}
	return handler(ctx)
}

func (c Chain) check(ctx context.Context, call *Call, request any) error {
	message, ok := request.(proto.Message)
	if !ok {
		return fault.New(fault.Internal, "the request is not a protobuf message", nil)
	}
	for _, link := range c {
		if link.Check == nil {
			continue
		}
		if err := link.Check(ctx, call, message); err != nil {
			return err
		}
	}
	return nil
}

// Unary is the chain as an interceptor of unary calls.
func (c Chain) Unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	call := &Call{Method: info.FullMethod}
	var response any
	err := c.around(ctx, call, func(ctx context.Context) (err error) {
		if err := c.check(ctx, call, request); err != nil {
			return err
		}
		response, err = handler(ctx, request)
		return err
	})
	if err != nil {
		return nil, grpcfault.ToStatus(err).Err()
	}
	return response, nil
}

// Stream is the chain as an interceptor of streams.
func (c Chain) Stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	call := &Call{Method: info.FullMethod, Stream: true}
	err := c.around(stream.Context(), call, func(ctx context.Context) error {
		return handler(srv, &checkedStream{ServerStream: stream, ctx: ctx, check: func(request any) error {
			return c.check(ctx, call, request)
		}})
	})
	return grpcfault.ToStatus(err).Err()
}

// checkedStream lets no message past that was not checked.
type checkedStream struct {
	grpc.ServerStream
	ctx   context.Context
	check func(request any) error
}

func (s *checkedStream) Context() context.Context { return s.ctx }

func (s *checkedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.check(m)
}
