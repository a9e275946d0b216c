package queue

import (
	"errors"
	"time"
)

const (
	firstBackoff = time.Second
	lastBackoff  = 5 * time.Minute
	// maxVisibility: 12 hours, ChangeMessageVisibility in the SQS API reference.
	maxVisibility = 12 * time.Hour
)

// defaultBackoff doubles from one second to five minutes with the number of deliveries. It has no jitter: SQS counts
// whole seconds, and messages of one group come back one at a time anyway.
func defaultBackoff(receives int) time.Duration {
	d := firstBackoff
	for range receives - 1 {
		if d *= 2; d >= lastBackoff {
			return lastBackoff
		}
	}
	return d
}

// comesBackAfter is how long a message stays hidden after its handler failed with err.
func comesBackAfter(err error, receives int, backoff func(int) time.Duration) time.Duration {
	if retry, ok := errors.AsType[*retryError](err); ok {
		return retry.after
	}
	return backoff(receives)
}

// wholeSeconds rounds up and keeps to what SQS takes.
func wholeSeconds(d time.Duration) int {
	d = min(max(d, 0), maxVisibility)
	return int((d + time.Second - 1) / time.Second)
}
