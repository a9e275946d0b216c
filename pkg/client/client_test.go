package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/auth/issuer"
	"github.com/nthlayer/nthlayer/pkg/client"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	v1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const job = "0190a8b4-0000-7000-8000-000000000000"

// api fails as often as the test asked for, then answers.
type api struct {
	v1.UnimplementedTeamServiceServer
	v1.UnimplementedRunServiceServer
	v1.UnimplementedDeliveryServiceServer
	v1.UnimplementedAuditServiceServer
	v1.UnimplementedScheduleServiceServer

	mu      sync.Mutex
	fail    []error
	keys    []string
	calls   int
	after   []int64
	streams []standing // of an audit, one a watch; the last one of every further watch
}

func (a *api) next() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if len(a.fail) == 0 {
		return nil
	}
	err := a.fail[0]
	a.fail = a.fail[1:]
	return err
}

func (a *api) ReconcileTeam(ctx context.Context, _ *v1.ReconcileTeamRequest) (*v1.ReconcileTeamResponse, error) {
	key, err := rpc.IdempotencyKey(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.keys = append(a.keys, key)
	a.mu.Unlock()
	return &v1.ReconcileTeamResponse{JobId: job}, a.next()
}

func (a *api) GetTeam(_ context.Context, r *v1.GetTeamRequest) (*v1.Team, error) {
	return &v1.Team{TeamId: r.GetTeamId()}, a.next()
}

func (a *api) ListTeams(_ context.Context, r *v1.ListTeamsRequest) (*v1.ListTeamsResponse, error) {
	var page int
	if _, err := fmt.Sscan(r.GetPageToken(), &page); err != nil && r.GetPageToken() != "" {
		return nil, err
	}
	response := &v1.ListTeamsResponse{Teams: []*v1.Team{{TeamId: fmt.Sprint(page, "a")}, {TeamId: fmt.Sprint(page, "b")}}}
	if page < 2 {
		response.NextPageToken = fmt.Sprint(page + 1)
	}
	return response, a.next()
}

func (a *api) GetRun(context.Context, *v1.GetRunRequest) (*v1.Run, error) {
	return &v1.Run{JobId: job, Status: "succeeded"}, nil
}

// WatchRun sends three events in all, one a stream, until nothing is to fail any more.
func (a *api) WatchRun(r *v1.WatchRunRequest, stream grpc.ServerStreamingServer[v1.RunEvent]) error {
	a.mu.Lock()
	a.after = append(a.after, r.GetAfterSeq())
	a.mu.Unlock()
	for seq := r.GetAfterSeq() + 1; seq <= 3; seq++ {
		kind := "step_started"
		if seq == 3 {
			kind = "run_succeeded"
		}
		if err := stream.Send(&v1.RunEvent{Seq: seq, Kind: kind}); err != nil {
			return err
		}
		if err := a.next(); err != nil {
			return err
		}
	}
	return nil
}

func (a *api) ResendDelivery(context.Context, *v1.ResendDeliveryRequest) (*v1.Delivery, error) {
	return &v1.Delivery{}, a.next()
}

type waits struct {
	mu  sync.Mutex
	all []time.Duration
}

func (w *waits) sleep(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, d)
	return ctx.Err()
}

