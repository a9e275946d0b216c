package trail_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the documentation says to those who have no NthLayer is run as it stands there.
func TestDocs_ProofWithPlainTools_Works(t *testing.T) {
	for _, tool := range []string{"bash", "jq", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	doc, err := os.ReadFile("../../docs/trail.md")
	require.NoError(t, err)
	_, recipe, found := strings.Cut(string(doc), "```sh\nprev=")
	require.True(t, found)
	recipe, _, _ = strings.Cut("prev="+recipe, "```")

	entries, head := chain(t, 6)
	content := export(t, entries[2:], head)
	run := func(content string) string {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "march.jsonl"), []byte(content), 0o600))
		cmd := exec.CommandContext(t.Context(), "bash", "-c", recipe)
		cmd.Dir = dir
		out, _ := cmd.CombinedOutput() // it ends with 1 where the proof fails
		return string(out)
	}
	require.Equal(t, "true\n", run(string(content)))
	require.Contains(t, run(strings.Replace(string(content), "manager", "observer", 1)), "broken at entry 3")
	require.Equal(t, "false\n", run(strings.Replace(string(content), head.Hash+`"}}`, entries[0].Hash+`"}}`, 1)), "another end")
}
