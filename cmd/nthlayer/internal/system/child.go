package system

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	firstPause  = 100 * time.Millisecond // before a dead service is started again; doubles with every early death
	longPause   = 5 * time.Second
	steadyAfter = 10 * time.Second // a service that lived this long starts with the first pause again
)

// Child is a service as a process that is kept alive: when it dies, it is started again under the same addresses.
type Child struct {
	name    string
	path    string
	env     []string
	logPath string
	log     *slog.Logger
	changed func() // the pid is another one

	mu      sync.Mutex
	process *os.Process
	lives   int           // how often it was started
	moved   chan struct{} // closed and replaced at every start and every death
	held    bool          // not to be started again for now
	lastErr error

	stop    context.CancelFunc
	stopped chan struct{}
}

// start begins to keep the child alive.
func (c *Child) start() error {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.moved = make(chan struct{})
	c.stopped = make(chan struct{})
	first := make(chan error, 1)
	go func() {
		// The kernel ends a child when the *thread* that forked it ends, so the supervisor keeps one thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.stopped)
		c.keepAlive(ctx, first)
	}()
	return <-first
}

func (c *Child) keepAlive(ctx context.Context, first chan<- error) {
	pause := firstPause
	for {
		began := time.Now()
		cmd, err := c.spawn()
		if first != nil {
			first <- err
			first = nil
			if err != nil {
				return
			}
		}
		if err == nil {
			// Registered after the start, so that an end that came in between is not missed.
			cancel := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
			err = cmd.Wait()
			cancel()
		}
		c.died(err)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steadyAfter {
			pause = firstPause
		}
		c.log.Warn("service died, starting it again", "service", c.name, "why", fmt.Sprint(err), "in", pause, "log", c.logPath)
		if !c.rest(ctx, pause) {
			return
		}
		pause = min(2*pause, longPause)
	}
}

// rest waits for the pause, and for as long as the child is held down; it says whether to go on.
func (c *Child) rest(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	for {
		c.mu.Lock()
		held, moved := c.held, c.moved
		c.mu.Unlock()
		if !held {
			return true
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}

func (c *Child) spawn() (*exec.Cmd, error) {
	log, err := os.OpenFile(c.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", c.name, err)
	}
	defer log.Close()
	cmd := exec.Command(c.path)
	cmd.Env = c.env
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	c.mu.Lock()
	c.process = cmd.Process
	c.lives++
	c.stir()
	c.mu.Unlock()
	c.changed()
	return cmd, nil
}

func (c *Child) died(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.process, c.lastErr = nil, err
	c.stir()
}

// stir wakes whoever waits for a change. The caller holds the lock.
func (c *Child) stir() {
	close(c.moved)
	c.moved = make(chan struct{})
}

// Name is the service's name, with a number for the second and every further process of one service.
func (c *Child) Name() string { return c.name }

// Pid is the process id, or 0 while the service is down.
func (c *Child) Pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return 0
	}
	return c.process.Pid
}

// Lives says how often the service was started.
func (c *Child) Lives() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lives
}

// Log is the path of the service's log.
func (c *Child) Log() string { return c.logPath }

// Signal sends the running process a signal; a service that is down takes none.
func (c *Child) Signal(sig os.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return os.ErrProcessDone
	}
	return c.process.Signal(sig)
}

// Hold keeps the service down after its next death, until Release.
func (c *Child) Hold() { c.setHeld(true) }

// Release ends Hold.
func (c *Child) Release() { c.setHeld(false) }

func (c *Child) setHeld(held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = held
	c.stir()
}

// AwaitLife waits until the service was started at least n times and runs.
func (c *Child) AwaitLife(ctx context.Context, n int) error {
	return c.await(ctx, func() bool { return c.lives >= n && c.process != nil })
}

// AwaitDown waits until the service does not run.
func (c *Child) AwaitDown(ctx context.Context) error {
	return c.await(ctx, func() bool { return c.process == nil })
}

func (c *Child) await(ctx context.Context, reached func() bool) error {
	for {
		c.mu.Lock()
		done, moved := reached(), c.moved
		c.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", c.name, context.Cause(ctx))
		}
	}
}

// end stops the service for good: politely, and by force when ctx ends first.
func (c *Child) end(ctx context.Context) error {
	c.stop()
	select {
	case <-c.stopped:
		return nil
	case <-ctx.Done():
		_ = c.Signal(syscall.SIGKILL)
		<-c.stopped
		return fmt.Errorf("%s did not stop in time and was killed; its log is %s", c.name, c.logPath)
	}
}
