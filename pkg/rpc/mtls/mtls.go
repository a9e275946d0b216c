// Package mtls is the TLS between NthLayer's services. Each service has a certificate that names its role,
//
//	spiffe://nthlayer/<role>
//
// and both sides check the other's: a client that the server is the role it meant to reach, a server that the caller has
// a role at all (which roles it serves is for its authn link to say). Host names play no part, so certificates do not
// change when tasks move.
//
// Files are read again when they change: certificates and the CA are rotated without a restart. TLS 1.3 only.
package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const rolePrefix = "spiffe://nthlayer/"

// Files are paths of PEM files: the CA's certificates, this service's certificate and its key.
type Files struct{ CA, Cert, Key string }

// Identity is a service's certificate and whom it trusts, as the files have them now.
type Identity struct {
	files Files
	log   *slog.Logger
	now   func() time.Time

	mu     sync.Mutex
	stamps [3]stamp
	cert   *tls.Certificate
	roots  *x509.CertPool
}

// stamp tells whether a file is the one that was read.
type stamp struct {
	modified time.Time
	size     int64
}

// Load reads the files. It fails where they do not make a usable identity.
func Load(files Files, log *slog.Logger) (*Identity, error) {
	i := &Identity{files: files, log: log, now: time.Now}
	if _, _, err := i.current(); err != nil {
		return nil, err
	}
	return i, nil
}

// Server is the configuration of a server that any role of the same CA may connect to.
func (i *Identity) Server() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{"h2"},
		ClientAuth:             tls.RequireAnyClientCert, // verified below, against the CA as it is now
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, _, err := i.current()
			return cert, err
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := i.verify(state, x509.ExtKeyUsageClientAuth)
			return err
		},
	}
}

// Client is the configuration of a client that talks to a server with this role and to no other.
func (i *Identity) Client(role string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		// The standard verification asks for a host name. VerifyConnection does the whole work instead: chain, time,
		// usage and role.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies, see above
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, _, err := i.current()
			return cert, err
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			got, err := i.verify(state, x509.ExtKeyUsageServerAuth)
			if err != nil {
				return err
			}
			if got != role {
				return fmt.Errorf("the server is %q, not %q", got, role)
			}
			return nil
		},
	}
}

func (i *Identity) verify(state tls.ConnectionState, usage x509.ExtKeyUsage) (string, error) {
	_, roots, err := i.current()
	if err != nil {
		return "", err
	}
	if len(state.PeerCertificates) == 0 {
		return "", fmt.Errorf("the peer shows no certificate")
	}
	between := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	_, err = state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: i.now(), KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return "", err
	}
	return Role(state)
}

// Role is the role in the peer's certificate. The certificate must have been verified by a Config of this package.
func Role(state tls.ConnectionState) (string, error) {
	if len(state.PeerCertificates) == 0 {
		return "", fault.New(fault.Unauthenticated, "the caller shows no certificate", nil)
	}
	uris := state.PeerCertificates[0].URIs
	if len(uris) != 1 { // SPIFFE: exactly one
		return "", fault.New(fault.Unauthenticated, "the certificate must name exactly one role", nil)
	}
	role, ok := strings.CutPrefix(uris[0].String(), rolePrefix)
	if !ok || role == "" || strings.ContainsAny(role, "/?#") {
		return "", fault.New(fault.Unauthenticated, "the certificate names no role ("+rolePrefix+"<role>)", nil)
	}
	return role, nil
}

// current reads the files again where they changed. Files that cannot be used (half written, a key that does not fit its
// certificate yet) leave the identity as it was.
func (i *Identity) current() (*tls.Certificate, *x509.CertPool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	stamps, err := i.files.stamps()
	if err == nil && stamps == i.stamps {
		return i.cert, i.roots, nil
	}
	var cert *tls.Certificate
	var roots *x509.CertPool
	if err == nil {
		cert, roots, err = i.files.read()
	}
	switch {
	case err == nil:
		i.cert, i.roots, i.stamps = cert, roots, stamps
	case i.cert == nil:
		return nil, nil, err
	default:
		i.log.Warn("the TLS files changed but cannot be used; the identity stays as it was", "error", err)
	}
	return i.cert, i.roots, nil
}

func (f Files) stamps() (stamps [3]stamp, err error) {
	for n, path := range []string{f.CA, f.Cert, f.Key} {
		info, err := os.Stat(path)
		if err != nil {
			return stamps, fault.New(fault.Invalid, "the TLS file cannot be read: check NTHLAYER_TLS_CA, _CERT and _KEY", err)
		}
		stamps[n] = stamp{info.ModTime(), info.Size()}
	}
	return stamps, nil
}

func (f Files) read() (*tls.Certificate, *x509.CertPool, error) {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, nil, fault.New(fault.Invalid, "the TLS certificate and key cannot be used", err)
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, nil, fault.New(fault.Invalid, "the TLS CA file cannot be read", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, nil, fault.New(fault.Invalid, "the TLS CA file "+f.CA+" holds no certificate", nil)
	}
	return &cert, roots, nil
}
