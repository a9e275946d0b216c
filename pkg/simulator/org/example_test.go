package org_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

func TestExample_Decodes_WithEveryone(t *testing.T) {
	o := org.Example()
	require.Len(t, o.People, 40)
	require.Len(t, o.Teams, 13)
	require.Len(t, o.Declared(), 13)

	pager := o.Observed()
	require.Len(t, pager.Users, 40, "one has no account, one has two")
	require.Len(t, pager.Teams, 14, "one is absent, two are PagerDuty's own")
	require.Len(t, pager.Policies, 2)
	require.Equal(t, pager, org.Example().Observed(), "ids and order do not change")
}
