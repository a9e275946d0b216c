package rest

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/apijson"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
)

// callFailed answers with the error of a call. One without details did not come from a call but from the translation of
// the request: it is made one of ours, and logged, for the chain has not seen it.
func callFailed(log *slog.Logger) runtime.ErrorHandlerFunc {
	return func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
		var malformed *runtime.HTTPStatusError
		if errors.As(err, &malformed) {
			refuse(w, r, log, malformed.HTTPStatus, fault.Field("path", malformed.Error()))
			return
		}
		s := status.Convert(err)
		if s.Code() == codes.InvalidArgument && len(s.Details()) == 0 {
			refuse(w, r, log, http.StatusBadRequest, untranslatable(r, s.Message()))
			return
		}
		write(w, runtime.HTTPStatusFromCode(s.Code()), s)
	}
}

// misread stands in what the gateway says of a query, for example `parsing field "page_size": strconv…`.
var misread = regexp.MustCompile(`field "?([A-Za-z0-9_.-]+)"?`)

// untranslatable names what of the request is not the message.
func untranslatable(r *http.Request, message string) *fault.Error {
	if b, ok := r.Body.(*body); ok && b.problem != nil {
		var mismatch *apijson.MismatchError
		if errors.As(b.problem, &mismatch) {
			return fault.Field(cmp.Or(mismatch.Path, "body"), mismatch.Problem).WithReason("MALFORMED")
		}
		return grpcfault.Classify(b.problem)
	}
	field := "body"
	if found := misread.FindStringSubmatch(message); found != nil {
		field = found[1]
	}
	return fault.Field(field, message).WithReason("MALFORMED")
}

func notRouted(log *slog.Logger, methodsAt func(escapedPath string) []string) runtime.RoutingErrorHandlerFunc {
	return func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, httpStatus int) {
		switch httpStatus {
		case http.StatusNotFound:
			refuse(w, r, log, httpStatus, fault.New(fault.NotFound, "there is nothing at this path; see /docs", nil).WithReason("NO_SUCH_PATH"))
		case http.StatusMethodNotAllowed:
			allowed := strings.Join(methodsAt(r.URL.EscapedPath()), ", ")
			w.Header().Set("Allow", allowed)
			refuse(w, r, log, httpStatus, fault.New(fault.Invalid, "this path takes "+allowed+"; see /docs", nil).WithReason("METHOD_NOT_ALLOWED"))
		default:
			refuse(w, r, log, httpStatus, fault.Field("path", "it is not well-formed"))
		}
	}
}

// Refuse answers a request that never became a call, for handlers beside the API.
func Refuse(w http.ResponseWriter, r *http.Request, log *slog.Logger, httpStatus int, f *fault.Error) {
	refuse(w, r, log, httpStatus, f)
}

// refuse answers a request that never became a call.
func refuse(w http.ResponseWriter, r *http.Request, log *slog.Logger, httpStatus int, f *fault.Error) {
	fields := make([]string, 0, len(f.Violations))
	for _, v := range f.Violations {
		fields = append(fields, rpc.FieldForLog(v.Field))
	}
	log.InfoContext(r.Context(), "rest refused", "http_method", method(r), "http_path", clip(r.URL.Path), "http_status", httpStatus,
		"reason", fault.ReasonOf(f), "fields", fields, "request_id", r.Header.Get(rpc.RequestIDKey))
	write(w, httpStatus, grpcfault.ToStatus(f))
}

func write(w http.ResponseWriter, httpStatus int, s *status.Status) {
	header := w.Header()
	header.Del("Transfer-Encoding")
	header.Set("Content-Type", "application/json")
	if s.Code() == codes.Unauthenticated {
		header.Set("WWW-Authenticate", "Bearer")
	}
	for _, detail := range s.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			header.Set("Retry-After", strconv.Itoa(int(math.Ceil(retry.GetRetryDelay().AsDuration().Seconds()))))
		}
	}
	body, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(s.Proto())
	if err != nil {
		body = []byte(`{"code":13,"message":"the error cannot be shown","details":[]}`)
	}
	w.WriteHeader(httpStatus)
	_, _ = w.Write(body) //nolint:gosec // JSON, sent as JSON with nosniff; on an error the caller is gone
}

// clip bounds what a stranger can write into the log.
func clip(text string) string { return text[:min(len(text), 200)] }

func method(r *http.Request) string { return r.Method[:min(len(r.Method), 16)] }
