package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	stopFastWithin = 15 * time.Second // a fast shutdown writes a checkpoint
	stopHardWithin = 5 * time.Second
	drainWithin    = time.Second // for the last log lines after the server's end
	tailLines      = 20          // of the log, shown in errors
)

// process is a running postmaster.
type process struct {
	cmd  *exec.Cmd
	log  *serverLog
	done chan struct{} // closed when the process is gone
	err  error         // how it ended; set before done is closed
}

// run starts the command. Its output goes to log, which is closed with the process.
func run(cmd *exec.Cmd, log io.WriteCloser) (*process, error) {
	p := &process{cmd: cmd, log: &serverLog{to: log, ready: make(chan struct{})}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.WaitDelay = drainWithin
	endWithParent(cmd.SysProcAttr)

	started := make(chan error, 1)
	go func() {
		// The kernel ends the server when the *thread* that forked it ends (PR_SET_PDEATHSIG), so one thread is kept for
		// the server's life.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		_ = log.Close()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return p, nil
}

// stop ends the process: fast, then immediately, then by force.
func (p *process) stop(ctx context.Context) error {
	if p.end(ctx, syscall.SIGINT, stopFastWithin) {
		return nil
	}
	return p.stopNow(ctx)
}

// stopNow ends the process: immediately, then by force.
func (p *process) stopNow(ctx context.Context) error {
	if p.end(context.WithoutCancel(ctx), syscall.SIGQUIT, stopHardWithin) {
		return nil
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	return errors.New("PostgreSQL had to be killed; its next start recovers from the write-ahead log")
}

func (p *process) end(ctx context.Context, sig os.Signal, within time.Duration) bool {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// serverLog passes the server's output on, keeps its last lines for error messages and notices when the server says
// that it is ready.
type serverLog struct {
	to    io.Writer
	ready chan struct{}

	mu      sync.Mutex
	isReady bool
	partial []byte
	last    []string
}

func (l *serverLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, b...)
	for {
		line, rest, whole := bytes.Cut(l.partial, []byte("\n"))
		if !whole {
			break
		}
		l.partial = rest
		l.last = append(l.last, string(line))
		if len(l.last) > tailLines {
			l.last = l.last[1:]
		}
		// The server's messages are English: its locale is C.
		if !l.isReady && bytes.Contains(line, []byte("database system is ready to accept connections")) {
			l.isReady = true
			close(l.ready)
		}
	}
	return l.to.Write(b)
}

func (l *serverLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.last, "\n")
}
