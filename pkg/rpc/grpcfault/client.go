package grpcfault

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
)

// UnaryClient makes the errors of unary calls faults.
func UnaryClient(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return FromError(invoke(ctx, method, req, reply, cc, opts...))
}

// StreamClient makes the errors of streams faults, those at the start and those on the way. The end stays io.EOF.
func StreamClient(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, FromError(err)
	}
	return faultStream{stream}, nil
}

type faultStream struct{ grpc.ClientStream }

func (s faultStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return FromError(err)
}
