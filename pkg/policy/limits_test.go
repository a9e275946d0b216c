package policy_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
)

func plan(members, adds, removals int) ownership.Plan {
	p := ownership.Plan{TeamID: "payments", Members: members}
	for i := range adds {
		p.Changes = append(p.Changes, ownership.Change{ID: fmt.Sprint("a", i), Kind: ownership.AddMember})
	}
	for i := range removals {
		p.Changes = append(p.Changes, ownership.Change{ID: fmt.Sprint("r", i), Kind: ownership.RemoveMember})
	}
	return p
}

func TestLimits_Check(t *testing.T) {
	limits := policy.Limits{RemovalShare: 0.25, RemovalFloor: 3, ProtectedTeams: []string{"core-*"}}
	protected := plan(10, 1, 0)
	protected.TeamID = "core-network"
	quiet := plan(10, 0, 0)
	quiet.TeamID = "core-network"
	cases := []struct {
		name string
		plan ownership.Plan
		want policy.Verdict
	}{
		{"nothing to do", plan(10, 0, 0), policy.Allow},
		{"adds only", plan(0, 50, 0), policy.Allow},
		{"a small team changes by its floor", plan(6, 0, 3), policy.Allow},
		{"the share of a large team", plan(40, 0, 10), policy.Allow},
		{"one more than the share", plan(40, 0, 11), policy.RequireApproval},
		{"one more than the floor", plan(8, 0, 4), policy.RequireApproval},
		{"everybody", plan(2, 0, 2), policy.Deny},
		{"everybody of many: deny wins over approval", plan(40, 0, 40), policy.Deny},
		{"the last one", plan(1, 0, 1), policy.Deny},
		{"everybody is replaced", plan(2, 2, 2), policy.Allow},
		{"a protected team", protected, policy.RequireApproval},
		{"a protected team at rest", quiet, policy.Allow},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := limits.Check(c.plan)
			require.Equal(t, c.want, d.Verdict, d.Reasons)
			require.Equal(t, c.want == policy.Allow, len(d.Reasons) == 0)
		})
	}
}

func TestLimits_ZeroValue_AsksForEveryRemoval(t *testing.T) {
	require.Equal(t, policy.RequireApproval, policy.Limits{}.Check(plan(10, 0, 1)).Verdict)
}
