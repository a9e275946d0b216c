package auth_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/rpc"
)

// An action that is new to the API is not anybody's until somebody has said whose it is.
func TestTable_HasEveryActionOfTheAPI(t *testing.T) {
	require.Equal(t, rpc.Actions(), slices.Sorted(maps.Keys(table)))
}

// docs/access.md says what the code does.
func TestDocs_ActionsAreThoseOfTheTable(t *testing.T) {
	content, err := os.ReadFile("../../docs/access.md")
	require.NoError(t, err)
	documented := map[string]string{}
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+\\.[a-z_]+)` \\|(.*)\\|(.*)\\|(.*)\\|(.*)\\|$")
	for _, match := range row.FindAllStringSubmatch(string(content), -1) {
		for i, letter := range []string{"v", "o", "a", "A"} {
			if strings.TrimSpace(match[i+2]) == "yes" {
				documented[match[1]] += letter
			}
		}
	}
	want := maps.Clone(table)
	want["access.check"] = "voaA"
	require.Equal(t, want, documented)
}
