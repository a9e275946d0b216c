package system

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/pgserver"
	"github.com/nthlayer/nthlayer/pkg/testkit"
)

// testConfig is a system whose services are this test binary: they do nothing but be ready. The tests of the real
// services are elsewhere; these are about the system around them.
func testConfig(t *testing.T, how string) Config {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	bin := t.TempDir()
	for _, name := range []string{gateway, worker, scheduler, notifier} {
		require.NoError(t, os.Symlink(self, filepath.Join(bin, name)))
	}
	return Config{
		StateDir: filepath.Join(t.TempDir(), "state"), BinDir: bin, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Outside:    Outside{DatabaseURL: config.NewSecret(testkit.Postgres(t))},
		ServiceEnv: func(string) []string { return []string{behaviour + "=" + how, raceExit} },
	}
}

func start(t *testing.T, cfg Config) *System {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	return s
}

func readDevJSON(t *testing.T, cfg Config) Info {
	t.Helper()
	content, err := os.ReadFile(InfoFile(cfg.StateDir))
	require.NoError(t, err)
	var info Info
	require.NoError(t, json.Unmarshal(content, &info))
	return info
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestStart_EverythingIsUp_AndDevJSONSaysWhere(t *testing.T) {
	cfg := testConfig(t, "service")
	cfg.Gateways, cfg.Workers, cfg.Notifiers = 2, 2, 3
	s := start(t, cfg)
	info := readDevJSON(t, cfg)
	require.Equal(t, s.Info(), info)
	require.True(t, info.Ready)
	for name, pid := range info.PIDs {
		require.NoError(t, syscall.Kill(pid, 0), name)
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(info.PIDs)), []string{
		"gateway", "gateway-2", "audit-scheduler", "notifier", "notifier-2", "notifier-3", "reconcile-worker", "reconcile-worker-2",
	})
	require.Len(t, info.Gateways, 2)
	require.Equal(t, GatewayInfo{REST: info.REST, GRPC: info.GRPC}, info.Gateways[0])
	require.NotEqual(t, info.Gateways[0], info.Gateways[1])
	for _, platform := range []string{info.Cortex, info.PagerDuty, info.Slack} {
		code, _ := get(t, platform+"/_control/calls")
		require.Equal(t, http.StatusOK, code)
	}
	require.NoError(t, smtp.SendMail(info.SMTP, nil, "nthlayer@dev.localhost", []string{"ann@example.org"}, []byte("Subject: told\r\n\r\n")))
	code, mails := get(t, info.Mail+"/_control/state")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, mails, `"subject":"told"`)
	code, keys := get(t, info.Issuer+"/.well-known/jwks.json")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, keys, `"ES256"`)
	require.Len(t, strings.Split(info.Token, "."), 3)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", info.Redis)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

func TestEnvironment_EachProcessHasItsOwn(t *testing.T) {
	s := &System{cfg: Config{ServiceEnv: func(name string) []string { return []string{"NTHLAYER_PAGERDUTY_URL=http://" + name} }}}
	env := s.environment("reconcile-worker-2", worker, nil)
	require.Equal(t, "NTHLAYER_PAGERDUTY_URL=http://reconcile-worker-2", env[len(env)-1], "the last one counts")
}

func TestStop_LeavesNothingBehind(t *testing.T) {
	cfg := testConfig(t, "service")
	s, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	info := s.Info()
	require.NoError(t, s.Stop(t.Context()))

	for name, pid := range info.PIDs {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, name)
	}
	require.NoFileExists(t, InfoFile(cfg.StateDir))
	for _, addr := range []string{info.Redis, info.GRPC, info.SMTP, strings.TrimPrefix(info.SQS, "http://")} {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		require.NoError(t, err, "the port is free again")
		require.NoError(t, l.Close())
	}
}

func TestSystem_ServiceKilled_IsUpAgainAndDevJSONKnowsItsPid(t *testing.T) {
	cfg := testConfig(t, "service")
	s := start(t, cfg)
	before := readDevJSON(t, cfg).PIDs[worker]
	require.NoError(t, s.Service(worker).Signal(syscall.SIGKILL))
	require.NoError(t, s.Service(worker).AwaitLife(within(t), 2))
	pid := s.Service(worker).Pid()
	require.NotEqual(t, before, pid)
	require.Equal(t, pid, s.Info().PIDs[worker])
}

