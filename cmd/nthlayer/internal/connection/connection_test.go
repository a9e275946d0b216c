package connection

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/system"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// settings are those of a command line and an environment, in an empty directory.
func settings(t *testing.T, environ []string, args ...string) Settings {
	t.Helper()
	var s Settings
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s.Bind(flags, environ)
	require.NoError(t, flags.Parse(args))
	return s
}

func TestResolve_NothingGiven_SaysWhatToDo(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := settings(t, nil).resolve()
	require.ErrorContains(t, err, "NTHLAYER_ADDR")
	require.ErrorContains(t, err, "nthlayer dev")
}

func TestResolve_DevSystemRunsHere_UsesIt(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.MkdirAll(DevDir, 0o755))
	content, err := json.Marshal(system.Info{GRPC: "127.0.0.1:7701", Token: "dev-token"})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(system.InfoFile(DevDir), content, 0o600))

	s, err := settings(t, nil).resolve()
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:7701", s.Addr)
	require.Equal(t, "dev-token", s.Token)
	require.True(t, s.Plaintext)

	s, err = settings(t, []string{"NTHLAYER_ADDR=nthlayer.internal:443", "NTHLAYER_TOKEN=mine"}).resolve()
	require.NoError(t, err)
	require.Equal(t, "nthlayer.internal:443", s.Addr, "what is set comes before what is found")
	require.Equal(t, "mine", s.Token)
	require.False(t, s.Plaintext, "a system elsewhere is reached over TLS")
}

func TestResolve_FlagAndEnvironment_FlagWins(t *testing.T) {
	s, err := settings(t, []string{"NTHLAYER_ADDR=a:1", "NTHLAYER_CA=ca.pem"}, "--addr", "b:2").resolve()
	require.NoError(t, err)
	require.Equal(t, "b:2", s.Addr)
	require.Equal(t, "ca.pem", s.CAFile)
}

func TestOpen_CAFileWithoutCertificate_SaysSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, []byte("nothing"), 0o600))
	_, err := Open(settings(t, nil, "--addr", "a:1", "--ca", path))
	require.ErrorContains(t, err, "holds no certificate")
}

func TestExplain_SaysWhatToDoNext(t *testing.T) {
	for kind, want := range map[fault.Kind]string{
		fault.Unauthenticated: "NTHLAYER_TOKEN",
		fault.Unavailable:     "nthlayer dev",
		fault.Deadline:        "--idempotency-key",
	} {
		require.Contains(t, Explain(fault.New(kind, "no", nil)), want)
	}
	require.Equal(t, "stopped", Explain(context.Canceled))
	require.Equal(t, "plain", Explain(errors.New("plain")))
}

func TestExplain_InvalidRequest_NamesTheField(t *testing.T) {
	err := fault.New(fault.Invalid, "the request is not valid", nil)
	err.Violations = []fault.Violation{{Field: "team_id", Description: "is too \x1b[2Jlong"}}
	require.Equal(t, "the request is not valid (team_id: is too [2Jlong)", Explain(err))
}

func TestFirst_StopsReadingWhenItHasEnough(t *testing.T) {
	read := 0
	list := func(yield func(int, error) bool) {
		for read = 1; read <= 3; read++ {
			if !yield(read, nil) {
				return
			}
		}
		yield(0, errors.New("the list broke"))
	}
	got, err := First(2, list)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2}, got)
	require.Equal(t, 2, read)
	_, err = First(0, list)
	require.ErrorContains(t, err, "the list broke")
}
