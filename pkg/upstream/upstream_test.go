package upstream_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// platform is a scripted base RoundTripper: each attempt takes the next step, the last one for ever.
type platform struct {
	mu     sync.Mutex
	steps  []step
	at     []time.Time
	bodies []string
}

type step func(*http.Request) (*http.Response, error)

func (p *platform) RoundTrip(req *http.Request) (*http.Response, error) {
	p.mu.Lock()
	content := ""
	if req.Body != nil {
		data, _ := io.ReadAll(req.Body)
		content = string(data)
	}
	next := p.steps[min(len(p.at), len(p.steps)-1)]
	p.at = append(p.at, time.Now())
	p.bodies = append(p.bodies, content)
	p.mu.Unlock()
	return next(req)
}

func (p *platform) calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.at)
}

func answer(status int, body string, headers ...string) step {
	return func(*http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(headers); i += 2 {
			h.Set(headers[i], headers[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

func broken(err error) step { return func(*http.Request) (*http.Response, error) { return nil, err } }

// hang answers nothing until the attempt is given up.
func hang(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// half is an answer that breaks off.
func half(status int) step {
	return func(*http.Request) (*http.Response, error) {
		body := io.MultiReader(strings.NewReader(`{"members":[`), failing{})
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body)}, nil
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

var (
	errReset   = &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
	errRefused = &net.OpError{Op: "dial", Err: errors.New("connection refused")}
)

func transport(p *platform, adjust ...func(*upstream.Config)) *upstream.Transport {
	cfg := upstream.Config{Platform: "pagerduty", Base: p, Log: slog.New(slog.DiscardHandler)}
	for _, f := range adjust {
		f(&cfg)
	}
	return upstream.New(cfg)
}

func send(ctx context.Context, t *upstream.Transport, method, body string) (upstream.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://platform.test/teams/P1?query=ann%40example.org", strings.NewReader(body))
	if err != nil {
		return upstream.Answer{}, err
	}
	return upstream.Read(t.Client().Do(req))
}

func TestTransport_PassingFailure_IsRepeatedOnlyWhereSafe(t *testing.T) {
	cases := map[string]struct {
		method string
		repeat upstream.Repeat
		first  step
		calls  int
		status int        // of the answer, or
		kind   fault.Kind // of the fault
	}{
		"GET after 500":             {method: "GET", first: answer(500, ""), calls: 2, status: 200},
		"GET after 408":             {method: "GET", first: answer(408, ""), calls: 2, status: 200},
		"GET after reset":           {method: "GET", first: broken(errReset), calls: 2, status: 200},
		"GET after half a body":     {method: "GET", first: half(200), calls: 2, status: 200},
		"GET after attempt timeout": {method: "GET", first: hang, calls: 2, status: 200},
		"PUT after reset":           {method: "PUT", first: broken(errReset), calls: 2, status: 200},
		"DELETE after 502":          {method: "DELETE", first: answer(502, ""), calls: 2, status: 200},
		"POST after 429":            {method: "POST", first: answer(429, ""), calls: 2, status: 200},
		"POST after refused":        {method: "POST", first: broken(errRefused), calls: 2, status: 200},
		"POST after reset":          {method: "POST", first: broken(errReset), calls: 1, kind: fault.Deadline},
		"POST after half a body":    {method: "POST", first: half(201), calls: 1, kind: fault.Deadline},
		"POST after 500":            {method: "POST", first: answer(500, ""), calls: 1, status: 500},
		"reading POST after reset":  {method: "POST", repeat: upstream.Always, first: broken(errReset), calls: 2, status: 200},
		"GET once after 500":        {method: "GET", repeat: upstream.Never, first: answer(500, ""), calls: 1, status: 500},
		"GET after 404":             {method: "GET", first: answer(404, ""), calls: 1, status: 404},
		"GET after half a 404":      {method: "GET", first: half(404), calls: 1, status: 404},
		"GET after redirect":        {method: "GET", first: answer(302, "", "Location", "http://elsewhere.test/"), calls: 1, status: 302},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &platform{steps: []step{tc.first, answer(200, "ok")}}
				got, err := send(upstream.WithRepeat(t.Context(), tc.repeat), transport(p), tc.method, "{}")
				require.Equal(t, tc.calls, p.calls())
				if tc.status != 0 {
					require.NoError(t, err)
					require.Equal(t, tc.status, got.Status)
					return
				}
				require.Equal(t, tc.kind, fault.KindOf(err), "%v", err)
				require.Equal(t, "PAGERDUTY_EFFECT_UNKNOWN", fault.ReasonOf(err))
			})
		})
	}
}

func TestTransport_RetriedPut_SendsItsBodyAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(429, "", "ratelimit-reset", "1"), answer(500, ""), answer(204, "")}}
		_, err := send(t.Context(), transport(p), "PUT", `{"role":"manager"}`)
		require.NoError(t, err)
		require.Equal(t, []string{`{"role":"manager"}`, `{"role":"manager"}`, `{"role":"manager"}`}, p.bodies)
	})
}

