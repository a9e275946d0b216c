package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/nthlayer/nthlayer/pkg/pgserver"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/simulator/sqs"
)

// database is a PostgreSQL that can be stopped and comes back under the same address with what was committed.
type database struct {
	dir    string
	mu     sync.Mutex
	server *pgserver.Server
}

// settings keep what a crash of the server, not of the machine, must not lose: no fsync, but commits wait for the write.
func (d *database) options(port int) pgserver.Options {
	return pgserver.Options{Dir: d.dir, Port: port, Settings: map[string]string{
		"fsync": "off", "max_connections": "150", "shared_buffers": "64MB", "log_min_messages": "log",
	}}
}

func startDatabase(ctx context.Context) (d *database, err error) {
	d = &database{}
	if d.dir, err = os.MkdirTemp("", "nthlayer-chaos-pg-"); err != nil {
		return nil, err
	}
	if d.server, err = pgserver.Start(ctx, d.options(0)); err != nil {
		return nil, err
	}
	return d, d.server.EnsureDatabase(ctx, "nthlayer")
}

func (d *database) url() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.server.URL("nthlayer")
}

// restart stops the server, politely or as a crash would, and starts it again after a while.
func (d *database) restart(ctx context.Context, crash bool, down time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	stop := d.server.Stop
	if crash {
		stop = d.server.StopNow
	}
	if err := stop(ctx); err != nil {
		return err
	}
	pause(ctx, down)
	next, err := pgserver.Start(ctx, d.options(d.server.Port()))
	if err != nil {
		return fmt.Errorf("start PostgreSQL again: %w", err)
	}
	d.server = next
	return nil
}

func (d *database) stop(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.server.Stop(ctx), pgserver.Remove(d.dir))
}

// limits is the Redis. What it holds may be lost at any time.
type limits struct{ server *miniredis.Miniredis }

func (l limits) flush() { l.server.FlushAll() }

func (l limits) down(ctx context.Context, d time.Duration) error {
	l.server.Close()
	pause(ctx, d)
	return l.server.Restart()
}

// messages is the SQS endpoint. It can die with all its messages and come back empty.
type messages struct {
	addr string
	mu   sync.Mutex
	sqs  *sqs.Server
	web  *http.Server
	done chan struct{}
}

func startMessages(ctx context.Context) (*messages, error) {
	m := &messages{addr: "127.0.0.1:0"}
	return m, m.start(ctx)
}

func (m *messages) endpoint() string { return "http://" + m.addr }

func (m *messages) start(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", m.addr)
	if err != nil {
		return fmt.Errorf("listen for SQS: %w", err)
	}
	m.addr, m.sqs, m.done = l.Addr().String(), sqs.New(sqs.Options{}), make(chan struct{})
	m.web = &http.Server{Handler: m.sqs, ReadHeaderTimeout: 10 * time.Second}
	go func(web *http.Server, done chan struct{}) {
		defer close(done)
		_ = web.Serve(l) // ends when it is closed
	}(m.web, m.done)
	client, err := queue.Open(ctx, queue.Config{Endpoint: m.endpoint()})
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ensure(ctx, queue.Layout{}, "reconcile.fifo", "notifications.fifo", "audit.fifo")
}

func (m *messages) kill() error {
	m.sqs.Close()
	err := m.web.Close()
	<-m.done
	return err
}

// lose kills the endpoint with its memory and brings it back under the same address.
func (m *messages) lose(ctx context.Context, down time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.kill(); err != nil {
		return err
	}
	pause(ctx, down)
	return m.start(ctx)
}

func (m *messages) inject(faults ...sqs.Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sqs.Inject(faults...)
}

func (m *messages) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sqs.ClearFaults()
}

func (m *messages) stop() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kill()
}

// dam stands before the database and can hold back the answers to one request: what was asked is done, and who asked does
// not learn of it. It can also be shut.
type dam struct {
	to     string
	l      net.Listener
	copies sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	text  []byte        // the request that is waited for; nil: none
	open  chan struct{} // closed when its answers may flow
	shut  bool          // nothing passes
}

func startDam(ctx context.Context, to string) (*dam, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &dam{to: to, l: l, conns: map[net.Conn]bool{}}
	d.copies.Go(d.accept)
	return d, nil
}

func (d *dam) accept() {
	for {
		near, err := d.l.Accept()
		if err != nil {
			return
		}
		far, err := new(net.Dialer).Dial("tcp", d.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		d.mu.Lock()
		if d.shut {
			_, _ = near.Close(), far.Close()
			d.mu.Unlock()
			continue
		}
		d.conns[near], d.conns[far] = true, true
		d.mu.Unlock()
		flow := make(chan (<-chan struct{}), 1) // what the answers have to wait for
		d.copies.Go(func() {
			d.copy(far, near, func(request []byte) {
				d.mu.Lock()
				defer d.mu.Unlock()
				if d.text != nil && bytes.Contains(request, d.text) {
					d.text = nil
					flow <- d.open
				}
			})
		})
		d.copies.Go(func() {
			d.copy(near, far, func([]byte) {
				select {
				case open := <-flow:
					<-open
				default:
				}
			})
		})
	}
}

// copy passes on what comes, each piece after before has seen it.
func (d *dam) copy(to, from net.Conn, before func([]byte)) {
	defer func() {
		_, _ = to.Close(), from.Close()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.conns, to)
		delete(d.conns, from)
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			before(buffer[:n])
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold keeps back the answers to the next request in which the text stands, until the returned function is called.
func (d *dam) hold(text string) (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	open := make(chan struct{})
	d.text, d.open = []byte(text), open
	return func() { close(open) }
}

// close shuts the dam: what flows is cut off, and nothing passes until the returned function is called.
func (d *dam) close() (mend func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	d.cut()
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.shut = false
	}
}

func (d *dam) cut() {
	for c := range d.conns {
		_ = c.Close()
	}
}

func (d *dam) stop() {
	_ = d.l.Close()
	d.mu.Lock()
	d.cut()
	d.mu.Unlock()
	d.copies.Wait()
}

// pause is how long something stays as it is: a fault needs time to be felt.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
