package auth_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

func TestAuthorize_ScopesAndGroups_GrantExactlyTheirActions(t *testing.T) {
	reads := []string{"teams.get", "teams.list", "teams.plan", "runs.get", "runs.list", "runs.watch", "findings.list", "deliveries.list", "schedules.list",
		"dead_letters.list", "dead_letters.get", "upstreams.list"}
	effects := []string{"teams.reconcile", "teams.pause", "teams.resume", "runs.cancel", "deliveries.resend", "dead_letters.requeue", "dead_letters.discard"}
	others := []string{"runs.approve", "teams.delete", "teams.", "get", ""}
	for name, tc := range map[string]struct {
		principal            auth.Principal
		reads, effects, rest bool
	}{
		"nobody":                   {principal: auth.Principal{}},
		"foreign scopes":           {principal: auth.Principal{Scopes: []string{"openid", "viewer", "other/admin", "nthlayer/", "nthlayer/*", "NTHLAYER/ADMIN", "nthlayer-admin"}}},
		"foreign groups":           {principal: auth.Principal{Groups: []string{"admin", "viewer", "nthlayer/admin", "nthlayer-"}}},
		"viewer scope":             {principal: auth.Principal{Scopes: []string{"nthlayer/viewer"}}, reads: true},
		"viewer group":             {principal: auth.Principal{Groups: []string{"nthlayer-viewer"}}, reads: true},
		"operator scope":           {principal: auth.Principal{Scopes: []string{"openid", "nthlayer/operator"}}, reads: true, effects: true},
		"operator group":           {principal: auth.Principal{Groups: []string{"nthlayer-operator"}}, reads: true, effects: true},
		"admin among other scopes": {principal: auth.Principal{Scopes: []string{"x", "nthlayer/admin"}}, reads: true, effects: true, rest: true},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(actions []string, want bool) {
				for _, action := range actions {
					err := auth.Authorize(tc.principal, action, "r")
					if want && action != "" {
						require.NoError(t, err, action)
					} else {
						require.Equal(t, fault.PermissionDenied, fault.KindOf(err), action)
					}
				}
			}
			check(reads, tc.reads)
			check(effects, tc.effects)
			check(others, tc.rest)
		})
	}
}

func TestAuthorize_ExactScope_GrantsThatActionAlone(t *testing.T) {
	p := auth.Principal{Subject: "ci", Scopes: []string{"nthlayer/teams.reconcile"}}
	require.NoError(t, auth.Authorize(p, "teams.reconcile", "payments"))
	require.Error(t, auth.Authorize(p, "teams.plan", "payments"))
}

func TestAuthorize_Refusal_NamesActionAndScopes(t *testing.T) {
	err := auth.Authorize(auth.Principal{Subject: "bob"}, "teams.reconcile", "payments")
	require.EqualError(t, err, "bob may not teams.reconcile on payments; ask for one of the scopes "+
		"nthlayer/teams.reconcile, nthlayer/operator, nthlayer/admin")
	require.Equal(t, "ACTION_NOT_GRANTED", fault.ReasonOf(err))
}
