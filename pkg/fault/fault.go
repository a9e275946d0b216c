// Package fault is the one error type that crosses package borders in NthLayer.
//
// A package that talks to a driver, an SDK or a platform turns what it gets into a fault once, where it happens;
// everybody above adds context with %w and asks only for the Kind. The Text is for the caller and helps them on; the
// cause is for the log. Only package rpc knows how kinds become gRPC codes.
package fault

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind says what may be done about an error. The zero Kind is Internal: an error nobody classified.
type Kind int

const (
	Internal         Kind = iota // a bug or a broken invariant
	Invalid                      // the request is wrong; see Violations
	Unauthenticated              // nobody knows who asks
	PermissionDenied             // known, but may not
	NotFound                     // the thing does not exist
	Conflict                     // the thing exists in another form, or somebody else holds it
	Precondition                 // the system is not in the state the request needs; repeating does not help
	Throttled                    // a quota is used up; try again after RetryAfter
	Unavailable                  // a dependency is away or answered with a passing error; try again
	Deadline                     // time ran out; whether the effect happened is not known
	Incomplete                   // an answer came, but is not whole: never to be read as "there is no more"
	Fenced                       // the caller lost its lease; somebody else owns the work now
	Canceled                     // the caller gave up or the process is stopping
)

var kindNames = [...]string{
	"internal", "invalid", "unauthenticated", "permission_denied", "not_found", "conflict", "precondition",
	"throttled", "unavailable", "deadline", "incomplete", "fenced", "canceled",
}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind(%d)", int(k))
	}
	return kindNames[k]
}

// Violation names a field of a request and what is wrong with it.
type Violation struct {
	Field       string
	Description string
}

// Error is a classified error. Build it with New; read it with As, KindOf and ReasonOf.
type Error struct {
	Kind       Kind
	Reason     string        // a stable word in capitals, for example SOURCE_UNAVAILABLE; empty: the kind's name
	Text       string        // for the caller: what happened and what to do next; no secrets, no driver text
	RetryAfter time.Duration // for Throttled and Unavailable, where known
	Violations []Violation   // for Invalid
	cause      error
}

// New makes a fault. cause may be nil.
func New(kind Kind, text string, cause error) *Error {
	return &Error{Kind: kind, Text: text, cause: cause}
}

// Field makes an Invalid fault about one field.
func Field(field, description string) *Error {
	return &Error{
		Kind:       Invalid,
		Text:       field + ": " + description,
		Violations: []Violation{{Field: field, Description: description}},
	}
}

// WithReason sets the stable word and returns e.
func (e *Error) WithReason(reason string) *Error { e.Reason = reason; return e }

// WithRetryAfter sets the time to wait before trying again and returns e.
func (e *Error) WithRetryAfter(d time.Duration) *Error { e.RetryAfter = d; return e }

// Error gives text and cause, for logs. Callers outside are shown Text alone.
func (e *Error) Error() string {
	if e.cause == nil {
		return e.Text
	}
	return e.Text + ": " + e.cause.Error()
}

func (e *Error) Unwrap() error { return e.cause }

// As finds the outermost fault in err's chain.
func As(err error) (*Error, bool) { return errors.AsType[*Error](err) }

// KindOf is the kind of the outermost fault in err's chain, or Internal.
func KindOf(err error) Kind {
	if e, ok := As(err); ok {
		return e.Kind
	}
	return Internal
}

// ReasonOf is the stable word of the outermost fault in err's chain.
func ReasonOf(err error) string {
	e, ok := As(err)
	if !ok {
		return "INTERNAL"
	}
	if e.Reason != "" {
		return e.Reason
	}
	return strings.ToUpper(e.Kind.String())
}

// RetryAfterOf is how long the outermost fault in err's chain says to wait; 0 where it says nothing.
func RetryAfterOf(err error) time.Duration {
	if e, ok := As(err); ok {
		return e.RetryAfter
	}
	return 0
}

// Is reports whether err is a fault of this kind.
func Is(err error, kind Kind) bool {
	e, ok := As(err)
	return ok && e.Kind == kind
}

// Passing reports whether trying the same thing again later may succeed.
func Passing(err error) bool {
	switch KindOf(err) {
	case Throttled, Unavailable, Deadline, Incomplete, Canceled:
		return true
	default:
		return false
	}
}
