package rpc

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// inProcess is the connection REST uses. Its streams learn of a refusal before anything of an answer is written, so that
// a refused stream can still be an HTTP error with its own status.
type inProcess struct{ grpc.ClientConnInterface }

func (c inProcess) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
	if err != nil || desc.ClientStreams {
		return stream, err
	}
	return &peekedStream{ClientStream: stream, method: method}, nil
}

// peekedStream is a stream of answers to one request.
type peekedStream struct {
	grpc.ClientStream
	method string
	peeked bool
	first  proto.Message // received by Header, not yet given to RecvMsg
	err    error
}

// SendMsg hides that the call ended before it took the request: its error comes from RecvMsg, as over the network.
func (s *peekedStream) SendMsg(m any) error {
	if err := s.ClientStream.SendMsg(m); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// Header waits for the first message, and fails where the call fails before it.
func (s *peekedStream) Header() (metadata.MD, error) {
	if !s.peeked {
		s.peeked = true
		s.first, s.err = s.peek()
	}
	if s.err != nil && !errors.Is(s.err, io.EOF) {
		return nil, s.err
	}
	return s.ClientStream.Header()
}

func (s *peekedStream) peek() (proto.Message, error) {
	method, ok := descriptor(s.method)
	if !ok {
		return nil, errors.New("unknown method " + s.method)
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
	if err != nil {
		return nil, err
	}
	first := kind.New().Interface()
	if err := s.ClientStream.RecvMsg(first); err != nil {
		return nil, err
	}
	return first, nil
}

func (s *peekedStream) RecvMsg(m any) error {
	if s.err != nil {
		return s.err
	}
	if s.first == nil {
		return s.ClientStream.RecvMsg(m)
	}
	proto.Merge(m.(proto.Message), s.first)
	s.first = nil
	return nil
}
