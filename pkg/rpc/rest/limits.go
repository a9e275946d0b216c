package rest

import (
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
)

const (
	maxBodyBytes = 1 << 20
	maxURIBytes  = 8 << 10
	bodyWithin   = 30 * time.Second
)

// guarded surrounds every request: a panic is answered, each answer has an id and tells browsers to do nothing clever.
func guarded(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(rpc.RequestIDKey)
		if !rpc.VisibleASCII(id, 128) {
			id = uuid.NewString()
		}
		r.Header.Set(rpc.RequestIDKey, id)
		header := w.Header()
		header.Set("X-Request-Id", id)
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Strict-Transport-Security", "max-age=31536000")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		defer func() {
			if p := recover(); p != nil {
				log.ErrorContext(r.Context(), "panic in a request", "panic", p, "request_id", id, "stack", string(debug.Stack()))
				write(w, http.StatusInternalServerError, grpcfault.ToStatus(errors.New("panic")))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// limited lets through only what the API can mean: a small JSON body, headers that are well-formed.
func limited(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.RequestURI) > maxURIBytes {
			refuse(w, r, log, http.StatusRequestURITooLong, fault.Field("path", "path and query are longer than 8 KiB"))
			return
		}
		if err := rpc.CheckIdempotencyKeys(r.Header.Values("Idempotency-Key")); err != nil {
			refuse(w, r, log, http.StatusBadRequest, grpcfault.Classify(err))
			return
		}
		content, httpStatus, problem := readBody(w, r)
		if problem != nil {
			refuse(w, r, log, httpStatus, problem)
			return
		}
		r.Body = bodyOf(content)
		next.ServeHTTP(w, r)
	})
}

// readBody takes the whole body before anything is done with it, so that size and type are answered for what they are.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, int, *fault.Error) {
	if r.ContentLength == 0 {
		return nil, 0, nil
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, http.StatusUnsupportedMediaType, fault.Field("Content-Encoding", "send the body as it is, not compressed")
	}
	if declared := r.Header.Get("Content-Type"); declared != "" {
		if media, _, err := mime.ParseMediaType(declared); err != nil || media != "application/json" {
			return nil, http.StatusUnsupportedMediaType, fault.Field("Content-Type", "the body must be JSON: send Content-Type: application/json")
		}
	}
	if r.ContentLength > maxBodyBytes {
		return nil, http.StatusRequestEntityTooLarge, tooLarge()
	}
	// A deadline for the body alone: one for the whole connection would cut streams off.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyWithin)) // not on every kind of writer
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	_ = control.SetReadDeadline(time.Time{})
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, http.StatusRequestEntityTooLarge, tooLarge()
	case err != nil:
		return nil, http.StatusBadRequest, fault.Field("body", "it did not arrive whole")
	}
	return content, 0, nil
}

func tooLarge() *fault.Error {
	return fault.Field("body", "it is larger than 1 MiB").WithReason("TOO_LARGE")
}
