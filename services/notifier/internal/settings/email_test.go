package settings_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/mail"
	"github.com/nthlayer/nthlayer/services/notifier/internal/settings"
)

func load(environ ...string) (settings.Email, error) {
	type only struct{ Email settings.Email }
	cfg, err := config.Load[only](environ)
	return cfg.Email, err
}

func TestEmail_NothingSet_IsUsableAndSendsNothing(t *testing.T) {
	e, err := load()
	require.NoError(t, err)
	require.False(t, e.Configured())
}

func TestEmail_Security_IsTLSUnlessTheServerIsOnThisMachine(t *testing.T) {
	const from = "NTHLAYER_EMAIL_FROM=NthLayer <nthlayer@example.org>"
	for _, c := range []struct {
		want    string
		environ []string
	}{
		{mail.StartTLS, []string{"NTHLAYER_SMTP_ADDR=mail.example.org:587"}},
		{mail.TLS, []string{"NTHLAYER_SMTP_ADDR=mail.example.org:465", "NTHLAYER_SMTP_TLS=tls"}},
		{mail.Plain, []string{"NTHLAYER_SMTP_ADDR=127.0.0.1:25"}},
		{mail.Plain, []string{"NTHLAYER_SMTP_ADDR=[::1]:25"}},
		{mail.Plain, []string{"NTHLAYER_SMTP_ADDR=localhost:25", "NTHLAYER_SMTP_TLS=none"}},
		{mail.StartTLS, []string{"NTHLAYER_SMTP_ADDR=localhost:25", "NTHLAYER_SMTP_USER=u", "NTHLAYER_SMTP_PASSWORD=p"}},
	} {
		e, err := load(append(c.environ, from)...)
		require.NoError(t, err, c.environ)
		require.Equal(t, c.want, e.Security(), c.environ)
		require.True(t, e.Configured())
	}
}

func TestEmail_WhatCannotWork_IsRefusedByName(t *testing.T) {
	for want, environ := range map[string][]string{
		"NTHLAYER_EMAIL_FROM is not set":                        {"NTHLAYER_SMTP_ADDR=mail.example.org:587"},
		"NTHLAYER_EMAIL_FROM must be an e-mail address":         {"NTHLAYER_EMAIL_FROM=nobody"},
		"NTHLAYER_SMTP_ADDR must be host:port":                  {"NTHLAYER_SMTP_ADDR=mail.example.org", "NTHLAYER_EMAIL_FROM=a@example.org"},
		"NTHLAYER_SMTP_ADDR must name a host":                   {"NTHLAYER_SMTP_ADDR=:25", "NTHLAYER_EMAIL_FROM=a@example.org"},
		"NTHLAYER_SMTP_TLS must be starttls, tls or none":       {"NTHLAYER_SMTP_TLS=yes"},
		"NTHLAYER_SMTP_TLS must be starttls or tls: without":    {"NTHLAYER_SMTP_ADDR=mail.example.org:25", "NTHLAYER_SMTP_TLS=none", "NTHLAYER_EMAIL_FROM=a@example.org"},
		"NTHLAYER_SMTP_TLS must be starttls or tls where":       {"NTHLAYER_SMTP_ADDR=127.0.0.1:25", "NTHLAYER_SMTP_TLS=none", "NTHLAYER_SMTP_USER=u", "NTHLAYER_SMTP_PASSWORD=p", "NTHLAYER_EMAIL_FROM=a@example.org"},
		"NTHLAYER_SMTP_PASSWORD and NTHLAYER_SMTP_USER go":      {"NTHLAYER_SMTP_USER=u"},
		"NTHLAYER_SES_REGION and NTHLAYER_SMTP_ADDR are both":   {"NTHLAYER_SES_REGION=eu-west-1", "NTHLAYER_SMTP_ADDR=mail.example.org:587", "NTHLAYER_EMAIL_FROM=a@example.org"},
		"NTHLAYER_SES_ENDPOINT goes with NTHLAYER_SES_REGION":   {"NTHLAYER_SES_ENDPOINT=http://127.0.0.1:1"},
		"NTHLAYER_SES_ENDPOINT must be an absolute URL such as": {"NTHLAYER_SES_ENDPOINT=ses", "NTHLAYER_SES_REGION=eu-west-1", "NTHLAYER_EMAIL_FROM=a@example.org"},
	} {
		_, err := load(environ...)
		require.ErrorContains(t, err, want)
	}
}