func start(t *testing.T, more ...client.Option) (*api, *client.Client, *waits) {
	a, w := &api{}, &waits{}
	verify := func(_ context.Context, token string) (auth.Principal, error) {
		return auth.Principal{Subject: "u", Scopes: []string{token}}, nil
	}
	chain, err := rpc.Public(slog.New(slog.DiscardHandler), rpc.Bearer(verify), rpc.Admission{}, auth.NewAuthorizer(nil))
	require.NoError(t, err)
	server, err := rpc.NewServer(rpc.ServerConfig{Chain: chain}, func(s grpc.ServiceRegistrar) {
		v1.RegisterTeamServiceServer(s, a)
		v1.RegisterRunServiceServer(s, a)
		v1.RegisterDeliveryServiceServer(s, a)
		v1.RegisterAuditServiceServer(s, a)
		v1.RegisterScheduleServiceServer(s, a)
	})
	require.NoError(t, err)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, lis) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-served) })
	options := []client.Option{client.WithPlaintext(), client.WithToken(client.StaticToken("nthlayer/admin")), client.WithSleep(w.sleep)}
	c, err := client.New(lis.Addr().String(), append(options, more...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return a, c, w
}

func away() error { return fault.New(fault.Unavailable, "away", nil) }

func TestReconcile_PassingErrors_AreTriedAgainUnderOneKey(t *testing.T) {
	a, c, w := start(t)
	a.fail = []error{away(), fault.New(fault.Throttled, "slow down", nil).WithRetryAfter(3 * time.Second), away()}
	id, err := c.Reconcile(t.Context(), "", &v1.ReconcileTeamRequest{TeamId: "payments"})
	require.NoError(t, err)
	require.Equal(t, job, id)
	require.Len(t, a.keys, 4)
	require.NotEmpty(t, a.keys[0])
	for _, key := range a.keys {
		require.Equal(t, a.keys[0], key)
	}
	require.Equal(t, []time.Duration{200 * time.Millisecond, 3 * time.Second, 800 * time.Millisecond}, w.all)

	_, err = c.Reconcile(t.Context(), "mine", &v1.ReconcileTeamRequest{TeamId: "payments"})
	require.NoError(t, err)
	require.Equal(t, "mine", a.keys[4])
	_, err = c.Reconcile(t.Context(), "", &v1.ReconcileTeamRequest{TeamId: "payments"})
	require.NoError(t, err)
	require.NotEqual(t, a.keys[0], a.keys[5], "another call is another key")
}

func TestCalls_OtherErrors_ComeBackAtOnceAsFaults(t *testing.T) {
	a, c, _ := start(t)
	a.fail = []error{fault.New(fault.NotFound, "no such team", nil).WithReason("TEAM_NOT_FOUND")}
	_, err := c.Teams.GetTeam(t.Context(), &v1.GetTeamRequest{TeamId: "x"})
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.Equal(t, "TEAM_NOT_FOUND", fault.ReasonOf(err))
	require.EqualError(t, err, "no such team")
	require.Equal(t, 1, a.calls)

	_, err = c.Teams.GetTeam(t.Context(), &v1.GetTeamRequest{TeamId: "-"})
	f, ok := fault.As(err)
	require.True(t, ok)
	require.Equal(t, "team_id", f.Violations[0].Field)
}

func TestCalls_FailureThatDoesNotPass_IsGivenUp(t *testing.T) {
	a, c, w := start(t)
	a.fail = []error{away(), away(), away(), away(), away(), away()}
	_, err := c.Teams.GetTeam(t.Context(), &v1.GetTeamRequest{TeamId: "x"})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, 5, a.calls)
	require.Len(t, w.all, 4)
}

func TestCalls_DeadlineBeforeTheNextTry_GivesTheErrorNotTheDeadline(t *testing.T) {
	a, c, w := start(t)
	a.fail = []error{fault.New(fault.Throttled, "slow down", nil).WithRetryAfter(time.Hour)}
	_, err := c.Teams.GetTeam(t.Context(), &v1.GetTeamRequest{TeamId: "x"})
	require.Equal(t, fault.Throttled, fault.KindOf(err))
	require.Empty(t, w.all)
}

func TestPatience_LongerWaitAskedFor_ErrorComesBackWithIt(t *testing.T) {
	breaker := func() error {
		return fault.New(fault.Unavailable, "Cortex is not asked for now", nil).WithRetryAfter(34 * time.Second)
	}
	a, c, w := start(t, client.WithPatience(5*time.Second))
	a.fail = []error{breaker()}
	_, err := c.Teams.GetTeam(t.Context(), &v1.GetTeamRequest{TeamId: "x"})
	f, ok := fault.As(err)
	require.True(t, ok)
	require.Equal(t, 34*time.Second, f.RetryAfter)
	require.Empty(t, w.all)

	a, c, w = start(t) // the control: without it, a program waits as it is asked to
	a.fail = []error{breaker()}
	_, err = c.Teams.GetTeam(t.Context(), &v1.GetTeamRequest{TeamId: "x"})
	require.NoError(t, err)
	require.Equal(t, []time.Duration{34 * time.Second}, w.all)
}