// withPostgres is a system with a PostgreSQL of its own, and what it says.
func withPostgres(t *testing.T) (Config, *System, *testkit.Outside) {
	t.Helper()
	if _, err := pgserver.Installed(); err != nil {
		testkit.SkipFor(t, err.Error())
	}
	cfg, said := testConfig(t, "service"), &testkit.Outside{}
	cfg.Outside.DatabaseURL = config.Secret{}
	cfg.PostgresSettings = map[string]string{"fsync": "off"}
	cfg.Log = slog.New(slog.NewTextHandler(said, nil))
	t.Cleanup(func() { require.NoError(t, pgserver.Remove(filepath.Join(cfg.StateDir, "postgres"))) })
	return cfg, start(t, cfg), said
}

func query(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

func TestSystem_PostgresKilled_IsUpAgainUnderTheSameAddressWithItsData(t *testing.T) {
	cfg, s, said := withPostgres(t)
	before := readDevJSON(t, cfg)
	query(t, before.Postgres, "CREATE TABLE kept (n int)")
	for life := 1; life <= 2; life++ {
		pid := s.Info().PIDs["postgres"]
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		said.Await(t, "output", `(?s)(PostgreSQL died.*PostgreSQL is back.*){`+strconv.Itoa(life)+`}`)
		query(t, before.Postgres, "SELECT n FROM kept")
		after := readDevJSON(t, cfg)
		require.NotEqual(t, pid, after.PIDs["postgres"])
		require.Equal(t, before.Postgres, after.Postgres)
	}
	require.Contains(t, said.Said("output"), "killed", "why it died")
}

func TestStop_PostgresIsDown_LeavesItDown(t *testing.T) {
	cfg, s, said := withPostgres(t)
	require.NoError(t, syscall.Kill(s.Info().PIDs["postgres"], syscall.SIGKILL))
	said.Await(t, "output", "PostgreSQL died")
	require.NoError(t, s.Stop(t.Context()))
	again, err := pgserver.Start(t.Context(), pgserver.Options{Dir: filepath.Join(cfg.StateDir, "postgres"), Settings: cfg.PostgresSettings})
	require.NoError(t, err, "nobody has the directory")
	require.NoError(t, again.Stop(t.Context()))
}

func TestStart_ServiceDoesNotComeUp_ShowsWhatItSaid(t *testing.T) {
	_, err := Start(t.Context(), testConfig(t, "broken"))
	require.ErrorContains(t, err, "NTHLAYER_SOMETHING is not set")
	require.ErrorContains(t, err, ".log")
}

func TestStart_BinariesAreMissing_SaysHowToBuildThem(t *testing.T) {
	cfg := testConfig(t, "service")
	cfg.BinDir = t.TempDir()
	_, err := Start(t.Context(), cfg)
	require.ErrorContains(t, err, "make build")
}

func TestStart_SystemRunsThere_SaysSo(t *testing.T) {
	cfg := testConfig(t, "service")
	start(t, cfg)
	_, err := Start(t.Context(), cfg)
	require.ErrorContains(t, err, "--state-dir")
	require.FileExists(t, InfoFile(cfg.StateDir), "the running system's description stays")
}

func TestStart_PortBase_GivesPortsInOrder(t *testing.T) {
	cfg := testConfig(t, "service")
	cfg.PortBase = freeRange(t)
	s := start(t, cfg)
	require.Equal(t, "http://127.0.0.1:"+strconv.Itoa(cfg.PortBase), s.Info().REST)
	require.Equal(t, "127.0.0.1:"+strconv.Itoa(cfg.PortBase+1), s.Info().GRPC)

	other := testConfig(t, "service")
	other.PortBase = cfg.PortBase
	_, err := Start(t.Context(), other)
	require.ErrorContains(t, err, "--port-base")
}

func TestStart_PortBase_LastPortsAreUsedAndNoneBeyond(t *testing.T) {
	cfg := testConfig(t, "service")
	cfg.Gateways, cfg.Workers, cfg.Notifiers = 2, 3, 2
	cfg.Outside.SlackURL = "https://slack.com/api/"
	needed := cfg.ports()
	if !rangeIsFree(t, lastPort+1-needed, needed) {
		t.Skip("another program has one of the last ports")
	}
	cfg.PortBase = lastPort + 1 - needed
	require.Equal(t, "http://127.0.0.1:65535", start(t, cfg).Info().Issuer, "the last port goes to the last part that takes one")

	for _, base := range []int{cfg.PortBase + 1, 65533, 70000, -1} {
		cfg.PortBase = base
		_, err := Start(t.Context(), cfg)
		require.ErrorContains(t, err, "--port-base "+strconv.Itoa(base)+": must be from 1 to "+strconv.Itoa(lastPort+1-needed))
		require.ErrorContains(t, err, "takes "+strconv.Itoa(needed)+" ports")
	}
}

// freeRange finds a port with room behind it.
func freeRange(t *testing.T) int {
	t.Helper()
	const room = 32
	for base := 21000; base < 30000; base += room {
		if rangeIsFree(t, base, room) {
			return base
		}
	}
	t.Fatal("no free range of ports")
	return 0
}

func rangeIsFree(t *testing.T, base, room int) bool {
	for port := base; port < base+room; port++ {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return false
		}
		require.NoError(t, l.Close())
	}
	return true
}

