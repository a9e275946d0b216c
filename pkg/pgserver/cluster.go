package pgserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cluster is a data directory with what it takes to run a server on it. Layout of home: data/ and the file password.
type cluster struct {
	home  string
	bin   binaries
	runAs credentials
}

func (c cluster) data() string         { return filepath.Join(c.home, "data") }
func (c cluster) passwordFile() string { return filepath.Join(c.home, "password") }

// version is the major version that made the cluster, or "" where there is none yet.
func (c cluster) version() string {
	v, err := os.ReadFile(filepath.Join(c.data(), "PG_VERSION"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(v))
}

func (c cluster) password() (string, error) {
	password, err := os.ReadFile(c.passwordFile())
	if err != nil {
		return "", fmt.Errorf("read the password of the existing cluster (remove %s to start anew): %w", c.home, err)
	}
	return string(password), nil
}

// initialise makes the cluster unless it is there. It is made beside its place and moved there when it is whole, so an
// init that was cut short is never taken for a cluster.
func (c cluster) initialise(ctx context.Context, noSync bool) error {
	if c.version() != "" {
		return nil
	}
	fresh := filepath.Join(c.home, "data.new")
	if err := errors.Join(os.RemoveAll(fresh), os.RemoveAll(c.data()), os.Mkdir(fresh, 0o700), c.runAs.own(fresh)); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := errors.Join(os.WriteFile(c.passwordFile(), []byte(rand.Text()), 0o600), c.runAs.own(c.passwordFile())); err != nil {
		return fmt.Errorf("write the password: %w", err)
	}
	args := []string{
		"-D", fresh, "--username=" + User, "--pwfile=" + c.passwordFile(), "--auth=scram-sha-256",
		"--encoding=UTF8", "--no-locale", "--no-instructions",
	}
	if noSync {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, c.bin.path("initdb"), args...)
	cmd.Env = c.bin.env()
	cmd.Dir = fresh
	cmd.SysProcAttr = c.runAs.attr()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	if err := os.Rename(fresh, c.data()); err != nil {
		return fmt.Errorf("put the new cluster in place: %w", err)
	}
	return nil
}

// command is the server itself on 127.0.0.1:port.
func (c cluster) command(port int, settings map[string]string) *exec.Cmd {
	args := []string{"-D", c.data(), "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	cmd := exec.Command(c.bin.path("postgres"), args...)
	cmd.Env = c.bin.env()
	cmd.Dir = c.data()
	cmd.SysProcAttr = c.runAs.attr()
	return cmd
}

// endOrphan ends a server that outlived the process that started it, and removes the pid file of one that is gone: the
// caller holds the directory's lock, so whoever runs here belongs to nobody.
func (c cluster) endOrphan(ctx context.Context) error {
	pidFile := filepath.Join(c.data(), "postmaster.pid")
	content, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", pidFile, err)
	}
	first, _, _ := bytes.Cut(content, []byte("\n"))
	pid, err := strconv.Atoi(string(bytes.TrimSpace(first)))
	if err != nil || pid <= 1 || !runsIn(pid, c.data()) {
		// The number was given to another process since, or to none.
		if err := os.Remove(pidFile); err != nil {
			return fmt.Errorf("remove the stale pid file: %w", err)
		}
		return nil
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} {
		if err := syscall.Kill(pid, sig); errors.Is(err, syscall.ESRCH) {
			return nil
		} else if err != nil {
			return fmt.Errorf("stop the server that an earlier process left behind (pid %d): %w", pid, err)
		}
		if gone(ctx, pid, stopFastWithin) {
			return nil
		}
	}
	return fmt.Errorf("the server that an earlier process left behind (pid %d) does not stop; end it and start again", pid)
}

// gone waits until no process has the pid. The process is nobody's child here, so there is nothing to wait on but time.
func gone(ctx context.Context, pid int, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// runsIn reports whether the process is a server on the data directory: it works there, or says so on its command line.
func runsIn(pid int, data string) bool {
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
		real, err := filepath.EvalSymlinks(data)
		return err == nil && cwd == real
	}
	line, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(line), data)
}