func TestTransport_BodyWithoutGetBody_IsBufferedAndSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(500, ""), answer(204, "")}}
		req, err := http.NewRequestWithContext(t.Context(), "PUT", "http://platform.test/", io.MultiReader(strings.NewReader("role")))
		require.NoError(t, err)
		require.Nil(t, req.GetBody)
		_, err = upstream.Read(transport(p).Client().Do(req))
		require.NoError(t, err)
		require.Equal(t, []string{"role", "role"}, p.bodies)
	})
}

// The control: a retry that sends the same request again, as go-pagerduty's own does, loses the body.
func TestControl_RetryWithoutReplay_LosesTheBody(t *testing.T) {
	p := &platform{steps: []step{answer(429, ""), answer(204, "")}}
	req, err := http.NewRequestWithContext(t.Context(), "PUT", "http://platform.test/", strings.NewReader(`{"role":"manager"}`))
	require.NoError(t, err)
	for range 2 {
		response, err := p.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
	}
	require.Equal(t, []string{`{"role":"manager"}`, ""}, p.bodies)
}

func TestTransport_Throttled_WaitsAsLongAsThePlatformSays(t *testing.T) {
	cases := map[string]struct {
		headers func() []string
		least   time.Duration
		most    time.Duration
	}{
		"ratelimit-reset":          {func() []string { return []string{"ratelimit-reset", "7"} }, 7 * time.Second, 8 * time.Second},
		"reset before Retry-After": {func() []string { return []string{"ratelimit-reset", "3", "Retry-After", "30"} }, 3 * time.Second, 4 * time.Second},
		"Retry-After in seconds":   {func() []string { return []string{"Retry-After", "12"} }, 12 * time.Second, 14 * time.Second},
		"Retry-After as a date": {func() []string {
			return []string{"Retry-After", time.Now().Add(5 * time.Second).UTC().Format(http.TimeFormat)}
		}, 4 * time.Second, 6 * time.Second},
		"nothing: own back-off":      {func() []string { return nil }, 0, time.Second},
		"an epoch instead of a wait": {func() []string { return []string{"ratelimit-reset", "1790000000"} }, 0, time.Second},
		"nonsense":                   {func() []string { return []string{"Retry-After", "soon"} }, 0, time.Second},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &platform{steps: []step{answer(429, "", tc.headers()...), answer(200, "")}}
				_, err := send(t.Context(), transport(p), "GET", "")
				require.NoError(t, err)
				waited := p.at[1].Sub(p.at[0])
				require.GreaterOrEqual(t, waited, tc.least)
				require.LessOrEqual(t, waited, tc.most)
			})
		})
	}
}

func TestTransport_ServerError_DoesNotWaitForTheQuotaWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(500, "", "ratelimit-remaining", "900", "ratelimit-reset", "45"), answer(200, "")}}
		_, err := send(t.Context(), transport(p), "GET", "")
		require.NoError(t, err)
		require.Less(t, p.at[1].Sub(p.at[0]), time.Second)
	})
}