func TestStart_AnotherTime_KeepsTokensAndTheIssuersKey(t *testing.T) {
	cfg := testConfig(t, "service")
	first, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	_, keys := get(t, first.Info().Issuer+"/.well-known/jwks.json")
	require.NoError(t, first.Stop(t.Context()))

	second := start(t, cfg)
	_, again := get(t, second.Info().Issuer+"/.well-known/jwks.json")
	require.Equal(t, keys, again)
	require.Equal(t, first.Info().Tokens, second.Info().Tokens)
}

func TestStart_PlatformOutside_IsUsedAsItIs(t *testing.T) {
	cfg := testConfig(t, "service")
	cfg.Outside.CortexURL, cfg.Outside.CortexToken = "https://cortex.example.org", config.NewSecret("theirs")
	s := start(t, cfg)
	require.Equal(t, "https://cortex.example.org", s.Info().Cortex)
	require.Equal(t, "theirs", s.Info().Tokens.Cortex)
}

func TestStart_TokenFileOfAPlatformOutside_IsWhatServicesRead(t *testing.T) {
	cfg := testConfig(t, "service")
	cfg.Outside.PagerDutyURL, cfg.Outside.PagerDutyTokenFile = "https://api.pagerduty.com", "/run/secrets/pagerduty"
	s := start(t, cfg)
	require.Empty(t, s.Info().Tokens.PagerDuty)
	env := effective(s.environment(worker, worker, nil))
	require.Equal(t, "/run/secrets/pagerduty", env["NTHLAYER_PAGERDUTY_TOKEN_FILE"])
	require.Empty(t, env["NTHLAYER_PAGERDUTY_TOKEN"])
}

// What a developer's shell holds for the real platforms must not meet the simulators' tokens.
func TestEnvironment_TokenFilesInTheShell_DoNotReachServicesOfSimulators(t *testing.T) {
	for _, platform := range []string{"CORTEX", "PAGERDUTY", "SLACK"} {
		t.Setenv("NTHLAYER_"+platform+"_TOKEN_FILE", "/run/secrets/"+platform)
	}
	s := &System{cfg: Config{Outside: Outside{SlackTokenFile: "/run/secrets/SLACK"}}}
	s.info.Tokens = PlatformTokens{Cortex: "a", PagerDuty: "b", Slack: "c"}
	env := effective(s.environment(worker, worker, nil))
	for platform, token := range map[string]string{"CORTEX": "a", "PAGERDUTY": "b", "SLACK": "c"} {
		require.Equal(t, token, env["NTHLAYER_"+platform+"_TOKEN"])
		require.Empty(t, env["NTHLAYER_"+platform+"_TOKEN_FILE"])
	}
}

