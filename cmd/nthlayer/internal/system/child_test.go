package system

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/testkit"
)

const (
	behaviour = "NTHLAYER_TEST_CHILD"      // what this test binary does when it is started as a child
	raceExit  = "GORACE=atexit_sleep_ms=0" // without it the race detector holds every exit up for a second
)

func TestMain(m *testing.M) {
	switch os.Getenv(behaviour) {
	case "":
		testkit.Main(m)
	case "polite":
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGTERM)
		fmt.Println("up")
		<-asked
		fmt.Println("down")
	case "service": // answers as ready until it is asked to stop
		stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer cancel()
		server := &http.Server{Addr: os.Getenv("NTHLAYER_ADMIN_ADDR"), ReadHeaderTimeout: time.Second}
		server.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}) // 200 to everything
		context.AfterFunc(stop, func() { _ = server.Close() })
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			fmt.Println(err)
			os.Exit(1)
		}
	case "broken":
		fmt.Println("NTHLAYER_SOMETHING is not set")
		os.Exit(1)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("up")
		select {}
	}
}

// startChild starts this test binary as a child; what it writes can be read line by line.
func startChild(t *testing.T, how string) (*Child, *bufio.Reader) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	pipe := filepath.Join(t.TempDir(), "log")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	output, err := os.OpenFile(pipe, os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = output.Close() })
	c := &Child{
		name: how, path: self, env: append(os.Environ(), behaviour+"="+how, raceExit), logPath: pipe,
		log: slog.New(slog.DiscardHandler), changed: func() {},
	}
	require.NoError(t, c.start())
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = c.end(ctx)
	})
	return c, bufio.NewReader(output)
}

// says waits for the child's next line.
func says(t *testing.T, output *bufio.Reader, want string) {
	t.Helper()
	line, err := output.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, want+"\n", line)
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestChild_Killed_StartsAgainUnderAnotherPid(t *testing.T) {
	c, _ := startChild(t, "polite")
	first := c.Pid()
	require.NoError(t, c.Signal(syscall.SIGKILL))
	require.NoError(t, c.AwaitLife(within(t), 2))
	require.NotZero(t, c.Pid())
	require.NotEqual(t, first, c.Pid())
}

func TestChild_HeldDown_StaysDownUntilReleased(t *testing.T) {
	c, _ := startChild(t, "polite")
	c.Hold()
	require.NoError(t, c.Signal(syscall.SIGKILL))
	require.NoError(t, c.AwaitDown(within(t)))
	require.ErrorIs(t, c.Signal(syscall.SIGTERM), os.ErrProcessDone)
	require.Equal(t, 1, c.Lives())
	c.Release()
	require.NoError(t, c.AwaitLife(within(t), 2))
}

func TestChild_End_AsksFirst(t *testing.T) {
	c, output := startChild(t, "polite")
	says(t, output, "up")
	require.NoError(t, c.end(within(t)))
	says(t, output, "down")
	require.Zero(t, c.Pid())
}

func TestChild_DoesNotStop_IsKilledInTime(t *testing.T) {
	c, output := startChild(t, "stubborn")
	says(t, output, "up")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, c.end(ctx), "was killed")
	require.Zero(t, c.Pid())
}

func TestChild_EndWhileDown_DoesNotStartAgain(t *testing.T) {
	c, _ := startChild(t, "polite")
	c.Hold()
	require.NoError(t, c.Signal(syscall.SIGKILL))
	require.NoError(t, c.AwaitDown(within(t)))
	require.NoError(t, c.end(within(t)))
	require.Equal(t, 1, c.Lives())
}
