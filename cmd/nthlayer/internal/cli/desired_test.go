package cli_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTeamPlan_DesiredFileThatIsNone_NamesTheFieldAndTheWayOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "team.yaml")
	for content, want := range map[string]string{
		"people: []\n": `people: there is no field "people"; there are name, description, members`,
		"members:\n  - {email: ada@example.org}\n  - {email: ben@example.org, role: 5}\n": "members[1].role: must be a string, in quotes",
		"members: ada@example.org\n":      "members: must be a list",
		"members: [ada@example.org]\n":    "members[0]: must be an object",
		"- email: ada@example.org\n":      "it must be a JSON object",
		"Payments\n":                      "it must be a JSON object",
		"":                                "it is empty",
		"name: [\n":                       "neither YAML nor JSON",
		"name: a\nmembers: [{1: 2}]\n":    "every name of a field must be text",
		`{"name": "a", "members": 17}`:    "members: must be a list",
		"description: 2026-03-01\nx: 1\n": `there is no field "x"`,
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		code, _, errs := command(t, "team", "plan", "storage", "--desired", path)
		require.Equal(t, 1, code)
		require.Contains(t, errs, path+": ")
		require.Contains(t, errs, want)
		require.Contains(t, errs, "{email: ada@example.org, role: manager}", "the way out")
		require.NotContains(t, errs, "proto")
	}
}
