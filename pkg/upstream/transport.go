package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/singleflight"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/seam"
)

// Config describes the way to one platform with one credential. Zero values take the defaults.
type Config struct {
	Platform       string            // "pagerduty": names metrics, reasons, logs
	Limiter        Limiter           // nil: no limit of our own; the platform's 429 is still obeyed
	Credentials    Credentials       // nil: requests come with their authorization
	Scheme         string            // what stands before the credential in the Authorization header: "Bearer "
	Classify       Classifier        // nil: by status alone
	Breaker        Breaker           //
	Attempts       uint              // attempts a call, at most; 5
	Patience       time.Duration     // attempts and waits of a call together, at most; 75 s, above a quota window of a minute
	AttemptTimeout time.Duration     // one attempt with its body; 20 s
	MaxBody        int64             // bytes of an answer; 16 MiB
	Base           http.RoundTripper // nil: a connection pool of its own
	Log            *slog.Logger      // nil: slog.Default()
}

// Transport is the resilient http.RoundTripper. It is safe for concurrent use.
type Transport struct {
	cfg       Config
	breaker   *breaker
	telemetry telemetry
	refetch   singleflight.Group
	lastError atomic.Pointer[lastError]
}

// New makes the Transport of one platform and credential.
func New(cfg Config) *Transport {
	if cfg.Attempts == 0 {
		cfg.Attempts = 5
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 75 * time.Second
	}
	if cfg.AttemptTimeout <= 0 {
		cfg.AttemptTimeout = 20 * time.Second
	}
	if cfg.MaxBody <= 0 {
		cfg.MaxBody = maxAnswer
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Limiter == nil || seam.Off(seam.Quota) {
		cfg.Limiter = unlimited{}
	}
	if cfg.Classify == nil {
		cfg.Classify = func(int, []byte) (Class, bool) { return Unknown, false }
	}
	if cfg.Base == nil {
		pool := http.DefaultTransport.(*http.Transport).Clone()
		pool.MaxIdleConnsPerHost = 32 // the default of 2 would dial anew for most calls of a busy worker
		cfg.Base = pool
	}
	t := &Transport{
		cfg:       cfg,
		breaker:   newBreaker(cfg.Platform, cfg.Breaker, cfg.Log),
		telemetry: newTelemetry(cfg.Platform, cfg.Log),
	}
	t.telemetry.watch(t.Status)
	return t
}

// Client is an http.Client over t that follows no redirects: none are expected, and a credential must not travel.
func (t *Transport) Client() *http.Client {
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// CloseIdleConnections frees the pool; http.Client.CloseIdleConnections calls it.
func (t *Transport) CloseIdleConnections() {
	if pool, ok := t.cfg.Base.(interface{ CloseIdleConnections() }); ok {
		pool.CloseIdleConnections()
	}
}

// Close ends the gauges and frees the pool.
func (t *Transport) Close() error {
	t.CloseIdleConnections()
	return t.telemetry.close()
}

// outcome is what one attempt ended with: a response with its body read, or an error.
type outcome struct {
	class    Class
	response *http.Response
	err      error
	wait     time.Duration // what the platform asks us to wait; 0: it does not say
	notSent  bool          // the platform provably did not see the request
	used     config.Secret // the credential it was sent with
}

// failure is what the breaker counts.
func (o outcome) failure() error {
	switch {
	case o.class == Unknown, o.class == Withheld:
		return errUntold
	case o.class == Retryable && (o.response == nil || o.response.StatusCode >= http.StatusInternalServerError):
		return errFailed
	default:
		return nil
	}
}

// RoundTrip sends the request until it is answered, refused for good, or the attempts or the patience are used up.
// The response's body is already in memory.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := replay(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(req.Context(), t.cfg.Patience)
	defer cancel()

	var last outcome
	attempt, renewed := 0, false
	again := func() (outcome, error) {
		attempt++
		last = t.attempt(ctx, req, body, attempt)
		if last.class == Unauthorized && !renewed && t.renew(ctx, last.used) && repeatOf(ctx) != Never {
			renewed = true
			attempt++
			last = t.attempt(ctx, req, body, attempt)
		}
		switch {
		case !repeatable(last, req):
			return last, backoff.Permanent(errFailed)
		case last.wait > 0:
			return last, &backoff.RetryAfterError{Duration: last.wait + jitter(last.wait)}
		default:
			return last, errFailed
		}
	}
	// The outcome speaks for itself, so Retry's own error is of no use. Its elapsed-time rule ends the loop before a
	// wait that would outlast the context.
	_, _ = backoff.Retry(ctx, again,
		backoff.WithBackOff(&backoff.ExponentialBackOff{
			InitialInterval:     250 * time.Millisecond,
			RandomizationFactor: 1, // full jitter: anything from 0 to twice the interval
			Multiplier:          2,
			MaxInterval:         10 * time.Second,
		}),
		backoff.WithMaxTries(t.cfg.Attempts),
		backoff.WithMaxElapsedTime(remaining(ctx)),
	)
	return t.conclude(req, last)
}

// attempt is one passage through limiter, breaker and network.
func (t *Transport) attempt(ctx context.Context, req *http.Request, body func() (io.ReadCloser, error), n int) outcome {
	if refusal := t.breaker.refusal(); refusal != nil {
		t.telemetry.refused(ctx, req, BreakerOpen)
		return outcome{class: BreakerOpen, err: refusal}
	}
	began := time.Now()
	err := t.cfg.Limiter.Wait(ctx)
	t.telemetry.waited(ctx, time.Since(began))
	if err != nil {
		return outcome{class: Unknown, err: err, notSent: true}
	}
	return t.breaker.do(ctx, func(ctx context.Context) outcome { return t.send(ctx, req, body, n) })
}

func (t *Transport) send(ctx context.Context, req *http.Request, body func() (io.ReadCloser, error), n int) outcome {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.AttemptTimeout)
	defer cancel()
	content, err := body()
	if err != nil {
		return outcome{class: Permanent, err: fmt.Errorf("replay request body: %w", err)}
	}

	if err := permit(ctx); err != nil {
		t.telemetry.refused(ctx, req, Withheld)
		return outcome{class: Withheld, err: err, notSent: true}
	}

	ctx, end := t.telemetry.start(ctx, req, n)
	sent := req.Clone(ctx)
	sent.Body = content
	used := t.authorize(sent)
	at := time.Now()
	response, err := t.cfg.Base.RoundTrip(sent)
	var data []byte
	if err == nil {
		response.Request = req
		data, err = readWhole(response, t.cfg.MaxBody)
		data = hide(response, data, used)
	}
	record(ctx, t.cfg.Platform, req, at, response)
	o := t.judge(req, response, data, err)
	o.used = used
	if response != nil {
		t.cfg.Limiter.Observe(ctx, response.Header, o.class == Throttled)
	}
	t.remember(req, o)
	end(o)
	return o
}

