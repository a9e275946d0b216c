// Package pgserver runs a private PostgreSQL server from the binaries installed on the machine.
//
// The server belongs to the process that started it: it listens on loopback only, asks for a password that is generated
// with the data directory, and ends with its parent (on Linux even when the parent is killed). The data directory is
// kept: the next Start with the same Dir finds the same databases. Durability is PostgreSQL's own (fsync on) unless
// Settings say otherwise.
//
// PostgreSQL refuses to run as root, so a root process starts it with the credentials of the user postgres or nobody.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// User is the server's superuser.
const User = "nthlayer"

const (
	startWithin = 60 * time.Second // crash recovery after a kill included
	startTries  = 5
	firstPause  = 50 * time.Millisecond // before the second try; doubles
)

// Options say where and how a server runs.
type Options struct {
	Dir      string            // everything the server keeps; made when absent
	Port     int               // TCP port on 127.0.0.1; 0 takes a free one
	Settings map[string]string // postgresql.conf settings, for example {"fsync": "off"}
}

// Server is a running PostgreSQL server. Its methods may be called from any goroutine.
type Server struct {
	port     int
	password string
	lock     *os.File
	process  *process
}

// Start runs a server and returns when it answers queries. A server that an earlier process left behind in Dir is
// stopped first; one that a living process runs there is an error. ctx bounds the start, not the server's life.
func Start(ctx context.Context, opts Options) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()

	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", opts.Dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the server's directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s, err := start(ctx, dir, opts)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	s.lock = lock
	return s, nil
}

func start(ctx context.Context, dir string, opts Options) (*Server, error) {
	runAs, err := unprivileged()
	if err != nil {
		return nil, err
	}
	home, err := runAs.home(dir)
	if err != nil {
		return nil, err
	}
	c := cluster{home: home, runAs: runAs}
	if c.bin, err = findBinaries(c.version()); err != nil {
		return nil, err
	}
	if err := c.endOrphan(ctx); err != nil {
		return nil, err
	}
	if err := c.initialise(ctx, opts.Settings["fsync"] == "off"); err != nil {
		return nil, err
	}

	for try := 1; ; try++ {
		s, err := launch(ctx, c, dir, opts)
		if err == nil || try == startTries || !passing(err, opts.Port) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(firstPause << (try - 1)):
		}
	}
}

// passing says whether starting again may help: a free port was taken by somebody else in between, or the backends of
// a killed server are still going.
func passing(err error, port int) bool {
	var early *earlyExitError
	if !errors.As(err, &early) {
		return false
	}
	return strings.Contains(early.log, "pre-existing shared memory block") ||
		port == 0 && strings.Contains(early.log, "Address already in use")
}

func launch(ctx context.Context, c cluster, dir string, opts Options) (*Server, error) {
	port := opts.Port
	if port == 0 {
		var err error
		if port, err = freePort(ctx); err != nil {
			return nil, err
		}
	}
	password, err := c.password()
	if err != nil {
		return nil, err
	}
	logFile, err := os.OpenFile(filepath.Join(dir, "postgres.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the server's log: %w", err)
	}
	p, err := run(c.command(port, opts.Settings), logFile)
	if err != nil {
		return nil, errors.Join(err, logFile.Close())
	}
	s := &Server{port: port, password: password, process: p}
	if err := s.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, p.stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// awaitReady waits for the server's own word that it is ready, then makes sure by asking it something.
func (s *Server) awaitReady(ctx context.Context) error {
	select {
	case <-s.process.log.ready:
	case <-s.process.done:
		return &earlyExitError{cause: s.process.err, log: s.process.log.tail()}
	case <-ctx.Done():
		return fmt.Errorf("PostgreSQL did not become ready: %w; its log says:\n%s", context.Cause(ctx), s.process.log.tail())
	}
	return s.query(ctx, "postgres", func(conn *pgx.Conn) error { return conn.Ping(ctx) })
}

// URL is the address of a database on this server, for pgx and for other programs.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(User, s.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// EnsureDatabase makes the database unless it is there.
func (s *Server) EnsureDatabase(ctx context.Context, name string) error {
	return s.query(ctx, "postgres", func(conn *pgx.Conn) error {
		var exists bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil {
			return fmt.Errorf("look for database %s: %w", name, err)
		}
		if exists {
			return nil
		}
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
			return fmt.Errorf("create database %s: %w", name, err)
		}
		return nil
	})
}

func (s *Server) query(ctx context.Context, database string, f func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with a read connection
	return f(conn)
}

// Pid is the server's process id.
func (s *Server) Pid() int { return s.process.cmd.Process.Pid }

// Done is closed when the server's process has ended, for whatever reason.
func (s *Server) Done() <-chan struct{} { return s.process.done }

// Err says how the process ended; nil before Done is closed, and after an ordinary end.
func (s *Server) Err() error {
	select {
	case <-s.process.done:
		return s.process.err
	default:
		return nil
	}
}

// Stop ends the server: fast (open transactions are rolled back, a checkpoint is written), and where that takes too
// long or ctx ends, immediately (the next start recovers). It returns when the process is gone.
func (s *Server) Stop(ctx context.Context) error {
	err := s.process.stop(ctx)
	return errors.Join(err, s.lock.Close())
}

// StopNow ends the server immediately, as a crash would: connections break, no checkpoint is written, and the next start
// recovers from the write-ahead log. It returns when the process is gone.
func (s *Server) StopNow(ctx context.Context) error {
	err := s.process.stopNow(ctx)
	return errors.Join(err, s.lock.Close())
}

// Port is where the server listens on 127.0.0.1. Give it to Start to have the server back under the same address.
func (s *Server) Port() int { return s.port }

type earlyExitError struct {
	cause error
	log   string
}

func (e *earlyExitError) Error() string {
	return fmt.Sprintf("PostgreSQL ended before it was ready (%v); its log says:\n%s", e.cause, e.log)
}

func (e *earlyExitError) Unwrap() error { return e.cause }

// lockDir makes sure that no other living process runs a server in dir. The kernel drops the lock with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	return f, nil
}

// ErrInUse says that another process runs a server in the directory.
var ErrInUse = errors.New("another process runs PostgreSQL in this directory; stop it or choose another directory")

func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
