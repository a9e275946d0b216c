package rest

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/protobuf/proto"

	"github.com/nthlayer/nthlayer/pkg/rpc/apijson"
)

// strictJSON takes one JSON value that is the message, and nothing after it.
type strictJSON struct{ runtime.JSONPb }

func (j *strictJSON) NewDecoder(r io.Reader) runtime.Decoder {
	return runtime.DecoderFunc(func(into any) error {
		decoder := json.NewDecoder(r)
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return err // io.EOF: no body at all, which the gateway takes as an empty message
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			return errors.New("there is something after the JSON object")
		}
		message, ok := into.(proto.Message)
		if !ok {
			return j.Unmarshal(raw, into)
		}
		err := apijson.Unmarshal(raw, message)
		if b, ok := r.(*body); ok {
			if err == nil {
				err = b.agreesWithPath(message)
			}
			b.problem = err
		}
		return err
	})
}

// eventStream writes the messages of a stream as server-sent events, for callers that accept those.
type eventStream struct{ *strictJSON }

func (*eventStream) StreamContentType(any) string { return "text/event-stream" }

func (e *eventStream) Marshal(v any) ([]byte, error) {
	body, err := e.strictJSON.Marshal(v)
	if err != nil || !isChunk(v) {
		return body, err
	}
	return append(append([]byte("data: "), body...), '\n'), nil // the delimiter ends the event with another newline
}

// isChunk: the gateway wraps what it sends on a stream in a map, {"result": …} or {"error": …}; everything else is a
// message.
func isChunk(v any) bool {
	switch v.(type) {
	case map[string]any, map[string]proto.Message:
		return true
	}
	return false
}
