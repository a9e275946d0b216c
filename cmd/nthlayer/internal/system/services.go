package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nthlayer/nthlayer/pkg/rpc/devca"
)

// The services, by the names of their binaries and of their roles in certificates.
const (
	gateway   = "gateway"
	worker    = "reconcile-worker"
	scheduler = "audit-scheduler"
	notifier  = "notifier"

	reconcileQueue     = "reconcile.fifo"
	notificationsQueue = "notifications.fifo"
	auditQueue         = "audit.fifo"
	slackChannel       = "C0OWNERSHIP"

	askReadyEvery  = 25 * time.Millisecond
	askReadyWithin = 2 * time.Second
	logTail        = 2000 // bytes of a service's log shown when it does not start
)

// reserveServices reserves the addresses the services listen on by themselves.
func (s *System) reserveServices(ctx context.Context, ports *ports) error {
	reserve := func(into ...*reservation) error {
		for _, r := range into {
			var err error
			if *r, err = ports.reserve(ctx); err != nil {
				return err
			}
			s.onStop("address", func(context.Context) error { r.release(); return nil })
		}
		return nil
	}
	a := &s.addr
	a.gateways = make([]gatewayAddresses, s.cfg.Gateways)
	a.workers = make([]internalAddresses, s.cfg.Workers)
	a.notifiers = make([]internalAddresses, s.cfg.Notifiers)
	var all []*reservation
	for i := range a.gateways {
		all = append(all, &a.gateways[i].rest, &a.gateways[i].grpc, &a.gateways[i].admin)
	}
	all = append(all, &a.scheduler.grpc, &a.scheduler.admin)
	for _, several := range [][]internalAddresses{a.notifiers, a.workers} {
		for i := range several {
			all = append(all, &several[i].grpc, &several[i].admin)
		}
	}
	if err := reserve(all...); err != nil {
		return err
	}
	for _, g := range a.gateways {
		s.info.Gateways = append(s.info.Gateways, GatewayInfo{REST: "http://" + g.rest.addr(), GRPC: g.grpc.addr()})
	}
	s.info.REST, s.info.GRPC = s.info.Gateways[0].REST, s.info.Gateways[0].GRPC
	return nil
}

// makeCertificates gives every service its certificate for internal calls.
func (s *System) makeCertificates(context.Context, *ports) error {
	return devca.Ensure(s.path("tls"), time.Now(), gateway, worker, scheduler, notifier)
}

// startServices starts the real binaries and waits until each says that it is ready.
func (s *System) startServices(ctx context.Context, _ *ports) error {
	a := s.addr
	var start []func() (*Child, reservation, error)
	for i, addr := range a.gateways {
		start = append(start, func() (*Child, reservation, error) {
			return s.child(numbered(gateway, i), gateway, addr.admin, []reservation{addr.rest, addr.grpc},
				"NTHLAYER_REST_ADDR="+addr.rest.addr(),
				"NTHLAYER_GRPC_ADDR="+addr.grpc.addr(),
				"NTHLAYER_PLANNER_ADDR="+a.workers[0].grpc.addr(),
				"NTHLAYER_NOTIFIER_ADDR="+a.notifiers[0].grpc.addr(),
				"NTHLAYER_SCHEDULER_ADDR="+a.scheduler.grpc.addr(),
				"NTHLAYER_JWT_ISSUER="+s.info.Issuer,
				"NTHLAYER_JWKS_URL=",
				"NTHLAYER_JWT_AUDIENCE="+audience)
		})
	}
	internal := func(program string, addresses ...internalAddresses) {
		for i, addr := range addresses {
			start = append(start, func() (*Child, reservation, error) {
				return s.child(numbered(program, i), program, addr.admin, []reservation{addr.grpc}, "NTHLAYER_INTERNAL_ADDR="+addr.grpc.addr())
			})
		}
	}
	internal(scheduler, a.scheduler)
	internal(notifier, a.notifiers...)
	internal(worker, a.workers...)

	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	ready, ctx := errgroup.WithContext(ctx)
	for _, f := range start {
		c, admin, err := f()
		if err != nil {
			cancel()
			return errors.Join(err, ready.Wait())
		}
		ready.Go(func() error { return awaitReady(ctx, c, "http://"+admin.addr()+"/readyz") })
	}
	return ready.Wait()
}

// numbered names the i-th process of a service: gateway, gateway-2, gateway-3.
func numbered(service string, i int) string {
	if i == 0 {
		return service
	}
	return service + "-" + strconv.Itoa(i+1)
}

