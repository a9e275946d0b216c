package connection

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/system"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
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
	for want, err := range map[string]error{
		"NTHLAYER_TOKEN":    fault.New(fault.Unauthenticated, "no", nil),
		"--idempotency-key": fault.New(fault.Deadline, "no", nil),
		"Try again in 35s.": fault.New(fault.Unavailable, "Cortex is away", nil).WithRetryAfter(34200 * time.Millisecond),
		"nthlayer dev":      unreached("dial tcp: connection refused"),
	} {
		require.Contains(t, Explain(fmt.Errorf("plan: %w", err)), want)
	}
	said := "cortex is left alone for now; try again in 14s"
	require.Equal(t, said, Explain(fault.New(fault.Unavailable, said, nil).WithRetryAfter(14*time.Second)), "once is enough")
	require.Equal(t, "stopped", Explain(context.Canceled))
	require.Equal(t, "plain", Explain(errors.New("plain")))
}

func unreached(why string) error { return grpcfault.FromError(status.Error(codes.Unavailable, why)) }

func TestExplain_ReachedGateway_SaysNothingOfTheAddress(t *testing.T) {
	answered := grpcfault.FromError(grpcfault.ToStatus(fault.New(fault.Unavailable, "Cortex is away", nil)).Err())
	for _, err := range []error{answered, fault.New(fault.Unavailable, "the database is away", errors.New("dial tcp: refused"))} {
		require.NotContains(t, Explain(err), "--addr")
	}
	require.Contains(t, Explain(unreached("no")), "--addr", "the control")
}

// What stands at an address is told from the words of gRPC and crypto/tls, so the real ones are asked.
func TestExplain_SomethingElseAtTheAddress_SaysWhichFlagIsWrong(t *testing.T) {
	plain, overTLS, onlyHTTP := grpcServer(t), grpcServer(t, grpc.Creds(selfSigned(t))), httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(onlyHTTP.Close)
	for name, tc := range map[string]struct {
		at, want string
		args     []string
	}{
		"no TLS there":      {plain, "--plaintext", nil},
		"TLS there":         {overTLS, "leave out --plaintext", []string{"--plaintext"}},
		"other CA":          {overTLS, "--ca", nil},
		"REST, not gRPC":    {onlyHTTP.Listener.Addr().String(), "names its gRPC", []string{"--plaintext"}},
		"nobody is there":   {"127.0.0.1:1", "nthlayer dev", []string{"--plaintext"}},
		"the same with TLS": {"127.0.0.1:1", "nthlayer dev", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each is tried several times
			api, err := Open(settings(t, nil, append(tc.args, "--addr", tc.at)...))
			require.NoError(t, err)
			defer api.Close()
			_, err = api.Teams.GetTeam(t.Context(), &nthlayerv1.GetTeamRequest{TeamId: "x"})
			require.Contains(t, Explain(err), tc.want)
		})
	}
}

func grpcServer(t *testing.T, opts ...grpc.ServerOption) (addr string) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(opts...)
	go func() { _ = server.Serve(l) }() // it ends with Stop
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

func selfSigned(t *testing.T) credentials.TransportCredentials {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return credentials.NewServerTLSFromCert(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
}

func TestResolve_AddressThatIsNone_SaysWhatItMustBe(t *testing.T) {
	for _, addr := range []string{"http://foo", "https://nthlayer.example.org:443", "a:b:c", "foo:", "foo/bar:1", "::1"} {
		_, err := settings(t, nil, "--addr", addr).resolve()
		require.ErrorContains(t, err, "host:port", addr)
		_, err = settings(t, []string{"NTHLAYER_ADDR=" + addr}).resolve()
		require.ErrorContains(t, err, "host:port", addr)
	}
	for _, addr := range []string{"foo:1", "nthlayer.example.org", "[::1]:7700"} {
		_, err := settings(t, nil, "--addr", addr).resolve()
		require.NoError(t, err, addr)
	}
}

func TestExplain_InvalidRequest_NamesTheField(t *testing.T) {
	err := fault.New(fault.Invalid, "the request is not valid", nil)
	err.Violations = []fault.Violation{{Field: "team_id", Description: "is too \x1b[2Jlong"}}
	require.Equal(t, "the request is not valid (team_id: is too [2Jlong)", Explain(err))
}

// numbers is a list of n items.
func numbers(n int, asked *[]int32) func(int32, string) (*nthlayerv1.ListTeamsResponse, error) {
	return func(size int32, token string) (*nthlayerv1.ListTeamsResponse, error) {
		*asked = append(*asked, size)
		from, _ := strconv.Atoi(token)
		page := &nthlayerv1.ListTeamsResponse{}
		for i := from; i < min(from+int(size), n); i++ {
			page.Teams = append(page.Teams, &nthlayerv1.Team{TeamId: strconv.Itoa(i)})
		}
		if to := from + int(size); to < n {
			page.NextPageToken = strconv.Itoa(to)
		}
		return page, nil
	}
}

func TestList_StopsAtTheLimit_AndGivesTheTokenOfWhatIsLeft(t *testing.T) {
	for _, tc := range []struct {
		limit, of, found int
		next             string
		asked            []int32
	}{
		{0, 0, 0, "", []int32{1000}},
		{0, 2100, 2100, "", []int32{1000, 1000, 1000}},
		{50, 7, 7, "", []int32{50}},
		{50, 50, 50, "", []int32{50}},
		{50, 51, 50, "50", []int32{50}},
		{1200, 2100, 1200, "1200", []int32{1000, 200}},
	} {
		var asked []int32
		found, next, err := List(tc.limit, numbers(tc.of, &asked), (*nthlayerv1.ListTeamsResponse).GetTeams)
		require.NoError(t, err)
		require.Len(t, found, tc.found)
		require.Equal(t, tc.next, next)
		require.Equal(t, tc.asked, asked)
	}
	_, _, err := List(0, func(int32, string) (*nthlayerv1.ListTeamsResponse, error) { return nil, errors.New("the list broke") },
		(*nthlayerv1.ListTeamsResponse).GetTeams)
	require.ErrorContains(t, err, "the list broke")
}
