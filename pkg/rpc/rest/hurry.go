package rest

import (
	"net/http"
	"time"
)

// readWithin is how long a caller may take to read a piece of an answer.
const readWithin = 30 * time.Second

// hurried gives a caller some time for each piece of an answer. Whoever stops reading must not hold a goroutine, and a place
// among the calls that are served, for ever. A stream goes on for as long as somebody reads it.
func hurried(within time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &hurriedWriter{ResponseWriter: w, control: http.NewResponseController(w), within: within}
		answer.hurry()       // the connection may have been quiet for long
		defer answer.hurry() // the server writes what is left when the handler has returned
		next.ServeHTTP(answer, r)
	})
}

type hurriedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	within  time.Duration
}

// hurry begins the time anew. Not every kind of writer has deadlines; those without write to memory.
func (w *hurriedWriter) hurry() { _ = w.control.SetWriteDeadline(time.Now().Add(w.within)) }

func (w *hurriedWriter) WriteHeader(status int) {
	w.hurry()
	w.ResponseWriter.WriteHeader(status)
}

func (w *hurriedWriter) Write(p []byte) (int, error) {
	w.hurry()
	return w.ResponseWriter.Write(p)
}

// Flush is what grpc-gateway looks for to send each event at once.
func (w *hurriedWriter) Flush() {
	w.hurry()
	_ = w.control.Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (w *hurriedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
