package connection

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
)

// Explain says in words what went wrong and what to do next.
func Explain(err error) string {
	if errors.Is(err, context.Canceled) {
		return "stopped"
	}
	s, ok := status.FromError(err)
	if !ok || s.Code() == codes.OK {
		return err.Error()
	}
	text := output.Line(s.Message())
	for _, detail := range s.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			var fields []string
			for _, v := range bad.GetFieldViolations() {
				fields = append(fields, fmt.Sprintf("%s: %s", v.GetField(), v.GetDescription()))
			}
			// One violation is usually the message already.
			if joined := output.Line(strings.Join(fields, "; ")); !strings.Contains(text, joined) {
				text += " (" + joined + ")"
			}
		}
	}
	if next := nextStep(s.Code()); next != "" {
		text += "\n  " + next
	}
	return text
}

func nextStep(code codes.Code) string {
	switch code {
	case codes.Unauthenticated:
		return "Give a valid token with --token-file or NTHLAYER_TOKEN. A running `nthlayer dev` has one in its dev.json."
	case codes.Unavailable:
		return "Is NthLayer running, and is --addr (NTHLAYER_ADDR) right? `nthlayer dev` starts a system on this machine."
	case codes.DeadlineExceeded:
		return "The answer took too long. Reading again is safe; so is sending the same request with the same --idempotency-key."
	case codes.Unimplemented:
		return "The system is of another version than this program."
	default:
		return ""
	}
}