// judge turns the raw end of an attempt into an outcome.
func (t *Transport) judge(req *http.Request, response *http.Response, data []byte, err error) outcome {
	switch {
	case errors.Is(err, errTooLarge):
		return outcome{class: Permanent, err: t.fault(fault.Incomplete, "ANSWER_TOO_LARGE",
			fmt.Sprintf("sent an answer of more than %d bytes; it was not read", t.cfg.MaxBody), err)}
	case err != nil && (response == nil || response.StatusCode < http.StatusBadRequest):
		// No answer, or half of one. An error status with half a body is still a clear answer.
		if errors.Is(req.Context().Err(), context.Canceled) {
			return outcome{class: Unknown, err: err}
		}
		return outcome{class: Retryable, err: err, notSent: notSent(err)}
	}
	o := outcome{class: classOf(response.StatusCode), response: response}
	if class, ok := t.cfg.Classify(response.StatusCode, data); ok {
		o.class = class
	}
	if o.class == Throttled {
		o.wait, _ = quotaReset(response.Header)
	}
	if o.wait == 0 && o.class != OK {
		o.wait, _ = retryAfter(response.Header, time.Now())
	}
	return o
}

func repeatable(o outcome, req *http.Request) bool {
	repeat := repeatOf(req.Context())
	if repeat == Never {
		return false
	}
	switch o.class {
	case Throttled, Busy:
		return true
	case Retryable:
		return o.notSent || repeat == Always || idempotent(req.Method)
	default:
		return false
	}
}

// unstatedWait is the advice to callers where a platform throttles without saying for how long: PagerDuty's 429 may
// come without headers, and its windows are a minute.
const unstatedWait = 10 * time.Second

// conclude turns the last outcome of a call into what net/http expects.
func (t *Transport) conclude(req *http.Request, last outcome) (*http.Response, error) {
	_, typed := fault.As(last.err)
	switch {
	case last.class == OK, last.class == Permanent, last.class == Unauthorized, last.class == Withheld, typed:
		return last.response, last.err
	case errors.Is(req.Context().Err(), context.Canceled):
		return nil, t.fault(fault.Canceled, "CANCELED", "was not waited for: the caller gave up", context.Cause(req.Context()))
	case last.class == Throttled:
		wait := last.wait
		if wait == 0 {
			wait = unstatedWait
		}
		return nil, t.fault(fault.Throttled, "THROTTLED",
			fmt.Sprintf("has no quota left for this credential; try again in %s", wait), nil).WithRetryAfter(wait)
	case last.response != nil:
		return last.response, nil
	case last.notSent:
		return nil, t.fault(fault.Unavailable, "UNAVAILABLE", "cannot be reached; check its URL and the network", last.err)
	case !readOnly(req.Method) && repeatOf(req.Context()) != Always:
		return nil, t.fault(fault.Deadline, "EFFECT_UNKNOWN",
			"did not answer "+req.Method+" "+req.URL.Path+"; look whether it took effect before trying again", last.err)
	case req.Context().Err() != nil:
		return nil, t.fault(fault.Deadline, "TOO_SLOW", "did not answer in time", last.err)
	default:
		return nil, t.fault(fault.Unavailable, "UNAVAILABLE", "gave no whole answer; try again later", last.err)
	}
}

func (t *Transport) fault(kind fault.Kind, word, text string, cause error) *fault.Error {
	return fault.New(kind, t.cfg.Platform+" "+text, cause).WithReason(reason(t.cfg.Platform, word))
}

func reason(platform, word string) string { return strings.ToUpper(platform) + "_" + word }

// jitter spreads those who were told to wait equally long.
func jitter(wait time.Duration) time.Duration {
	return rand.N(min(max(wait/10, 50*time.Millisecond), time.Second))
}

// remaining is the time until ctx ends; never 0, which backoff reads as "for ever".
func remaining(ctx context.Context) time.Duration {
	deadline, _ := ctx.Deadline()
	return max(time.Until(deadline), 1)
}
