package service

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const (
	checkWithin  = 2 * time.Second
	adminTimeout = 5 * time.Second
)

// The states of a service. Only a running one can be ready.
const (
	starting = "starting"
	started  = "running"
	stopping = "stopping"
)

type check struct {
	name string
	run  func(context.Context) error
}

// admin answers whether the process lives (/healthz) and whether it should get work (/readyz), and shows its inside
// (/debug). It is there before the wiring begins and until everything else has ended.
type admin struct {
	server *http.Server
	addr   net.Addr
	done   chan struct{}
	state  atomic.Value // string
	checks []check      // set before the state becomes running
}

func startAdmin(ctx context.Context, addr string, shown inside) (*admin, error) {
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fault.New(fault.Invalid, "cannot listen on NTHLAYER_ADMIN_ADDR "+addr+"; choose another address", err)
	}
	a := &admin{addr: lis.Addr(), done: make(chan struct{})}
	a.state.Store(starting)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", a.readyz)
	shown.register(mux)
	a.server = &http.Server{
		Handler: mux, ReadTimeout: adminTimeout, WriteTimeout: adminTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(shown.log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(a.done)
		_ = a.server.Serve(lis) // ends when stop closes it
	}()
	return a, nil
}

func (a *admin) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if a.server.Shutdown(ctx) != nil {
		_ = a.server.Close()
	}
	<-a.done
}

type readiness struct {
	Ready  bool              `json:"ready"`
	State  string            `json:"state"`
	Checks map[string]string `json:"checks,omitempty"` // "ok", or what is wrong
}

func (a *admin) readyz(w http.ResponseWriter, r *http.Request) {
	answer := readiness{State: a.state.Load().(string)}
	if answer.State == started {
		answer.Ready, answer.Checks = examine(r.Context(), a.checks)
	}
	w.Header().Set("Content-Type", "application/json")
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// examine runs the checks side by side, each within its time.
func examine(ctx context.Context, checks []check) (ready bool, found map[string]string) {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	results := make([]error, len(checks))
	var group sync.WaitGroup
	for i, c := range checks {
		group.Go(func() { results[i] = guard(ctx, c.run) })
	}
	group.Wait()
	ready, found = true, make(map[string]string, len(checks))
	for i, c := range checks {
		found[c.name] = "ok"
		if results[i] != nil {
			ready, found[c.name] = false, publicText(results[i])
		}
	}
	return ready, found
}

// publicText shows what the fault says to callers; causes may hold addresses and stay inside.
func publicText(err error) string {
	if f, ok := fault.As(err); ok {
		return f.Text
	}
	return "failed"
}
