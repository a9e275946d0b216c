package control_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// platform counts what takes effect.
type platform struct {
	control *control.Control
	effects atomic.Int64
	people  atomic.Int64
	colour  atomic.Value
}

func (p *platform) LoadOrg(o *org.Org) error { p.people.Store(int64(len(o.People))); return nil }
func (p *platform) State() any               { return map[string]int64{"effects": p.effects.Load()} }
func (p *platform) Controls() map[string]func(func(any) error) error {
	return map[string]func(func(any) error) error{"PUT /_control/colour": func(read func(any) error) error {
		var body struct{ Name string }
		if err := read(&body); err != nil {
			return err
		}
		if body.Name != "red" {
			return fault.Field("name", "is no colour here")
		}
		p.colour.Store(body.Name)
		return nil
	}}
}
func (p *platform) Refuse(w http.ResponseWriter, status int) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "our own words")
}

// start serves a platform with PUT and GET /things/{name}.
func start(t *testing.T) (*platform, string) {
	p := &platform{}
	p.control = control.New(p, control.Limits{}, time.Now)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /things/{name}", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.PathValue("name")) })
	mux.HandleFunc("PUT /things/{name}", func(w http.ResponseWriter, r *http.Request) {
		p.effects.Add(1)
		if r.PathValue("name") != "same" {
			control.Effect(r.Context(), "put "+r.PathValue("name"))
		}
		w.WriteHeader(http.StatusNoContent)
	})
	handler := p.control.Handler(mux, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Quota", "7")
			next.ServeHTTP(w, r)
		})
	})
	ways := http.NewServeMux()
	ways.Handle("/by/door/", control.Via("door", http.StripPrefix("/by/door", handler)))
	ways.Handle("/", handler)
	server := httptest.NewServer(ways)
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return p, server.URL
}

type reply struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, method, url, body string) (reply, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.GetBody = nil // net/http must not repeat by itself what a fault made fail
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { require.NoError(t, response.Body.Close()) }()
	content, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, string(content)}, err
}

func must(t *testing.T, method, url, body string) reply {
	t.Helper()
	got, err := ask(t, method, url, body)
	require.NoError(t, err)
	return got
}

func inject(t *testing.T, url, faults string) {
	t.Helper()
	got := must(t, http.MethodPost, url+"/_control/faults", faults)
	require.Equal(t, http.StatusNoContent, got.status, got.body)
}

func TestFaults_CountedOnes_EndByThemselves(t *testing.T) {
	p, url := start(t)
	inject(t, url, `[{"match":"PUT /things/*","status":503,"times":2,"body":{"oh":"no"}}]`)
	for range 2 {
		got := must(t, http.MethodPut, url+"/things/a", "")
		require.Equal(t, http.StatusServiceUnavailable, got.status)
		require.JSONEq(t, `{"oh":"no"}`, got.body)
		require.Equal(t, "7", got.header.Get("Quota"), "an injected answer has passed the platform's chain")
	}
	require.Equal(t, http.StatusNoContent, must(t, http.MethodPut, url+"/things/a", "").status)
	require.EqualValues(t, 1, p.effects.Load())
}

func TestFaults_WithoutCount_LastUntilCleared(t *testing.T) {
	_, url := start(t)
	inject(t, url, `[{"match":"* *","status":500}]`)
	for range 5 {
		got := must(t, http.MethodGet, url+"/things/a", "")
		require.Equal(t, http.StatusInternalServerError, got.status)
		require.Equal(t, "our own words", got.body)
	}
	require.Equal(t, http.StatusNoContent, must(t, http.MethodDelete, url+"/_control/faults", "").status)
	require.Equal(t, "a", must(t, http.MethodGet, url+"/things/a", "").body)
}

func TestFaults_Match_MethodAndSegments(t *testing.T) {
	for match, hits := range map[string]bool{
		"GET /things/*": true, "* *": true, "GET *": true, "* /*/a%2Fb": true, "GET /things/a/b": false, "PUT /things/*": false,
		"GET /things": false, "GET /*": false, "GET /things/*/*": false,
	} {
		_, url := start(t)
		inject(t, url, `[{"match":"`+match+`","status":418}]`)
		got := must(t, http.MethodGet, url+"/things/a%2Fb", "")
		require.Equal(t, hits, got.status == http.StatusTeapot, "%s: %d", match, got.status)
	}
}

func TestFaults_Drop_LosesTheRequestOrOnlyTheAnswer(t *testing.T) {
	p, url := start(t)
	inject(t, url, `[{"match":"PUT *","drop":true,"times":1},{"match":"PUT *","drop":true,"after":true,"times":1}]`)
	_, err := ask(t, http.MethodPut, url+"/things/a", "x")
	require.Error(t, err)
	require.Zero(t, p.effects.Load())
	_, err = ask(t, http.MethodPut, url+"/things/a", "x")
	require.Error(t, err)
	require.EqualValues(t, 1, p.effects.Load())

	calls := p.control.Calls()
	require.Equal(t, 2, calls.Writes)
	require.Zero(t, calls.Calls[0].Status, "no answer was sent")
}

