package rest

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// body is a request's body, read whole. The gateway hands it to the decoder alone, and of the decoder's error it keeps
// the text; what either of them has to know beyond that lies here.
type body struct {
	bytes.Reader
	path    map[string]string // the path's parameters
	problem error             // why the body is not the message
}

func (*body) Close() error { return nil }

func bodyOf(content []byte) *body {
	b := &body{}
	b.Reset(content)
	return b
}

// knowPath tells the body what the path says.
func knowPath(next runtime.HandlerFunc) runtime.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request, path map[string]string) {
		if b, ok := r.Body.(*body); ok {
			b.path = path
		}
		next(w, r, path)
	}
}

// agreesWithPath: a body may repeat what the path says and not contradict it. The gateway would pass the contradiction
// over, and pause another team than the one that the body names.
func (b *body) agreesWithPath(message proto.Message) error {
	m := message.ProtoReflect()
	for name, value := range b.path {
		field := m.Descriptor().Fields().ByName(protoreflect.Name(name))
		if field != nil && m.Has(field) && m.Get(field).String() != value {
			return fault.Field(name, fmt.Sprintf("the path says %s; leave it out of the body, or say the same", value))
		}
	}
	return nil
}
