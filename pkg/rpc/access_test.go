package rpc_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/rpc"
	v1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// A request that names no team is about all of them: a grant for one team must not be enough for a rule of the fleet.
func TestResourceOf_FieldLeftEmpty_IsAllOfThem(t *testing.T) {
	access, ok := rpc.Access(v1.IgnoreService_CreateIgnoreRule_FullMethodName)
	require.True(t, ok)
	require.Equal(t, "payments", rpc.ResourceOf(access, &v1.CreateIgnoreRuleRequest{TeamId: "payments"}))
	require.Equal(t, "*", rpc.ResourceOf(access, &v1.CreateIgnoreRuleRequest{}))
}