// child starts a service. Its addresses are released for it.
func (s *System) child(name, program string, admin reservation, listens []reservation, env ...string) (*Child, reservation, error) {
	path := filepath.Join(s.cfg.BinDir, program)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, admin, fmt.Errorf("there is no %s in %s; `make build` builds the services beside the CLI", program, s.cfg.BinDir)
	}
	c := &Child{
		name:    name,
		path:    path,
		env:     s.environment(name, program, append(env, "NTHLAYER_ADMIN_ADDR="+admin.addr())),
		logPath: s.path("logs", name+".log"),
		log:     s.cfg.Log,
		changed: s.processChanged,
	}
	if err := os.Truncate(c.logPath, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, admin, fmt.Errorf("begin a new log: %w", err)
	}
	for _, r := range append(listens, admin) {
		r.release()
	}
	if err := c.start(); err != nil {
		return nil, admin, err
	}
	s.mu.Lock()
	s.children = append(s.children, c)
	s.mu.Unlock()
	s.onStop(name, c.end)
	return c, admin, nil
}

// environment is that of this process with what the service needs; where a name stands twice, the last one counts.
func (s *System) environment(name, program string, own []string) []string {
	tls, out := devca.FilesOf(s.path("tls"), program), s.cfg.Outside
	env := append(os.Environ(),
		"NTHLAYER_DATABASE_URL="+s.info.Postgres,
		"NTHLAYER_REDIS_ADDR="+s.info.Redis,
		"NTHLAYER_SQS_ENDPOINT="+s.info.SQS,
		"NTHLAYER_RECONCILE_QUEUE="+reconcileQueue,
		"NTHLAYER_NOTIFICATIONS_QUEUE="+notificationsQueue,
		"NTHLAYER_AUDIT_QUEUE="+auditQueue,
		"NTHLAYER_CORTEX_URL="+s.info.Cortex,
		"NTHLAYER_CORTEX_TOKEN="+s.info.Tokens.Cortex,
		"NTHLAYER_CORTEX_TOKEN_FILE="+tokenFile(out.CortexURL, out.CortexTokenFile),
		"NTHLAYER_PAGERDUTY_URL="+s.info.PagerDuty,
		"NTHLAYER_PAGERDUTY_TOKEN="+s.info.Tokens.PagerDuty,
		"NTHLAYER_PAGERDUTY_TOKEN_FILE="+tokenFile(out.PagerDutyURL, out.PagerDutyTokenFile),
		"NTHLAYER_SLACK_URL="+slackAPI(s.info.Slack),
		"NTHLAYER_SLACK_TOKEN="+s.info.Tokens.Slack,
		"NTHLAYER_SLACK_TOKEN_FILE="+tokenFile(out.SlackURL, out.SlackTokenFile),
		"NTHLAYER_TLS_CA="+tls.CA,
		"NTHLAYER_TLS_CERT="+tls.Cert,
		"NTHLAYER_TLS_KEY="+tls.Key,
	)
	if out.SlackURL == "" { // in a workspace outside, buttons need an app that sends what is pressed
		env = append(env, "NTHLAYER_SLACK_SIGNING_SECRET="+s.signing, "NTHLAYER_SLACK_BUTTONS=true")
	}
	if out.simulatesMail() {
		env = append(env, s.mailEnvironment()...)
	}
	if os.Getenv("NTHLAYER_SLACK_CHANNEL") == "" {
		env = append(env, "NTHLAYER_SLACK_CHANNEL="+slackChannel)
	}
	if os.Getenv("NTHLAYER_PUBLIC_URL") == "" {
		env = append(env, "NTHLAYER_PUBLIC_URL="+s.info.REST)
	}
	// In the simulator nobody is paged: teams may be made there. In a PagerDuty outside that stays the user's word.
	if out.PagerDutyURL == "" && os.Getenv("NTHLAYER_CREATE_TEAMS") == "" {
		env = append(env, "NTHLAYER_CREATE_TEAMS=true")
	}
	env = append(env, own...)
	if s.cfg.ServiceEnv != nil {
		env = append(env, s.cfg.ServiceEnv(name)...)
	}
	return env
}

// tokenFile is the file that holds a platform's token. A simulator's token is known here, and whoever has a file in the
// environment for the real platform must not make services refuse to start because of both.
func tokenFile(outside, file string) string {
	if outside == "" {
		return ""
	}
	return file
}

// awaitReady asks the service until it says that it is ready. A service that dies on the way has said why in its log.
func awaitReady(ctx context.Context, c *Child, url string) error {
	tick := time.NewTicker(askReadyEvery)
	defer tick.Stop()
	client := &http.Client{Timeout: askReadyWithin}
	defer client.CloseIdleConnections()
	for {
		if answersOK(ctx, client, url) {
			return nil
		}
		if c.Lives() > 1 || c.Pid() == 0 {
			return fmt.Errorf("%s ended before it was ready; its log %s ends with:\n%s", c.Name(), c.Log(), tail(c.Log()))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready: %w; its log %s ends with:\n%s", c.Name(), context.Cause(ctx), c.Log(), tail(c.Log()))
		case <-tick.C:
		}
	}
}

func answersOK(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(content) > logTail {
		content = content[len(content)-logTail:]
	}
	return strings.TrimSpace(string(content))
}
