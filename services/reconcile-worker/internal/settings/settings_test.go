package settings_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/settings"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAudit_Bounds(t *testing.T) {
	good := settings.Audit{Concurrency: 4, Patience: 5 * time.Minute, Settle: 2 * time.Minute, Shrink: 0.2}
	require.NoError(t, good.Validate())
	require.NoError(t, settings.Audit{Concurrency: 1, Patience: time.Second}.Validate(), "nothing settles, nothing may be lost")
	for variable, tunes := range map[string][]func(*settings.Audit){
		"NTHLAYER_AUDIT_CONCURRENCY": {func(a *settings.Audit) { a.Concurrency = 0 }, func(a *settings.Audit) { a.Concurrency = 65 }},
		"NTHLAYER_AUDIT_PATIENCE":    {func(a *settings.Audit) { a.Patience = 0 }, func(a *settings.Audit) { a.Patience = 25 * time.Hour }},
		"NTHLAYER_AUDIT_SETTLE":      {func(a *settings.Audit) { a.Settle = -1 }, func(a *settings.Audit) { a.Settle = 2 * time.Hour }},
		"NTHLAYER_AUDIT_SHRINK":      {func(a *settings.Audit) { a.Shrink = -0.1 }, func(a *settings.Audit) { a.Shrink = 1.1 }},
	} {
		for _, tune := range tunes {
			audit := good
			tune(&audit)
			require.ErrorContains(t, audit.Validate(), variable)
		}
	}
}
