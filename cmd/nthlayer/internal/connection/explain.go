package connection

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Explain says in words what went wrong and what to do next.
func Explain(err error) string {
	if errors.Is(err, context.Canceled) || fault.Is(err, fault.Canceled) {
		return "stopped"
	}
	text := err.Error()
	f, ok := fault.As(err)
	if !ok {
		return text // ours, perhaps of several lines: the end of a log
	}
	text = output.Line(text)
	var fields []string
	for _, v := range f.Violations {
		fields = append(fields, fmt.Sprintf("%s: %s", v.Field, v.Description))
	}
	// One violation is usually the text already.
	if joined := output.Line(strings.Join(fields, "; ")); !strings.Contains(text, joined) {
		text += " (" + joined + ")"
	}
	if next := nextStep(f.Kind); next != "" {
		text += "\n  " + next
	}
	return text
}

func nextStep(kind fault.Kind) string {
	switch kind {
	case fault.Unauthenticated:
		return "Give a valid token with --token-file or NTHLAYER_TOKEN. A running `nthlayer dev` has one in its dev.json."
	case fault.Unavailable:
		return "Where NthLayer itself cannot be reached: is it running, and is --addr (NTHLAYER_ADDR) right? `nthlayer dev` starts one here."
	case fault.Deadline:
		return "The answer took too long. Reading again is safe; so is sending the same request with the same --idempotency-key."
	default:
		return ""
	}
}
