package upstream

import (
	"errors"
	"net"
	"net/http"
)

// Class says what an attempt taught us, and so what may follow it.
type Class int

const (
	Unknown      Class = iota // nothing: the caller gave up first
	OK                        // a whole answer
	Permanent                 // refused; the same request will be refused again
	Throttled                 // refused for now because of a quota, without effect
	Busy                      // refused for now for another reason, without effect
	Retryable                 // failed; it may have taken effect
	BreakerOpen               // not sent
	Unauthorized              // refused because of the credential, without effect
	Withheld                  // not sent: the permit was refused
)

func (c Class) String() string {
	return [...]string{"unknown", "ok", "permanent", "throttled", "busy", "retryable", "breaker_open", "unauthorized", "withheld"}[c]
}

// Classifier lets a client overrule the class of an answer, where a platform hides a passing refusal behind a status
// that is final elsewhere. It returns false to leave the class as the status gives it. It must not keep body.
type Classifier func(status int, body []byte) (Class, bool)

func classOf(status int) Class {
	switch {
	case status == http.StatusTooManyRequests:
		return Throttled
	case status == http.StatusUnauthorized:
		return Unauthorized
	case status == http.StatusRequestTimeout, status >= http.StatusInternalServerError:
		return Retryable
	case status >= http.StatusMultipleChoices: // redirects are not followed: no platform answers with one
		return Permanent
	default:
		return OK
	}
}

// notSent reports a network error that proves the platform never saw the request.
func notSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions:
		return true
	default:
		return false
	}
}

func readOnly(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}
