package mail_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/mail"
	sim "github.com/nthlayer/nthlayer/pkg/simulator/mail"
)

type smtpServer struct {
	*sim.Server
	addr string
}

// startSMTP runs a server; around, if any, protects its listener from the first byte.
func startSMTP(t *testing.T, opts sim.Options, around *tls.Config) smtpServer {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := smtpServer{Server: sim.New(opts), addr: l.Addr().String()}
	if around != nil {
		l = tls.NewListener(l, around)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.NoError(t, <-ended)
	})
	return s
}

// certificate is one for 127.0.0.1, and who trusts it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	web := httptest.NewTLSServer(nil)
	t.Cleanup(web.Close)
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	return &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}, pool
}

const user, password = "nthlayer", "s3cr3t"

func TestSMTP_Protected_LogsInAsTheServerOffers(t *testing.T) {
	protect, trust := certificate(t)
	for _, security := range []string{mail.StartTLS, mail.TLS} {
		for _, mechanism := range []string{"PLAIN", "LOGIN"} {
			t.Run(security+" "+mechanism, func(t *testing.T) {
				opts := sim.Options{TLS: protect, Users: map[string]string{user: password}, Mechanisms: []string{mechanism}}
				var around *tls.Config
				if security == mail.TLS {
					around, opts.TLS = protect, nil
				}
				server := startSMTP(t, opts, around)
				s, err := mail.NewSMTP(mail.SMTPConfig{Addr: server.addr, From: from(t), Security: security, User: user, Password: config.NewSecret(password), RootCAs: trust})
				require.NoError(t, err)
				_, err = s.Send(t.Context(), message())
				require.NoError(t, err)
				got := server.Messages()[0]
				require.True(t, got.TLS)
				require.Equal(t, user, got.User)
				require.Equal(t, "größer\n.\nthan a dot", got.Text)
				require.Equal(t, "<p>größer</p>", got.HTML)
			})
		}
	}
}

func TestSMTP_WhatOnlyAPersonMends_IsRefusedWithAdvice(t *testing.T) {
	protect, trust := certificate(t)
	for name, c := range map[string]struct {
		opts     sim.Options
		cfg      mail.SMTPConfig
		contains string
	}{
		"wrong password":   {sim.Options{TLS: protect, Users: map[string]string{user: "other"}}, mail.SMTPConfig{Security: mail.StartTLS, RootCAs: trust, User: user}, "check NTHLAYER_SMTP_USER"},
		"no STARTTLS":      {sim.Options{}, mail.SMTPConfig{Security: mail.StartTLS, RootCAs: trust}, "offers no STARTTLS"},
		"not trusted":      {sim.Options{TLS: protect}, mail.SMTPConfig{Security: mail.StartTLS}, "certificate cannot be trusted"},
		"login in clear":   {sim.Options{Users: map[string]string{user: password}}, mail.SMTPConfig{Security: mail.Plain, User: user}, "over TLS alone"},
		"no common login":  {sim.Options{TLS: protect, Users: map[string]string{user: password}, Mechanisms: []string{"XOAUTH2"}}, mail.SMTPConfig{Security: mail.StartTLS, RootCAs: trust, User: user}, "no login by PLAIN or LOGIN"},
		"login is missing": {sim.Options{TLS: protect, Users: map[string]string{user: password}}, mail.SMTPConfig{Security: mail.StartTLS, RootCAs: trust}, "Authentication required"},
	} {
		t.Run(name, func(t *testing.T) {
			server := startSMTP(t, c.opts, nil)
			c.cfg.Addr, c.cfg.From, c.cfg.Password = server.addr, from(t), config.NewSecret(password)
			s, err := mail.NewSMTP(c.cfg)
			require.NoError(t, err)
			_, err = s.Send(t.Context(), message())
			f, ok := fault.As(err)
			require.True(t, ok, "%v", err)
			require.Equal(t, fault.Precondition, f.Kind, f.Error())
			require.Contains(t, f.Text, c.contains)
			require.NotContains(t, err.Error(), password)
			require.Empty(t, server.Messages())
		})
	}
}

// Each answer of the server, wherever it comes, says whether waiting helps.
func TestSMTP_Answers_AreSortedByTheirFirstDigit(t *testing.T) {
	server := startSMTP(t, sim.Options{}, nil)
	s, err := mail.NewSMTP(mail.SMTPConfig{Addr: server.addr, From: from(t), Security: mail.Plain})
	require.NoError(t, err)
	for _, at := range []string{"mail", "rcpt", "data"} {
		for code, kind := range map[int]fault.Kind{421: fault.Unavailable, 452: fault.Unavailable, 550: fault.Precondition, 554: fault.Precondition} {
			require.NoError(t, server.Inject(sim.Fault{At: at, Code: code, Text: "said\tso", Times: 1}))
			_, err := s.Send(t.Context(), message())
			f, ok := fault.As(err)
			require.True(t, ok)
			require.Equal(t, kind, f.Kind, "%d at %s", code, at)
			require.Contains(t, f.Text, "said so")
		}
	}
	require.Empty(t, server.Messages())
}

// TestSMTP_SilentServer_HoldsNobodyWhoGaveUp: the server never greets.
func TestSMTP_SilentServer_HoldsNobodyWhoGaveUp(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		conn, err := l.Accept()
		if err == nil {
			defer conn.Close()
			stop()
			_, _ = conn.Read(make([]byte, 1)) // until the client hangs up
		}
	}()
	s, err := mail.NewSMTP(mail.SMTPConfig{Addr: l.Addr().String(), From: from(t), Security: mail.Plain})
	require.NoError(t, err)
	begun := time.Now()
	_, err = s.Send(ctx, message())
	require.Equal(t, fault.Canceled, fault.KindOf(err))
	require.Less(t, time.Since(begun), 20*time.Second)
}

func TestParseAddress_WhatIsNone_IsRefused(t *testing.T) {
	for _, text := range []string{"", "nthlayer", "a@b@c", "a@example.org\r\nBcc: b@example.org", "a@example.org, b@example.org"} {
		_, err := mail.ParseAddress(text)
		require.Equal(t, fault.Invalid, fault.KindOf(err), text)
	}
	_, err := mail.ParseAddress("nthlayer@example.org")
	require.NoError(t, err)
}
