package system

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/nthlayer/nthlayer/pkg/pgserver"
)

// postgres is a PostgreSQL server that is kept alive: when it dies, it is started again on the same directory and port,
// and has what was committed.
type postgres struct {
	opts    pgserver.Options
	log     *slog.Logger
	changed func() // the pid is another one

	mu     sync.Mutex
	server *pgserver.Server // nil while it is down

	stop    context.CancelFunc
	stopped chan struct{}
}

// start runs the server for the first time and begins to keep it alive.
func (p *postgres) start(ctx context.Context) (*pgserver.Server, error) {
	server, err := pgserver.Start(ctx, p.opts)
	if err != nil {
		return nil, err
	}
	p.opts.Port = server.Port()
	p.server, p.stopped = server, make(chan struct{})
	keeping, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() {
		defer close(p.stopped)
		p.keepAlive(keeping, server)
	}()
	return server, nil
}

func (p *postgres) keepAlive(ctx context.Context, server *pgserver.Server) {
	pause := firstPause
	for server != nil {
		began := time.Now()
		select {
		case <-server.Done():
		case <-ctx.Done():
			return
		}
		p.set(nil)
		_ = server.Stop(ctx) // it is gone; this gives the directory free
		if time.Since(began) > steadyAfter {
			pause = firstPause
		}
		p.log.Warn("PostgreSQL died, starting it again", "why", fmt.Sprint(server.Err()), "in", pause, "log", p.logPath())
		server, pause = p.again(ctx, pause)
	}
}

// again starts the server until that succeeds; nil when ctx ends before.
func (p *postgres) again(ctx context.Context, pause time.Duration) (*pgserver.Server, time.Duration) {
	for {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, pause
		}
		pause = min(2*pause, longPause)
		server, err := pgserver.Start(ctx, p.opts)
		if err == nil {
			p.set(server)
			p.log.Info("PostgreSQL is back", "pid", server.Pid())
			return server, pause
		}
		if ctx.Err() == nil {
			p.log.Error("PostgreSQL does not start, trying again", "error", err, "in", pause, "log", p.logPath())
		}
	}
}

func (p *postgres) logPath() string { return filepath.Join(p.opts.Dir, "postgres.log") }

func (p *postgres) set(server *pgserver.Server) {
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
	p.changed()
}

// pid is the process id, or 0 while the server is down.
func (p *postgres) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server == nil {
		return 0
	}
	return p.server.Pid()
}

// end stops the server for good.
func (p *postgres) end(ctx context.Context) error {
	p.stop()
	<-p.stopped
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server == nil {
		return nil
	}
	return p.server.Stop(ctx)
}
