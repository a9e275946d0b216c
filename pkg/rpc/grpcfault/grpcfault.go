// Package grpcfault is the one place where faults become gRPC statuses, and statuses become faults again. A kind
// survives the way through any number of services: it travels in ErrorInfo beside the code, which is coarser.
//
// A status shows a fault's Text, Reason, Violations and RetryAfter. It never shows a cause.
package grpcfault

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Domain marks the ErrorInfo of NthLayer's own errors.
const Domain = "nthlayer.dev"

const (
	kindKey      = "kind"
	internalText = "something went wrong inside NthLayer; the log has the details under the request id"
)

// Code is the gRPC code of a kind.
func Code(kind fault.Kind) codes.Code {
	switch kind {
	case fault.Invalid:
		return codes.InvalidArgument
	case fault.Unauthenticated:
		return codes.Unauthenticated
	case fault.PermissionDenied:
		return codes.PermissionDenied
	case fault.NotFound:
		return codes.NotFound
	case fault.Conflict:
		return codes.AlreadyExists
	case fault.Precondition:
		return codes.FailedPrecondition
	case fault.Throttled:
		return codes.ResourceExhausted
	case fault.Unavailable, fault.Incomplete: // DataLoss would say that waiting does not help
		return codes.Unavailable
	case fault.Deadline:
		return codes.DeadlineExceeded
	case fault.Fenced:
		return codes.Aborted
	case fault.Canceled:
		return codes.Canceled
	default:
		return codes.Internal
	}
}

// Classify gives the fault in err's chain. Errors of contexts, and statuses that gRPC itself made, count as the faults
// they mean; everything else is Internal, with a text that gives nothing away.
func Classify(err error) *fault.Error {
	if f, ok := fault.As(err); ok {
		return f
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown && s.Code() != codes.Internal {
		return fault.New(kindOf(s), s.Message(), nil)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.Deadline, "time ran out; whether the request took effect is not known", err)
	case errors.Is(err, context.Canceled):
		return fault.New(fault.Canceled, "the request was given up", err)
	}
	return fault.New(fault.Internal, internalText, err)
}

// ToStatus makes the status that is shown to the caller; nil for nil.
func ToStatus(err error) *status.Status {
	if err == nil {
		return nil
	}
	if _, ours := fault.As(err); !ours {
		// Health and reflection answer with statuses of their own, which their clients understand.
		if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown && s.Code() != codes.Internal {
			return s
		}
	}
	f := Classify(err)
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{
		Reason: fault.ReasonOf(f), Domain: Domain, Metadata: map[string]string{kindKey: f.Kind.String()},
	}}
	if len(f.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range f.Violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: valid(v.Field), Description: valid(v.Description),
			})
		}
		details = append(details, bad)
	}
	if f.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)})
	}
	s := status.New(Code(f.Kind), valid(f.Text))
	if detailed, err := s.WithDetails(details...); err == nil {
		return detailed
	}
	return s
}

// valid makes text fit for protobuf, whatever was quoted in it.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// FromError turns what a gRPC call returned into a fault; nil for nil. What another NthLayer service said is kept as it
// was said. What the network or gRPC said becomes the cause: it names addresses, which is for the log.
func FromError(err error) error {
	if err == nil {
		return nil
	}
	if _, done := fault.As(err); done {
		return err
	}
	s, ok := status.FromError(err)
	if !ok {
		return Classify(err)
	}
	kind := kindOf(s)
	f := fault.New(kind, texts(kind), err)
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == Domain {
				f = restore(f, d, s)
			}
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				f.Violations = append(f.Violations, fault.Violation{Field: v.GetField(), Description: v.GetDescription()})
			}
		case *errdetails.RetryInfo:
			f.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	return f
}

// restore gives back the fault as it was on the other side, keeping what was read of other details.
func restore(f *fault.Error, info *errdetails.ErrorInfo, s *status.Status) *fault.Error {
	ours := fault.New(f.Kind, s.Message(), nil).WithRetryAfter(f.RetryAfter)
	ours.Violations = f.Violations
	for kind := fault.Internal; kind <= fault.Canceled; kind++ {
		if kind.String() == info.GetMetadata()[kindKey] {
			ours.Kind = kind
		}
	}
	if reason := info.GetReason(); reason != strings.ToUpper(ours.Kind.String()) {
		ours.Reason = reason
	}
	return ours
}

func kindOf(s *status.Status) fault.Kind {
	switch s.Code() {
	case codes.InvalidArgument, codes.OutOfRange:
		return fault.Invalid
	case codes.Unauthenticated:
		return fault.Unauthenticated
	case codes.PermissionDenied:
		return fault.PermissionDenied
	case codes.NotFound:
		return fault.NotFound
	case codes.AlreadyExists:
		return fault.Conflict
	case codes.FailedPrecondition, codes.Unimplemented:
		return fault.Precondition
	case codes.ResourceExhausted:
		if strings.Contains(s.Message(), "larger than max") { // grpc-go's own, about a message; waiting does not shrink it
			return fault.Invalid
		}
		return fault.Throttled
	case codes.Unavailable:
		return fault.Unavailable
	case codes.DeadlineExceeded:
		return fault.Deadline
	case codes.Aborted:
		return fault.Fenced
	case codes.Canceled:
		return fault.Canceled
	default:
		return fault.Internal
	}
}

func texts(kind fault.Kind) string {
	switch kind {
	case fault.Unavailable:
		return "the service could not be reached"
	case fault.Deadline:
		return "the service did not answer in time; whether the request took effect is not known"
	case fault.Canceled:
		return "the request was given up"
	default:
		return "the service refused the call (" + kind.String() + ")"
	}
}
