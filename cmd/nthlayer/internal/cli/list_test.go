package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRunList_CutAtTheLimit_SaysThatThereIsMore(t *testing.T) {
	g := &gateway{runs: 60}
	_, out, errs := g.command(t, "run", "list")
	require.Equal(t, 50, strings.Count(out, job))
	require.Contains(t, errs, "the first 50; there are more")
	require.Contains(t, errs, "--limit 0")

	var page struct {
		Runs          []any  `json:"runs"`
		NextPageToken string `json:"next_page_token"`
	}
	_, out, errs = g.command(t, "run", "list", "-o", "json")
	require.NoError(t, json.Unmarshal([]byte(out), &page))
	require.Equal(t, "50", page.NextPageToken)
	require.NotEmpty(t, errs)

	for _, limit := range []string{"60", "0"} {
		_, out, errs = g.command(t, "run", "list", "-o", "json", "--limit", limit)
		require.NoError(t, json.Unmarshal([]byte(out), &page))
		require.Len(t, page.Runs, 60)
		require.Empty(t, page.NextPageToken, "these are all")
		require.Empty(t, errs)
	}
}

func TestLists_NegativeLimit_NamesTheFlag(t *testing.T) {
	for _, list := range []string{"run", "dlq", "delivery", "trail", "audit"} {
		code, _, errs := command(t, list, "list", "--limit", "-1")
		require.Equal(t, 1, code)
		require.Contains(t, errs, "--limit -1: must be")
	}
}

func TestLists_FilterMatchesNothing_IsNotTheTextForBeginners(t *testing.T) {
	g := &gateway{}
	for want, args := range map[string][]string{
		"No team matches.\n": {"team", "list", "--status", "unknown"},
		"No run matches.\n":  {"run", "list", "--team", "storage"},
	} {
		_, out, _ := g.command(t, args...)
		require.Equal(t, want, out)
		_, out, _ = g.command(t, args[:2]...)
		require.Contains(t, out, "reconcile", "the control: without a filter, how to begin is said")
	}
}
