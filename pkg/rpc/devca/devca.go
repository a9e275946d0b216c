// Package devca makes a certificate authority and role certificates for development and tests. In the cloud
// certificates come from the platform's own CA; the key of this one lies beside them.
package devca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/nthlayer/nthlayer/pkg/rpc/mtls"
)

const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	roleLifetime = 90 * 24 * time.Hour
)

// FilesOf names the files of a role in a directory that Ensure filled.
func FilesOf(dir, role string) mtls.Files {
	return mtls.Files{
		CA:   filepath.Join(dir, "ca.pem"),
		Cert: filepath.Join(dir, role+".pem"),
		Key:  filepath.Join(dir, role+"-key.pem"),
	}
}

// Ensure makes the CA in dir where there is none and gives each role a fresh certificate, good for 90 days.
func Ensure(dir string, now time.Time, roles ...string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("devca: %w", err)
	}
	ca, key, err := load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		ca, key, err = create(dir, now)
	}
	if err != nil {
		return fmt.Errorf("devca: %w", err)
	}
	for _, role := range roles {
		if err := issue(dir, now, ca, key, role); err != nil {
			return fmt.Errorf("devca: certificate of %s: %w", role, err)
		}
	}
	return nil
}

func load(dir string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certDER, err := read(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := read(filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(keyDER)
	return cert, key, err
}

func create(dir string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "NthLayer development CA"},
		NotBefore:             now.Add(-time.Minute),
		NotAfter:              now.Add(caLifetime),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := sign(template, template, key, key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if err := writeKey(filepath.Join(dir, "ca-key.pem"), key); err != nil {
		return nil, nil, err
	}
	return cert, key, write(filepath.Join(dir, "ca.pem"), "CERTIFICATE", der)
}

func issue(dir string, now time.Time, ca *x509.Certificate, caKey *ecdsa.PrivateKey, role string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: role},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "nthlayer", Path: "/" + role}},
		NotBefore:   now.Add(-time.Minute),
		NotAfter:    now.Add(roleLifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca, key, caKey)
	if err != nil {
		return err
	}
	files := FilesOf(dir, role)
	if err := writeKey(files.Key, key); err != nil {
		return err
	}
	return write(files.Cert, "CERTIFICATE", der)
}

func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	return x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return write(path, "EC PRIVATE KEY", der)
}

// write replaces the file in one step, for services that are reading it.
func write(path, kind string, der []byte) error {
	next := path + ".next"
	if err := os.WriteFile(next, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

func read(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM", path)
	}
	return block.Bytes, nil
}
