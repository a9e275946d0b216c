package sqs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	contentType  = "application/x-amz-json-1.0"
	targetPrefix = "AmazonSQS."
	// maxRequestBytes: 1 MiB of payload in which JSON may write every byte with six, and room for the rest.
	maxRequestBytes = 6*maxMessageBytes + 1<<20
)

// call is what an action may know beside its input.
type call struct {
	ctx   context.Context
	base  string // scheme and host the caller used: queue URLs start with it
	fault Fault  // what is injected into it; the zero Fault is none
}

// action decodes the input, does its work and gives the output to encode.
type action func(s *Server, c call, body []byte) (any, *apiError)

// actions of the protocol by name. ReceiveMessage waits, so it locks for itself; all others run under the lock.
func actions() map[string]action {
	return map[string]action{
		"CreateQueue":                  locked((*Server).createQueue),
		"GetQueueUrl":                  locked((*Server).getQueueURL),
		"ListQueues":                   locked((*Server).listQueues),
		"ListDeadLetterSourceQueues":   locked((*Server).listDeadLetterSourceQueues),
		"DeleteQueue":                  locked((*Server).deleteQueue),
		"PurgeQueue":                   locked((*Server).purgeQueue),
		"GetQueueAttributes":           locked((*Server).getQueueAttributes),
		"SetQueueAttributes":           locked((*Server).setQueueAttributes),
		"TagQueue":                     locked((*Server).tagQueue),
		"UntagQueue":                   locked((*Server).untagQueue),
		"ListQueueTags":                locked((*Server).listQueueTags),
		"SendMessage":                  locked((*Server).sendMessage),
		"SendMessageBatch":             locked((*Server).sendMessageBatch),
		"ReceiveMessage":               decoded((*Server).receiveMessage),
		"DeleteMessage":                locked((*Server).deleteMessage),
		"DeleteMessageBatch":           locked((*Server).deleteMessageBatch),
		"ChangeMessageVisibility":      locked((*Server).changeMessageVisibility),
		"ChangeMessageVisibilityBatch": locked((*Server).changeMessageVisibilityBatch),
		"StartMessageMoveTask":         locked((*Server).startMessageMoveTask),
		"ListMessageMoveTasks":         locked((*Server).listMessageMoveTasks),
		"CancelMessageMoveTask":        locked((*Server).cancelMessageMoveTask),
	}
}

func decoded[In, Out any](f func(*Server, call, In) (Out, *apiError)) action {
	return func(s *Server, c call, body []byte) (any, *apiError) {
		in, err := decode[In](body)
		if err != nil {
			return nil, serialization(err)
		}
		return f(s, c, in)
	}
}

func locked[In, Out any](f func(*Server, call, time.Time, In) (Out, *apiError)) action {
	return decoded(func(s *Server, c call, in In) (Out, *apiError) {
		now := s.lock()
		defer s.mu.Unlock()
		return f(s, c, now, in)
	})
}

// decode reads one JSON object. Fields it does not know are ignored, as SQS does.
func decode[In any](body []byte) (In, error) {
	var in In
	if len(body) == 0 || body[0] != '{' {
		return in, errors.New("the request body must be a JSON object")
	}
	err := json.Unmarshal(body, &in)
	return in, err
}

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	s.control(mux)
	known := actions()
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, known) })
	return mux
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, known map[string]action) {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
	act := known[name]
	if !ok || act == nil {
		writeError(w, &apiError{400, "com.amazon.coral.service#UnknownOperationException", "InvalidAction",
			"The action " + strconv.Quote(name) + " is not valid for this endpoint."})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	if err != nil {
		writeError(w, serialization(err))
		return
	}
	c := call{ctx: r.Context(), base: base(r)}
	f := s.takeFault(name)
	if f != nil {
		c.fault = *f
		if f.DelayMS > 0 && !s.sleep(r.Context(), time.Duration(f.DelayMS)*time.Millisecond, nil) {
			return
		}
		if f.Drop {
			panic(http.ErrAbortHandler) // net/http closes the connection without an answer
		}
		if f.Status != 0 {
			writeFault(w, f)
			return
		}
	}
	out, failed := act(s, c, body)
	switch {
	case f != nil && f.LoseAnswer:
		panic(http.ErrAbortHandler)
	case failed != nil:
		writeError(w, failed)
	default:
		writeJSON(w, http.StatusOK, contentType, out)
	}
}

func base(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

func writeError(w http.ResponseWriter, e *apiError) {
	fault := "Sender"
	if !e.senderFault() {
		fault = "Receiver"
	}
	w.Header().Set("x-amzn-query-error", e.queryCode+";"+fault)
	writeJSON(w, e.status, contentType, map[string]string{"__type": e.shape, "message": e.message})
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("x-amzn-RequestId", newID())
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // an error here means that the caller is gone
}
