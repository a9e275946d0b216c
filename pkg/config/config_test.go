package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

const hidden = "s3cr3t-value"

type example struct {
	config.Process
	Database config.Database
	Cortex   config.Cortex
	SQS      config.SQS
	Patience time.Duration     `env:"NTHLAYER_PATIENCE" envDefault:"30s" doc:"how long to wait"`
	Roles    map[string]string `env:"NTHLAYER_ROLES" doc:"roles"`
	Names    []string          `env:"NTHLAYER_NAMES" doc:"names"`
}

func needed(more ...string) []string {
	return append([]string{"NTHLAYER_DATABASE_URL=postgres://u:" + hidden + "@h/db", "NTHLAYER_CORTEX_TOKEN=" + hidden}, more...)
}

func TestLoad_WhatIsNeeded_GivesDefaults(t *testing.T) {
	cfg, err := config.Load[example](needed("NTHLAYER_ROLES=a:b,c:d", "NTHLAYER_NAMES=x,y"))
	require.NoError(t, err)
	require.Equal(t, slog.LevelInfo, cfg.Log.Level)
	require.Equal(t, ":9090", cfg.Base().Admin.Addr)
	require.Equal(t, 30*time.Second, cfg.Patience)
	require.Equal(t, map[string]string{"a": "b", "c": "d"}, cfg.Roles)
	require.Equal(t, hidden, cfg.Cortex.Token.Reveal())
	require.Equal(t, "audit.fifo", cfg.SQS.AuditQueue)
}

func TestLoad_EmptyVariables_CountAsNotSet(t *testing.T) {
	cfg, err := config.Load[example](needed("NTHLAYER_PATIENCE=", "NTHLAYER_LOG_LEVEL="))
	require.NoError(t, err)
	require.Equal(t, 30*time.Second, cfg.Patience)

	_, err = config.Load[example]([]string{"NTHLAYER_DATABASE_URL=", "NTHLAYER_CORTEX_TOKEN=t"})
	require.ErrorContains(t, err, "NTHLAYER_DATABASE_URL is not set")
}

func TestLoad_ManyProblems_AreReportedTogetherWithTheWayOut(t *testing.T) {
	_, err := config.Load[example]([]string{
		"NTHLAYER_LOG_LEVEL=loud", "NTHLAYER_PATIENCE=soon", "NTHLAYER_CORTEX_URL=cortex", "NTHLAYER_DATABASE_MAX_CONNS=0",
		"NTHLAYER_RECONCILE_QUEUE=reconcile", "NTHLAYER_AUDIT_QUEUE=audit", "NTHLAYER_ADMIN_ADDR=9090", "NTHLAYER_CORTEX_TOKNE=" + hidden,
	})
	require.True(t, fault.Is(err, fault.Invalid))
	for _, want := range []string{
		"NTHLAYER_LOG_LEVEL cannot be read: use debug, info, warn or error",
		"NTHLAYER_PATIENCE cannot be read: use a duration such as 30s",
		"NTHLAYER_CORTEX_URL must be an absolute URL",
		"NTHLAYER_DATABASE_MAX_CONNS must be between 2 and 1000",
		"NTHLAYER_RECONCILE_QUEUE must name a FIFO queue",
		"NTHLAYER_AUDIT_QUEUE must name a FIFO queue",
		"NTHLAYER_ADMIN_ADDR must be host:port",
		"NTHLAYER_DATABASE_URL is not set: the PostgreSQL database",
		"NTHLAYER_CORTEX_TOKEN is not set; set it to the token, or NTHLAYER_CORTEX_TOKEN_FILE to a file that holds it",
		"NTHLAYER_CORTEX_TOKNE is not a variable of this service; did you mean NTHLAYER_CORTEX_TOKEN?",
	} {
		require.Equal(t, 1, strings.Count(err.Error(), want), "%s\nin\n%s", want, err)
	}
	require.NotContains(t, err.Error(), hidden)
}

func TestTypos_OtherServicesVariables_AreNone(t *testing.T) {
	require.Empty(t, config.Typos[example](needed("NTHLAYER_REST_ADDR=:1", "NTHLAYER_SLACK_TOKEN=x", "NTHLAYERED=1")))
	require.Len(t, config.Typos[example](needed("NTHLAYER_PATIENSE=1s")), 1)
}

func TestWrite_PrintsEffectiveValuesWithoutSecrets(t *testing.T) {
	cfg, err := config.Load[example](needed("NTHLAYER_ROLES=c:d,a:b", "NTHLAYER_NAMES=x,y"))
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, config.Write(&out, cfg))
	require.NotContains(t, out.String(), hidden)
	for _, want := range []string{
		"NTHLAYER_CORTEX_TOKEN=[redacted]\n", "NTHLAYER_LOG_LEVEL=INFO\n", "NTHLAYER_PATIENCE=30s\n",
		"NTHLAYER_ROLES=a:b,c:d\n", "NTHLAYER_NAMES=x,y\n", "OTEL_EXPORTER_OTLP_ENDPOINT=\n",
	} {
		require.Contains(t, out.String(), want)
	}
}

func TestDescribe_EveryVariableHasAMeaning(t *testing.T) {
	variables := config.Describe[struct {
		config.Process
		Database config.Database
		Redis    config.Redis
		SQS      config.SQS
		Cortex   config.Cortex
		Pager    config.PagerDuty
		Slack    config.Slack
		Channel  config.SlackChannel
		TLS      config.InternalTLS
		Internal config.Internal
		Peers    config.Peers
		JWT      config.JWT
	}]()
	require.NotEmpty(t, variables)
	for _, v := range variables {
		require.NotEmpty(t, v.Doc, v.Name)
		require.False(t, v.Required && v.Default != "", v.Name)
	}
}

func TestSecret_IsNeverPrinted(t *testing.T) {
	type inner struct{ Token config.Secret }
	type outer struct {
		Inner   inner
		Pointer *config.Secret
		Map     map[string]config.Secret
		List    []config.Secret
		own     config.Secret
	}
	s := config.NewSecret(hidden)
	for _, v := range []any{s, &s, inner{s}, outer{inner{s}, &s, map[string]config.Secret{"k": s}, []config.Secret{s}, s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			require.NotContains(t, fmt.Sprintf(verb, v), hidden, verb)
			require.NotContains(t, fmt.Sprintf(verb, v), fmt.Sprintf("%x", hidden), verb)
		}
		content, err := json.Marshal(v)
		require.NoError(t, err)
		require.NotContains(t, string(content), hidden)
		for _, handler := range []func(*bytes.Buffer) slog.Handler{
			func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
			func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		} {
			var out bytes.Buffer
			slog.New(handler(&out)).Info("m", "v", v, slog.Group("g", "v", v))
			require.NotContains(t, out.String(), hidden)
		}
	}
}