func TestPatience_BoundsWhatACallWaitsInAll_UnderOneKey(t *testing.T) {
	a, c, w := start(t, client.WithPatience(5*time.Second))
	for range 4 {
		a.fail = append(a.fail, fault.New(fault.Throttled, "slow down", nil).WithRetryAfter(2*time.Second))
	}
	_, err := c.Reconcile(t.Context(), "", &v1.ReconcileTeamRequest{TeamId: "payments"})
	require.Equal(t, fault.Throttled, fault.KindOf(err))
	require.Equal(t, []time.Duration{2 * time.Second, 2 * time.Second}, w.all)
	require.Len(t, a.keys, 3)
	require.Equal(t, a.keys[0], a.keys[2])
}

func TestPatience_OfAWatch_BeginsAnewWithEachEvent(t *testing.T) {
	a, c, w := start(t, client.WithPatience(3*time.Second))
	slow := func() error {
		return fault.New(fault.Unavailable, "connect again", nil).WithRetryAfter(2 * time.Second)
	}
	a.fail = []error{slow(), slow()}
	for _, err := range c.Watch(t.Context(), job, 0) {
		require.NoError(t, err)
	}
	require.Equal(t, []time.Duration{2 * time.Second, 2 * time.Second}, w.all)
}

func TestUnreached_TellsTheConnectionFromWhatWasAnswered(t *testing.T) {
	a, c, w := start(t)
	a.fail = []error{away(), away(), away(), away(), away()}
	_, err := c.Teams.GetTeam(t.Context(), &v1.GetTeamRequest{TeamId: "x"})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.False(t, client.Unreached(err), "NthLayer answered: what it needs is away")

	overTLS, err := client.New(c.Target(), client.WithSleep(w.sleep))
	require.NoError(t, err)
	defer overTLS.Close()
	nobody, err := client.New("127.0.0.1:1", client.WithPlaintext(), client.WithSleep(w.sleep))
	require.NoError(t, err)
	defer nobody.Close()
	for _, at := range []*client.Client{overTLS, nobody} {
		_, err = at.Teams.GetTeam(t.Context(), &v1.GetTeamRequest{TeamId: "x"})
		require.True(t, client.Unreached(fmt.Errorf("show the team: %w", err)), "%v", err)
		for _, err = range at.Watch(t.Context(), job, 0) {
		}
		require.True(t, client.Unreached(err), "%v", err)
	}
	require.False(t, client.Unreached(fault.New(fault.Unavailable, "the database is away", fmt.Errorf("dial"))))
	require.False(t, client.Unreached(nil))
}

func TestResend_PassingError_IsNotRepeated(t *testing.T) {
	a, c, _ := start(t)
	a.fail = []error{away()}
	_, err := c.Deliveries.ResendDelivery(t.Context(), &v1.ResendDeliveryRequest{DeliveryKey: "k"})
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.Equal(t, 1, a.calls)
}

func TestWatch_StreamBreaks_GoesOnAfterTheLastEvent(t *testing.T) {
	a, c, _ := start(t)
	a.fail = []error{away(), away()}
	var seen []int64
	for event, err := range c.Watch(t.Context(), job, 0) {
		require.NoError(t, err)
		seen = append(seen, event.GetSeq())
	}
	require.Equal(t, []int64{1, 2, 3}, seen)
	require.Equal(t, []int64{0, 1, 2}, a.after)
}

