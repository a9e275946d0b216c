package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
)

func TestRender_SharedVariables_StandOnce(t *testing.T) {
	level := config.Variable{Name: "LEVEL", Default: "info", Doc: "what is logged"}
	token := config.Variable{Name: "TOKEN", Required: true, Secret: true, Doc: "a <key> | more"}
	page, err := render([]service{{"a", []config.Variable{level, token}}, {"b", []config.Variable{level}}})
	require.NoError(t, err)
	require.Contains(t, string(page), "| `LEVEL` | `info` | all | what is logged |\n"+
		"| `TOKEN` | **required** | a | a &lt;key&gt; \\| more (secret: never printed) |\n")
}

func TestRender_OneNameWithTwoMeanings_IsRefused(t *testing.T) {
	_, err := render([]service{
		{"a", []config.Variable{{Name: "X", Doc: "one"}}}, {"b", []config.Variable{{Name: "X", Doc: "two"}}},
	})
	require.ErrorContains(t, err, "X means different things to a and to b")
	_, err = render([]service{{"a", []config.Variable{{Name: "X"}}}})
	require.ErrorContains(t, err, "no doc tag")
}
