package mtls_test

import (
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/devca"
	"github.com/nthlayer/nthlayer/pkg/rpc/mtls"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func identity(t *testing.T, dir, role string) *mtls.Identity {
	i, err := mtls.Load(devca.FilesOf(dir, role), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return i
}

func directory(t *testing.T, at time.Time, roles ...string) string {
	dir := t.TempDir()
	require.NoError(t, devca.Ensure(dir, at, roles...))
	return dir
}

// shake makes a connection and gives what each side says of it.
func shake(t *testing.T, server, client *tls.Config) (role string, serverErr, clientErr error) {
	near, far := net.Pipe()
	deadline := time.Now().Add(10 * time.Second)
	require.NoError(t, near.SetDeadline(deadline))
	require.NoError(t, far.SetDeadline(deadline))
	done := make(chan error, 1)
	conn := tls.Server(near, server)
	go func() {
		err := conn.HandshakeContext(t.Context())
		if err == nil {
			_, err = conn.Write([]byte("x")) // in TLS 1.3 a client hears of its refusal only when it reads
		}
		_ = conn.Close()
		done <- err
	}()
	peer := tls.Client(far, client)
	clientErr = peer.HandshakeContext(t.Context())
	if clientErr == nil {
		_, clientErr = peer.Read(make([]byte, 1))
	}
	_ = far.Close()
	serverErr = <-done
	if serverErr == nil {
		role, serverErr = mtls.Role(conn.ConnectionState())
	}
	return role, serverErr, clientErr
}

func TestMTLS_SameCA_ServerLearnsTheRole(t *testing.T) {
	dir := directory(t, time.Now(), "gateway", "reconcile-worker")
	role, serverErr, clientErr := shake(t, identity(t, dir, "reconcile-worker").Server(), identity(t, dir, "gateway").Client("reconcile-worker"))
	require.NoError(t, serverErr)
	require.NoError(t, clientErr)
	require.Equal(t, "gateway", role)
}

func TestMTLS_WrongPeers_AreRefused(t *testing.T) {
	dir := directory(t, time.Now(), "gateway", "reconcile-worker", "notifier")
	other := directory(t, time.Now(), "gateway", "reconcile-worker")
	old := directory(t, time.Now().Add(-91*24*time.Hour), "gateway", "reconcile-worker")
	worker, gateway := identity(t, dir, "reconcile-worker"), identity(t, dir, "gateway")

	t.Run("server has another role", func(t *testing.T) {
		_, _, err := shake(t, identity(t, dir, "notifier").Server(), gateway.Client("reconcile-worker"))
		require.ErrorContains(t, err, `the server is "notifier", not "reconcile-worker"`)
	})
	t.Run("server of another CA", func(t *testing.T) {
		_, _, err := shake(t, identity(t, other, "reconcile-worker").Server(), gateway.Client("reconcile-worker"))
		require.ErrorContains(t, err, "unknown authority")
	})
	t.Run("client of another CA", func(t *testing.T) {
		_, err, _ := shake(t, worker.Server(), &tls.Config{InsecureSkipVerify: true, GetClientCertificate: identity(t, other, "gateway").Client("x").GetClientCertificate})
		require.ErrorContains(t, err, "unknown authority")
	})
	t.Run("client without a certificate", func(t *testing.T) {
		_, err, _ := shake(t, worker.Server(), &tls.Config{InsecureSkipVerify: true})
		require.Error(t, err)
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		old := gateway.Client("reconcile-worker")
		old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		_, err, _ := shake(t, worker.Server(), old)
		require.Error(t, err)
	})
	t.Run("expired", func(t *testing.T) {
		_, _, err := shake(t, identity(t, old, "reconcile-worker").Server(), identity(t, old, "gateway").Client("reconcile-worker"))
		require.ErrorContains(t, err, "expired")
	})
}

func TestMTLS_FilesChange_NewCertificateIsUsedWithoutRestart(t *testing.T) {
	dir := directory(t, time.Now(), "gateway", "reconcile-worker")
	server, client := identity(t, dir, "reconcile-worker").Server(), identity(t, dir, "gateway").Client("reconcile-worker")
	serial := func() string {
		cert, err := server.GetCertificate(nil)
		require.NoError(t, err)
		return cert.Leaf.SerialNumber.String()
	}
	before := serial()

	// A whole new CA: both sides change what they show and what they trust.
	require.NoError(t, os.Remove(devca.FilesOf(dir, "gateway").CA))
	require.NoError(t, devca.Ensure(dir, time.Now(), "gateway", "reconcile-worker"))
	require.NotEqual(t, before, serial())
	_, serverErr, clientErr := shake(t, server, client)
	require.NoError(t, serverErr)
	require.NoError(t, clientErr)

	after := serial()
	require.NoError(t, os.WriteFile(devca.FilesOf(dir, "reconcile-worker").Cert, []byte("half a cert"), 0o600))
	require.Equal(t, after, serial(), "files that cannot be used change nothing")
}

func TestLoad_FilesAreNotThere_SaysWhatToDo(t *testing.T) {
	_, err := mtls.Load(devca.FilesOf(t.TempDir(), "gateway"), slog.New(slog.DiscardHandler))
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.ErrorContains(t, err, "NTHLAYER_TLS_CA")
}