func TestTransport_WaitBeyondDeadline_FailsAtOnceWithRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		p := &platform{steps: []step{answer(429, "", "Retry-After", "40")}}
		began := time.Now()
		_, err := send(ctx, transport(p), "GET", "")
		require.Zero(t, time.Since(began), "nothing is gained by waiting")
		typed, ok := fault.As(err)
		require.True(t, ok)
		require.Equal(t, fault.Throttled, typed.Kind)
		require.Equal(t, "PAGERDUTY_THROTTLED", typed.Reason)
		require.Equal(t, 40*time.Second, typed.RetryAfter)
		require.NotContains(t, err.Error(), "example.org", "queries hold addresses")
	})
}

func TestTransport_ThrottledForEver_EndsWithinAttemptsAndPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(429, "")}}
		_, err := send(t.Context(), transport(p), "GET", "")
		require.Equal(t, fault.Throttled, fault.KindOf(err))
		require.Equal(t, 5, p.calls())

		p = &platform{steps: []step{answer(429, "", "Retry-After", "30")}}
		began := time.Now()
		_, err = send(t.Context(), transport(p), "GET", "")
		require.Equal(t, fault.Throttled, fault.KindOf(err))
		require.LessOrEqual(t, time.Since(began), 75*time.Second)
		require.Equal(t, 3, p.calls())
	})
}

func TestTransport_ServerErrorForEver_HandsTheAnswerToTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(503, `{"type":"INTEGRATION_RATE_LIMITED"}`)}}
		got, err := send(t.Context(), transport(p), "GET", "")
		require.NoError(t, err)
		require.Equal(t, 503, got.Status)
		require.Contains(t, string(got.Body), "INTEGRATION")
		require.Equal(t, 5, p.calls())
	})
}

func TestTransport_CallerGivesUp_IsCanceledAndNotHeldAgainstThePlatform(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{hang}}
		tr := transport(p, func(c *upstream.Config) { c.Breaker.Requests = 1 })
		for range 5 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			_, err := send(ctx, tr, "GET", "")
			require.Equal(t, fault.Canceled, fault.KindOf(err), "%v", err)
		}
		require.Equal(t, 5, p.calls(), "the breaker stayed closed")
	})
}

func TestTransport_CallerGivesUpInTheQueue_IsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(429, "", "Retry-After", "30")}}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		_, err := send(ctx, transport(p), "GET", "")
		require.Equal(t, fault.Canceled, fault.KindOf(err), "%v", err)
		require.Equal(t, time.Second, time.Since(began))
	})
}

func TestTransport_SilentPlatform_IsGivenUpByPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{hang}}
		began := time.Now()
		_, err := send(t.Context(), transport(p), "GET", "")
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
		require.LessOrEqual(t, time.Since(began), 75*time.Second)
		_, err = send(t.Context(), transport(p), "PUT", "")
		require.Equal(t, fault.Deadline, fault.KindOf(err), "a write without an answer may have taken effect")
	})
}

func TestTransport_HugeAnswer_IsRefusedNotCut(t *testing.T) {
	p := &platform{steps: []step{answer(200, strings.Repeat("x", 100))}}
	_, err := send(t.Context(), transport(p, func(c *upstream.Config) { c.MaxBody = 99 }), "GET", "")
	require.Equal(t, fault.Incomplete, fault.KindOf(err))
	require.Equal(t, 1, p.calls())

	got, err := send(t.Context(), transport(p, func(c *upstream.Config) { c.MaxBody = 100 }), "GET", "")
	require.NoError(t, err)
	require.Len(t, got.Body, 100)
}

func TestTransport_ClassifierFindsAPassingRefusal_EvenAPostIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(400, "could not be locked"), answer(201, "made")}}
		tr := transport(p, func(c *upstream.Config) {
			c.Classify = func(status int, body []byte) (upstream.Class, bool) {
				return upstream.Busy, status == 400 && strings.Contains(string(body), "locked")
			}
		})
		got, err := send(t.Context(), tr, "POST", "{}")
		require.NoError(t, err)
		require.Equal(t, "made", string(got.Body), "the peeked body is whole")
		require.Equal(t, 2, p.calls())
	})
}

