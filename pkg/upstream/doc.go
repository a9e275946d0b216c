// Package upstream is the one HTTP transport under every platform client. It makes calls to a platform that has quotas,
// bad minutes and half answers safe to build on.
//
// Every attempt passes, in this order: the limiter (all workers together stay inside the platform's quota, and who is
// waited for goes first), the breaker (a platform that is down is left alone), the permit (a worker that lost its run
// sends nothing), and telemetry around the request itself; the retry loop goes around all of them, so that a repeated
// attempt pays for its place in the quota like any other.
//
// What a client may rely on:
//
//   - An answer is whole. Bodies are read inside the attempt, bounded; a body that was cut off is an error, never a
//     shorter answer.
//   - A request body is sent again in full on every attempt.
//   - A request that may have taken effect is repeated only when its method is idempotent. What remains unknown is
//     said so: fault.Deadline with the reason <PLATFORM>_EFFECT_UNKNOWN.
//   - No call waits past its context's deadline for a quota: it ends at once with fault.Throttled and RetryAfter.
//   - A refused credential is read again, once, and the call repeated if there is a new one.
//   - 429, an open breaker and a dead network are typed faults. Every other status is the client's to read: 4xx at
//     once, 408 and 5xx after the attempts are used up.
//
// One Transport belongs to one platform and one credential; that pair has one breaker and one limiter.
package upstream
