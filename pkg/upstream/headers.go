package upstream

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// longestWait bounds what a header may ask for. Quota windows of the platforms are a minute; anything above an hour is
// an epoch in the wrong place or a mistake.
const longestWait = time.Hour

// quotaReset reads ratelimit-reset: whole seconds from now (PagerDuty REST rate limits).
func quotaReset(h http.Header) (time.Duration, bool) { return seconds(h.Get("ratelimit-reset")) }

// retryAfter reads Retry-After: seconds or an HTTP date (RFC 9110 §10.2.3).
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	value := h.Get("Retry-After")
	if wait, ok := seconds(value); ok {
		return wait, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	wait := at.Sub(now)
	return wait, wait > 0 && wait <= longestWait
}

// quotaLimit reads ratelimit-limit: requests a minute.
func quotaLimit(h http.Header) (int, bool) {
	n, err := strconv.Atoi(strings.TrimSpace(h.Get("ratelimit-limit")))
	return n, err == nil && n > 0
}

func quotaUsedUp(h http.Header) bool { return strings.TrimSpace(h.Get("ratelimit-remaining")) == "0" }

func seconds(value string) (time.Duration, bool) {
	n, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || n <= 0 || n > int(longestWait/time.Second) {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}