func TestBreaker_FailingPlatform_IsLeftAloneAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(500, "")}}
		tr := transport(p)
		for range 2 { // 5 attempts each: the tenth failure opens it
			_, err := send(t.Context(), tr, "GET", "")
			require.NoError(t, err)
		}
		require.Equal(t, 10, p.calls())

		_, err := send(t.Context(), tr, "GET", "")
		typed, ok := fault.As(err)
		require.True(t, ok)
		require.Equal(t, fault.Unavailable, typed.Kind)
		require.Equal(t, "PAGERDUTY_BREAKER_OPEN", typed.Reason)
		require.Positive(t, typed.RetryAfter)
		require.LessOrEqual(t, typed.RetryAfter, 15*time.Second)
		require.Equal(t, 10, p.calls(), "nothing was sent")

		p.mu.Lock()
		p.steps = []step{answer(200, "well again")}
		p.mu.Unlock()
		time.Sleep(typed.RetryAfter + time.Millisecond)
		got, err := send(t.Context(), tr, "GET", "")
		require.NoError(t, err)
		require.Equal(t, 200, got.Status)
		_, err = send(t.Context(), tr, "GET", "")
		require.NoError(t, err, "one success closes it")
	})
}

func TestBreaker_RefusalsWith4xx_KeepItClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{answer(404, "")}}
		tr := transport(p)
		for range 50 {
			_, err := send(t.Context(), tr, "GET", "")
			require.NoError(t, err)
		}
		p.mu.Lock()
		p.steps = []step{answer(429, "")}
		p.mu.Unlock()
		for range 10 {
			_, err := send(t.Context(), tr, "GET", "")
			require.Equal(t, fault.Throttled, fault.KindOf(err))
		}
		require.Equal(t, 100, p.calls())
	})
}

func TestRecord_EveryAttemptIsKept_WithoutItsQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &platform{steps: []step{broken(errReset), answer(429, ""), answer(200, "", "X-Request-Id", "req-1")}}
		ctx, calls := upstream.Record(t.Context())
		_, err := send(ctx, transport(p), "GET", "")
		require.NoError(t, err)
		require.Equal(t, []upstream.Call{
			{Platform: "pagerduty", Method: "GET", Path: "/teams/P1", Status: 0, At: p.at[0]},
			{Platform: "pagerduty", Method: "GET", Path: "/teams/P1", Status: 429, At: p.at[1]},
			{Platform: "pagerduty", Method: "GET", Path: "/teams/P1", Status: 200, At: p.at[2], RequestID: "req-1"},
		}, calls.List())
	})
}

func TestTelemetry_DebugLog_ShowsNoQueryValuesAndNoHeaders(t *testing.T) {
	var out strings.Builder
	p := &platform{steps: []step{answer(200, `{"email":"ann@example.org"}`)}}
	tr := transport(p, func(c *upstream.Config) {
		c.Log = slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://platform.test/users?query=ann%40example.org", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Token token=s3cret")
	_, err = upstream.Read(tr.Client().Do(req))
	require.NoError(t, err)
	require.Contains(t, out.String(), `"query":"query"`)
	require.NotContains(t, out.String(), "example.org")
	require.NotContains(t, out.String(), "s3cret")
}

func TestTransport_AnyHeaders_NeverPanicNorWaitTooLong(t *testing.T) {
	for i, value := range []string{"", " ", "-1", "0", "1e9", "99999999999999999999", "Thu, 99 Foo", strconv.Itoa(1 << 40)} {
		synctest.Test(t, func(t *testing.T) {
			p := &platform{steps: []step{
				answer(429, "", "Retry-After", value, "ratelimit-reset", value, "ratelimit-limit", value, "ratelimit-remaining", "0"),
				answer(200, ""),
			}}
			_, err := send(t.Context(), transport(p, func(c *upstream.Config) { c.Limiter = upstream.NewLocal("pagerduty", 960) }), "GET", "")
			require.NoError(t, err, "case %d", i)
			require.Less(t, p.at[1].Sub(p.at[0]), time.Second)
		})
	}
}