func TestFaults_AfterStatus_TakesEffectAndSaysOtherwise(t *testing.T) {
	p, url := start(t)
	inject(t, url, `[{"match":"PUT *","status":502,"after":true}]`)
	require.Equal(t, http.StatusBadGateway, must(t, http.MethodPut, url+"/things/a", "").status)
	require.EqualValues(t, 1, p.effects.Load())
}

func TestFaults_Truncate_CutsTheAnswer(t *testing.T) {
	_, url := start(t)
	inject(t, url, `[{"match":"GET *","truncate":4}]`)
	got, err := ask(t, http.MethodGet, url+"/things/abcdefgh", "")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, "abcd", got.body)
}

func TestFaults_Via_SpareOthers(t *testing.T) {
	_, url := start(t)
	for via, hits := range map[string]bool{"door": true, "do*": true, "*": true, "window": false, "w*": false} {
		inject(t, url, `[{"match":"* *","via":"`+via+`","status":418}]`)
		require.Equal(t, hits, must(t, http.MethodGet, url+"/by/door/things/a", "").status == http.StatusTeapot, via)
		require.Equal(t, via == "*", must(t, http.MethodGet, url+"/things/a", "").status == http.StatusTeapot, via)
		must(t, http.MethodDelete, url+"/_control/faults", "")
	}
}

func TestFaults_Drip_SendsTheWholeAnswerSlowly(t *testing.T) {
	_, url := start(t)
	inject(t, url, `[{"match":"GET *","drip":100}]`)
	begun := time.Now()
	require.Equal(t, "abcdefghijklmnopqrst", must(t, http.MethodGet, url+"/things/abcdefghijklmnopqrst", "").body)
	require.GreaterOrEqual(t, time.Since(begun), 150*time.Millisecond, "20 bytes at 100 a second")
}

func TestFaults_Headers_AreSetAndStripped(t *testing.T) {
	_, url := start(t)
	inject(t, url, `[{"match":"GET *","headers":{"Retry-After":"9"},"strip_headers":["Quota"]}]`)
	got := must(t, http.MethodGet, url+"/things/a", "")
	require.Equal(t, "a", got.body, "the real answer")
	require.Equal(t, "9", got.header.Get("Retry-After"))
	require.Empty(t, got.header.Get("Quota"))
}

func TestFaults_TextBody_IsSentAsItIs(t *testing.T) {
	_, url := start(t)
	inject(t, url, `[{"match":"GET *","status":500,"body":"<html>"}]`)
	got := must(t, http.MethodGet, url+"/things/a", "")
	require.Equal(t, "<html>", got.body)
	require.Equal(t, "text/plain; charset=utf-8", got.header.Get("Content-Type"))
}

func TestControl_BadInput_IsRefusedWithTheField(t *testing.T) {
	_, url := start(t)
	cases := []struct{ method, path, body, field string }{
		{"POST", "faults", `[{"match":"PUT /x","status":500,"tiems":3}]`, "tiems"},
		{"POST", "faults", `[{"match":"PUT","status":500}]`, "faults[0].match"},
		{"POST", "faults", `[{"match":"* *","status":500},{"match":"* *","status":99}]`, "faults[1].status"},
		{"POST", "faults", `[{"match":"* *","status":500,"times":-1}]`, "faults[0].times"},
		{"POST", "faults", `[{"match":"* *","delay_ms":-5}]`, "faults[0].delay_ms"},
		{"POST", "faults", `[{"match":"* *"}]`, "faults[0]"},
		{"POST", "faults", `[{"match":"* *","after":true,"delay_ms":1}]`, "faults[0].after"},
		{"POST", "faults", `[{"match":"* *","drop":true,"status":500}]`, "faults[0].drop"},
		{"POST", "faults", `[{"match":"* *","status":"500"}]`, "status"},
		{"POST", "faults", `[{"match":"* *","drip":-1}]`, "faults[0].drip"},
		{"POST", "faults", `[{"match":"* *","drip":1,"truncate":1}]`, "faults[0].drip"},
		{"POST", "faults", `[{"match":"* *","drip":1,"drop":true}]`, "faults[0].drop"},
		{"POST", "faults", `{}`, "body"},
		{"POST", "faults", ``, "body"},
		{"PUT", "limits", `{"per_minute":-1}`, "per_minute"},
		{"PUT", "limits", `{"per_hour":1}`, "per_hour"},
		{"PUT", "limits", `{} {}`, "body"},
		{"PUT", "org", `{"people":["a"],"teams":[{"tag":"t","name":"t","org":"o","maintainers":[],"members":["b"]}]}`, "teams[0].members[0]"},
		{"PUT", "org", `{"peeple":[]}`, "peeple"},
		{"PUT", "colour", `{"shade":"red"}`, "shade"},
		{"PUT", "colour", `{"name":"loud"}`, "name"},
	}
	for _, c := range cases {
		got := must(t, c.method, url+"/_control/"+c.path, c.body)
		require.Equal(t, http.StatusBadRequest, got.status, "%s", c.body)
		var body struct {
			Error struct{ Field, Message string }
		}
		require.NoError(t, json.Unmarshal([]byte(got.body), &body))
		require.Contains(t, body.Error.Field, c.field, "%s", c.body)
		require.NotEmpty(t, body.Error.Message)
	}
	require.Equal(t, "a", must(t, http.MethodGet, url+"/things/a", "").body, "of a refused list no fault is kept")
}