// E-mails of a system on somebody's machine must not reach people, unless that is what they asked for.
func TestEnvironment_MailServerInTheShell_IsUsedOnlyWhereItIsMeant(t *testing.T) {
	for name, value := range map[string]string{
		"USER": "u", "PASSWORD": "p", "TLS": "starttls",
	} {
		t.Setenv("NTHLAYER_SMTP_"+name, value)
	}
	s := &System{}
	s.info.SMTP = "127.0.0.1:2525"
	env := effective(s.environment(notifier, notifier, nil))
	require.Equal(t, "127.0.0.1:2525", env["NTHLAYER_SMTP_ADDR"])
	require.Equal(t, "none", env["NTHLAYER_SMTP_TLS"])
	require.Empty(t, env["NTHLAYER_SMTP_USER"]+env["NTHLAYER_SMTP_PASSWORD"])
	require.NotEmpty(t, env["NTHLAYER_EMAIL_FROM"])

	s.cfg.Outside.SESRegion = "eu-west-1"
	env = effective(s.environment(notifier, notifier, nil))
	require.Empty(t, env["NTHLAYER_SMTP_ADDR"], "it goes through SES")
	require.Equal(t, "starttls", env["NTHLAYER_SMTP_TLS"], "the user's word")
}

func TestStart_MailServerOutside_StartsNone(t *testing.T) {
	cfg := testConfig(t, "service")
	cfg.Outside.SMTPAddr = "mail.example.org:587"
	info := start(t, cfg).Info()
	require.Equal(t, []string{"mail.example.org:587", ""}, []string{info.SMTP, info.Mail})
}

// effective is an environment as a process sees it.
func effective(pairs []string) map[string]string {
	env := map[string]string{}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	return env
}

func TestStop_HurriedByTheUser_DoesNotWaitForServices(t *testing.T) {
	cfg := testConfig(t, "service")
	s, err := Start(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, s.Service(notifier).Signal(syscall.SIGSTOP), "it cannot react to anything now")
	hurried, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, s.Stop(hurried), "notifier did not stop in time")
}

func TestStart_RedisOutsideIsAway_WarnsOnceAndStarts(t *testing.T) {
	cfg := testConfig(t, "service")
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	for _, there := range []bool{true, false} {
		var said testkit.Outside
		cfg.Log = slog.New(slog.NewTextHandler(&said, nil))
		cfg.Outside.RedisAddr = l.Addr().String()
		s, err := Start(t.Context(), cfg)
		require.NoError(t, err)
		require.Equal(t, cfg.Outside.RedisAddr, s.Info().Redis)
		require.NoError(t, s.Stop(t.Context()))
		if there {
			require.Empty(t, said.Said("output"))
			require.NoError(t, l.Close())
			continue
		}
		require.Equal(t, 1, strings.Count(said.Said("output"), "the Redis of NTHLAYER_REDIS_ADDR is not there"))
		require.Contains(t, said.Said("output"), "addr="+cfg.Outside.RedisAddr)
	}
}

func TestSlackAPI_HostAlone_GetsThePathOfTheAPI(t *testing.T) {
	for given, want := range map[string]string{
		"http://127.0.0.1:7":     "http://127.0.0.1:7/api/",
		"http://127.0.0.1:7/":    "http://127.0.0.1:7/api/",
		"https://slack.com/api/": "https://slack.com/api/",
	} {
		require.Equal(t, want, slackAPI(given))
	}
}

func TestEnvironment_TeamsAreCreatedInTheSimulatorAlone(t *testing.T) {
	const create = "NTHLAYER_CREATE_TEAMS=true"
	require.Contains(t, (&System{}).environment(worker, worker, nil), create)
	outside := &System{cfg: Config{Outside: Outside{PagerDutyURL: "https://api.pagerduty.com"}}}
	require.NotContains(t, outside.environment(worker, worker, nil), create, "in a real account that is the user's word")
	t.Setenv("NTHLAYER_CREATE_TEAMS", "false")
	require.NotContains(t, (&System{}).environment(worker, worker, nil), create)
}