func TestWatch_RefusedOrLeft_Ends(t *testing.T) {
	a, c, _ := start(t)
	a.fail = []error{fault.New(fault.NotFound, "gone", nil)}
	var last error
	for _, err := range c.Watch(t.Context(), job, 0) {
		last = err
	}
	require.Equal(t, fault.NotFound, fault.KindOf(last))
	for range c.Watch(t.Context(), job, 0) {
		break
	}
}

func TestWait_ShowsTheEndedRun(t *testing.T) {
	_, c, _ := start(t)
	run, err := c.Wait(t.Context(), job)
	require.NoError(t, err)
	require.Equal(t, "succeeded", run.GetStatus())
}

func TestLists_GoThroughAllPages(t *testing.T) {
	_, c, _ := start(t)
	request := &v1.ListTeamsRequest{PageSize: 2}
	var ids []string
	for team, err := range c.ListTeams(t.Context(), request) {
		require.NoError(t, err)
		ids = append(ids, team.GetTeamId())
	}
	require.Equal(t, []string{"0a", "0b", "1a", "1b", "2a", "2b"}, ids)
	require.Empty(t, request.GetPageToken())
}

func TestNew_PlaintextToAnotherMachine_IsRefused(t *testing.T) {
	for _, addr := range []string{"nthlayer.example.org:443", "10.0.0.7:9000", "localhost", "localhost.example.org:1"} {
		_, err := client.New(addr, client.WithPlaintext())
		require.Equal(t, fault.Invalid, fault.KindOf(err), addr)
	}
}

func TestTokens_ComeFromWhereTheyAreKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("one\n"), 0o600))
	source := client.FileToken(file)
	token, err := source.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "one", token)
	require.NoError(t, os.WriteFile(file, []byte("two"), 0o600))
	token, err = source.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "two", token)

	t.Setenv("NTHLAYER_TEST_TOKEN", "three")
	token, err = client.EnvToken("NTHLAYER_TEST_TOKEN").Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "three", token)
	for _, missing := range []client.TokenSource{client.StaticToken(""), client.EnvToken("NTHLAYER_NO_SUCH"), client.FileToken(file + "x")} {
		_, err = missing.Token(t.Context())
		require.Equal(t, fault.Unauthenticated, fault.KindOf(err))
	}
}

func TestTokens_Missing_CallSaysSoWithoutTryingAgain(t *testing.T) {
	a, c, w := start(t)
	without, err := client.New(c.Target(), client.WithPlaintext(), client.WithToken(client.EnvToken("NTHLAYER_NO_SUCH")), client.WithSleep(w.sleep))
	require.NoError(t, err)
	defer without.Close()
	_, err = without.Teams.GetTeam(t.Context(), &v1.GetTeamRequest{TeamId: "x"})
	require.Equal(t, fault.Unauthenticated, fault.KindOf(err))
	require.ErrorContains(t, err, "set NTHLAYER_NO_SUCH")
	require.Empty(t, w.all)
	require.Zero(t, a.calls)
}

func TestClientCredentials_TokenIsKeptUntilItIsNearlyOver(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	var asked int
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked++; handler.ServeHTTP(w, r) }))
	defer server.Close()
	handler, err = issuer.New(issuer.Config{URL: server.URL, Audience: "nthlayer", Key: key,
		Clients: map[string]issuer.Client{"ci": {Secret: "s", Scopes: []string{"nthlayer/operator"}}}})
	require.NoError(t, err)
	source := &client.ClientCredentials{TokenURL: server.URL + "/oauth2/token", ClientID: "ci", ClientSecret: "s", HTTP: server.Client()}
	first, err := source.Token(t.Context())
	require.NoError(t, err)
	second, err := source.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, first, second)
	require.Equal(t, 1, asked)

	wrong := &client.ClientCredentials{TokenURL: server.URL + "/oauth2/token", ClientID: "ci", ClientSecret: "guess", HTTP: server.Client()}
	_, err = wrong.Token(t.Context())
	require.Equal(t, fault.Unauthenticated, fault.KindOf(err))
	require.NotContains(t, err.Error(), "guess")
	server.Client().CloseIdleConnections()
}