func TestCalls_CountByMethodAndRoute_WithoutControl(t *testing.T) {
	_, url := start(t)
	must(t, http.MethodGet, url+"/things/a", "")
	must(t, http.MethodGet, url+"/things/b%2Fc", "")
	must(t, http.MethodPut, url+"/things/a", "")
	must(t, http.MethodGet, url+"/nothing", "")

	var calls control.Calls
	require.NoError(t, json.Unmarshal([]byte(must(t, http.MethodGet, url+"/_control/calls", "").body), &calls))
	require.Equal(t, map[string]int{"GET /things/{name}": 2, "PUT /things/{name}": 1, "GET unknown": 1}, calls.Counts)
	require.Equal(t, 4, calls.Total)
	require.Equal(t, 1, calls.Writes)
	require.Equal(t, "/things/b%2Fc", calls.Calls[1].Path)
	require.Equal(t, http.StatusNoContent, calls.Calls[2].Status)
	require.True(t, calls.Calls[2].Write)
	require.Equal(t, http.StatusNotFound, calls.Calls[3].Status)

	require.Equal(t, http.StatusNoContent, must(t, http.MethodDelete, url+"/_control/calls", "").status)
	require.Zero(t, func() int { return len(mustCalls(t, url).Calls) }())
}

func TestCalls_SayWhoCalledWhatChangedAndWhatWasInjected(t *testing.T) {
	_, url := start(t)
	must(t, http.MethodPut, url+"/by/door/things/a", "")
	must(t, http.MethodPut, url+"/things/same", "")
	for _, fault := range []string{
		`{"status":429}`, `{"drop":true}`, `{"drop":true,"after":true}`, `{"status":502,"after":true}`, `{"truncate":1}`, `{"drip":1000}`,
		`{"headers":{"A":"b"}}`, `{"body":{}}`, `{"delay_ms":1}`,
	} {
		inject(t, url, `[{"match":"PUT *","times":1,`+fault[1:]+`]`)
		_, _ = ask(t, http.MethodPut, url+"/things/b", "x")
	}
	var got []control.Call
	for _, c := range mustCalls(t, url).Calls {
		got = append(got, control.Call{Via: c.Via, Fault: c.Fault, Injected: c.Injected, Effect: c.Effect})
	}
	require.Equal(t, []control.Call{
		{Via: "door", Effect: "put a"},
		{},
		{Fault: "429", Injected: true},
		{Fault: "dropped", Injected: true},
		{Fault: "answer lost", Injected: true, Effect: "put b"},
		{Fault: "answer replaced", Injected: true, Effect: "put b"},
		{Fault: "truncated", Injected: true, Effect: "put b"},
		{Fault: "drip", Injected: true, Effect: "put b"},
		{Fault: "headers", Injected: true, Effect: "put b"},
		{Fault: "body", Injected: true},
		{Fault: "delay", Effect: "put b"},
	}, got)
}

func mustCalls(t *testing.T, url string) (calls control.Calls) {
	require.NoError(t, json.Unmarshal([]byte(must(t, http.MethodGet, url+"/_control/calls", "").body), &calls))
	return calls
}

func TestLimits_LeftOutFields_Stay(t *testing.T) {
	p, url := start(t)
	must(t, http.MethodPut, url+"/_control/limits", `{"per_minute":5,"stale_ms":7}`)
	must(t, http.MethodPut, url+"/_control/limits", `{"per_minute":0}`)
	require.Equal(t, control.Limits{StaleMS: 7}, p.control.Limits())
}

func TestControl_PutOrg_LoadsIt(t *testing.T) {
	p, url := start(t)
	require.JSONEq(t, `{"people":2,"teams":0}`, must(t, http.MethodPut, url+"/_control/org", `{"people":["a","b"],"teams":[]}`).body)
	require.EqualValues(t, 2, p.people.Load())
	require.JSONEq(t, `{"effects":0}`, must(t, http.MethodGet, url+"/_control/state", "").body)
}

func TestControl_PlatformsOwn_IsTaken(t *testing.T) {
	p, url := start(t)
	require.Equal(t, http.StatusNoContent, must(t, http.MethodPut, url+"/_control/colour", `{"name":"red"}`).status)
	require.Equal(t, "red", p.colour.Load())
}

func TestFaults_ManyAtOnce_AreUsedUpExactly(t *testing.T) {
	p, url := start(t)
	inject(t, url, `[{"match":"PUT *","status":500,"times":10}]`)
	var failed atomic.Int64
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if got, err := ask(t, http.MethodPut, url+"/things/a", ""); err == nil && got.status == http.StatusInternalServerError {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 10, failed.Load())
	require.EqualValues(t, 30, p.effects.Load())
}
