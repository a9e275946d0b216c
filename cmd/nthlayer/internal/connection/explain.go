package connection

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/client"
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
	if next := nextStep(err, f); next != "" {
		text += "\n  " + next
	}
	return text
}

func nextStep(err error, f *fault.Error) string {
	switch {
	case f.Kind == fault.Unauthenticated:
		return "Give a valid token with --token-file or NTHLAYER_TOKEN. A running `nthlayer dev` has one in its dev.json."
	case client.Unreached(err):
		return reach(err.Error())
	case f.RetryAfter > 0 && !strings.Contains(f.Text, "again in "): // some say it themselves
		return "Try again in " + wait(f.RetryAfter) + "."
	case f.Kind == fault.Deadline:
		return "The answer took too long. Reading again is safe; so is sending the same request with the same --idempotency-key."
	default:
		return ""
	}
}

// reach says how to reach a gateway. What stands at the address is known from the words of gRPC and of crypto/tls alone.
func reach(text string) string {
	for _, wrong := range []struct{ sign, advice string }{
		{"first record does not look like a TLS handshake", "Nobody speaks TLS there. Where the gateway runs on this machine without TLS, add --plaintext (NTHLAYER_PLAINTEXT=1)."},
		{"looked like an HTTP/1.1 header", "That is an HTTP port, perhaps of the gateway's REST: --addr (NTHLAYER_ADDR) names its gRPC."},
		{"no application protocol", "That is an HTTP port, perhaps of the gateway's REST: --addr (NTHLAYER_ADDR) names its gRPC."},
		{"error reading server preface", "No plaintext gRPC is spoken there. Perhaps it wants TLS: leave out --plaintext (NTHLAYER_PLAINTEXT)."},
		{"x509: ", "The certificate there is not trusted. --ca (NTHLAYER_CA) names the CA that signed it."},
	} {
		if strings.Contains(text, wrong.sign) {
			return wrong.advice
		}
	}
	return "Is NthLayer running, and is --addr (NTHLAYER_ADDR) right? `nthlayer dev` starts one here."
}

// wait is a duration in whole seconds, rounded up: who comes back then does not come too early.
func wait(d time.Duration) string { return (d + time.Second - 1).Truncate(time.Second).String() }
