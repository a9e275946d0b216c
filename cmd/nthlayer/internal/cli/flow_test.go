package cli_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFlowGraph_IsEmbeddedBetweenItsMarkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "architecture.md")
	document := "before\n<!-- begin: flow team.reconcile -->\nold\n<!-- end: flow team.reconcile -->\nafter\n"
	require.NoError(t, os.WriteFile(path, []byte(document), 0o600))
	for range 2 { // a second time changes nothing
		code, _, errs := command(t, "flow", "graph", "--embed", path)
		require.Zero(t, code, errs)
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Regexp(t, "(?s)^before\n<!-- begin: flow team.reconcile -->\n```mermaid\nflowchart .*fetch_source.*```\n<!-- end: flow team.reconcile -->\nafter\n$", string(got))
	require.NotContains(t, string(got), "old")
}

// The command's own example, on the page it names.
func TestFlowGraph_Architecture_IsAsTheFlowIsCompiled(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/architecture.md")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "architecture.md")
	require.NoError(t, os.WriteFile(path, page, 0o600))
	for _, flow := range []string{"team.reconcile", "team.audit"} {
		code, _, errs := command(t, "flow", "graph", flow, "--embed", path)
		require.Zero(t, code, errs)
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(page), string(got), "make generate")
}
