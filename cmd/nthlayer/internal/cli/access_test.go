package cli_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/fault"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (f *fleet) CheckAccess(_ context.Context, req *nthlayerv1.CheckAccessRequest) (*nthlayerv1.CheckAccessResponse, error) {
	f.access = req
	return answer(f, f.check)
}

func (f *fleet) ListGrants(_ context.Context, req *nthlayerv1.ListGrantsRequest) (*nthlayerv1.ListGrantsResponse, error) {
	f.access = req
	grants, next := page(f.grants, req.GetPageSize(), req.GetPageToken())
	return answer(f, &nthlayerv1.ListGrantsResponse{Grants: grants, NextPageToken: next})
}

func (f *fleet) GrantRole(_ context.Context, req *nthlayerv1.GrantRoleRequest) (*nthlayerv1.Grant, error) {
	f.access = req
	return answer(f, &nthlayerv1.Grant{Subject: req.GetSubject(), Role: req.GetRole(), TeamId: req.GetTeamId(), ExpiresAt: req.GetExpiresAt()})
}

func (f *fleet) RevokeRole(_ context.Context, req *nthlayerv1.RevokeRoleRequest) (*nthlayerv1.Grant, error) {
	f.access = req
	return answer(f, &nthlayerv1.Grant{Subject: req.GetSubject(), Role: req.GetRole(), TeamId: req.GetTeamId(), RevokedAt: timestamppb.New(noon), RevokedBy: "root"})
}

func (f *fleet) ListRoles(_ context.Context, req *nthlayerv1.ListRolesRequest) (*nthlayerv1.ListRolesResponse, error) {
	if req.GetEnded() {
		return answer(f, &nthlayerv1.ListRolesResponse{Roles: []*nthlayerv1.Role{
			{Role: "viewer", BuiltIn: true, Actions: []string{"teams.get"}},
			{Role: "syncer", ChangedBy: "root", Actions: []string{"teams.get"}, EndedBy: "ann", EndedAt: timestamppb.New(noon.Add(-time.Hour))},
		}})
	}
	return answer(f, &nthlayerv1.ListRolesResponse{Roles: []*nthlayerv1.Role{
		{Role: "viewer", BuiltIn: true, Actions: []string{"teams.get"}}, {Role: "syncer", ChangedBy: "root", Actions: []string{"teams.get", "teams.reconcile"}},
	}})
}

func (f *fleet) SetRole(_ context.Context, req *nthlayerv1.SetRoleRequest) (*nthlayerv1.Role, error) {
	f.access = req
	return answer(f, &nthlayerv1.Role{Role: req.GetRole(), Actions: req.GetActions(), ChangedBy: "root"})
}

func (f *fleet) DeleteRole(_ context.Context, req *nthlayerv1.DeleteRoleRequest) (*nthlayerv1.DeleteRoleResponse, error) {
	f.access = req
	return answer(f, &nthlayerv1.DeleteRoleResponse{})
}

func (f *fleet) ListIdentities(context.Context, *nthlayerv1.ListIdentitiesRequest) (*nthlayerv1.ListIdentitiesResponse, error) {
	return answer(f, &nthlayerv1.ListIdentitiesResponse{Identities: []*nthlayerv1.Identity{
		{Email: "ann@example.org", Subject: "ann", LinkedBy: "root", LinkedAt: timestamppb.New(noon.Add(-time.Hour))},
	}})
}

func (f *fleet) LinkIdentity(_ context.Context, req *nthlayerv1.LinkIdentityRequest) (*nthlayerv1.Identity, error) {
	f.access = req
	return answer(f, &nthlayerv1.Identity{Email: req.GetEmail(), Subject: req.GetSubject(), LinkedBy: "root"})
}

func (f *fleet) UnlinkIdentity(_ context.Context, req *nthlayerv1.UnlinkIdentityRequest) (*nthlayerv1.UnlinkIdentityResponse, error) {
	f.access = req
	return answer(f, &nthlayerv1.UnlinkIdentityResponse{})
}

func TestAccess_Commands_AskForWhatTheirFlagsSay(t *testing.T) {
	end := time.Date(2027, 2, 1, 0, 0, 0, 0, time.Local)
	for name, c := range map[string]struct {
		args []string
		want proto.Message
		says string
	}{
		"grant everywhere": {
			[]string{"grant", "ann", "approver", "--reason", "lead"},
			&nthlayerv1.GrantRoleRequest{Subject: "ann", Role: "approver", Reason: "lead"}, "ann is approver everywhere\ntake it back with: nthlayer access revoke ann approver\n",
		},
		"grant on a team, until a day": {
			[]string{"grant", "ann", "operator", "--team", "payments", "--until", "2027-01-31", "--reason", "on call"},
			&nthlayerv1.GrantRoleRequest{Subject: "ann", Role: "operator", TeamId: "payments", Reason: "on call", ExpiresAt: timestamppb.New(end)},
			"take it back with: nthlayer access revoke ann operator --team payments",
		},
		"grant for a while": {
			[]string{"grant", "ci", "teams.reconcile", "--for", "12h", "--reason", "deploys"},
			&nthlayerv1.GrantRoleRequest{Subject: "ci", Role: "teams.reconcile", Reason: "deploys", ExpiresAt: timestamppb.New(noon.Add(12 * time.Hour))}, "until",
		},
		"revoke on a team": {
			[]string{"revoke", "ann", "operator", "--team", "payments"},
			&nthlayerv1.RevokeRoleRequest{Subject: "ann", Role: "operator", TeamId: "payments"}, "ann is not operator on payments any more\n",
		},
		"role set": {
			[]string{"role", "set", "syncer", "teams.get", "teams.reconcile"},
			&nthlayerv1.SetRoleRequest{Role: "syncer", Actions: []string{"teams.get", "teams.reconcile"}}, "teams.get teams.reconcile",
		},
		"role delete":     {[]string{"role", "delete", "syncer"}, &nthlayerv1.DeleteRoleRequest{Role: "syncer"}, "deleted"},
		"identity link":   {[]string{"identity", "link", "ann@example.org", "ann"}, &nthlayerv1.LinkIdentityRequest{Email: "ann@example.org", Subject: "ann"}, "ann@example.org is ann\n"},
		"identity unlink": {[]string{"identity", "unlink", "ann@example.org"}, &nthlayerv1.UnlinkIdentityRequest{Email: "ann@example.org"}, "nobody's"},
		"all grants": {
			[]string{"list", "--team", "payments", "--subject", "ann", "--all"},
			&nthlayerv1.ListGrantsRequest{TeamId: "payments", Subject: "ann", Ended: true, PageSize: 50}, "No grant matches.\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var f fleet
			code, out, errs := f.command(t, append([]string{"access"}, c.args...)...)
			require.Zero(t, code, errs)
			same(t, c.want, f.access)
			require.Contains(t, bare(out), c.says)
		})
	}
}

func TestAccessCheck_SaysWhy_AndExitsWithTwoWhereTheyMayNot(t *testing.T) {
	f := fleet{check: &nthlayerv1.CheckAccessResponse{Allowed: true, Why: "binding operator on team payments, granted by bob", Roles: []string{"operator", "viewer"}}}
	code, out, errs := f.command(t, "access", "check", "teams.reconcile", "--team", "payments", "--subject", "ann")
	require.Zero(t, code, errs)
	require.Equal(t, "yes: binding operator on team payments, granted by bob\nroles: operator, viewer\n", bare(out))
	same(t, &nthlayerv1.CheckAccessRequest{Action: "teams.reconcile", TeamId: "payments", Subject: "ann"}, f.access)

	f = fleet{check: &nthlayerv1.CheckAccessResponse{Why: "ann may not runs.approve"}}
	code, out, errs = f.command(t, "access", "check", "runs.approve")
	require.Equal(t, 2, code)
	require.Equal(t, "no: ann may not runs.approve\nroles: none\n", bare(out))
	require.Empty(t, errs)
	code, out, _ = f.command(t, "access", "check", "runs.approve", "-o", "json")
	require.Equal(t, 2, code)
	require.True(t, json.Valid([]byte(out)))
}

func TestAccess_Lists_AreTables(t *testing.T) {
	f := fleet{grants: []*nthlayerv1.Grant{
		{Subject: "ann", Role: "operator", TeamId: "payments", Reason: "on\ncall", GrantedBy: "bob", GrantedAt: timestamppb.New(noon.Add(-time.Hour))},
		{Subject: "tim", Role: "admin", Reason: "setup", GrantedBy: "bob", GrantedAt: timestamppb.New(noon.Add(-3 * time.Hour)),
			RevokedBy: "ann", RevokedAt: timestamppb.New(noon.Add(-2 * time.Hour))},
		{Subject: "ci", Role: "viewer", Reason: "try", GrantedBy: "bob", GrantedAt: timestamppb.New(noon.Add(-3 * time.Hour)), ExpiresAt: timestamppb.New(noon.Add(-time.Minute))},
	}}
	code, out, errs := f.command(t, "access", "list", "--all")
	require.Zero(t, code, errs)
	require.Equal(t, `SUBJECT   ROLE       ON           GRANTED   BY    ENDS                    REASON
ann       operator   payments     1h ago    bob                           on call
tim       admin      everywhere   3h ago    bob   revoked by ann 2h ago   setup
ci        viewer     everywhere   3h ago    bob   expired 1m ago          try
`, bare(out))
	code, out, errs = f.command(t, "access", "role", "list")
	require.Zero(t, code, errs)
	require.Equal(t, "ROLE     OF         ACTIONS\nviewer   built in   teams.get\nsyncer   root       teams.get teams.reconcile\n", bare(out))
	code, out, errs = f.command(t, "access", "role", "list", "--all")
	require.Zero(t, code, errs)
	require.Equal(t, "ROLE     OF         ACTIONS     ENDED\nviewer   built in   teams.get\nsyncer   root       teams.get   by ann 1h ago\n", bare(out))
	code, out, errs = f.command(t, "access", "identity", "list")
	require.Zero(t, code, errs)
	require.Equal(t, "EMAIL             SUBJECT   LINKED   BY\nann@example.org   ann       1h ago   root\n", bare(out))
	f.grants = nil
	_, out, _ = f.command(t, "access", "list")
	require.Contains(t, out, "tokens alone")
}

func TestAccess_WrongUse_IsRefusedBeforeAnythingIsAsked(t *testing.T) {
	for _, args := range [][]string{
		{"grant", "ann", "viewer"},                                // no reason
		{"grant", "ann", "--reason", "x"},                         // no role
		{"grant", "ann", "viewer", "--reason", "x", "--team", ""}, // an empty variable is not everywhere
		{"grant", "ann", "viewer", "--reason", "x", "--for", "1d", "--until", "2027-01-31"},
		{"grant", "ann", "viewer", "--reason", "x", "--until", "soon"},
		{"revoke", "ann", "viewer", "--team", ""}, {"revoke", "ann"}, {"role", "set", "syncer"}, {"identity", "link", "ann@example.org"}, {"check"},
	} {
		var f fleet
		code, out, errs := f.command(t, append([]string{"access"}, args...)...)
		require.Equal(t, 1, code, args)
		require.Empty(t, out, args)
		require.NotEmpty(t, errs, args)
		require.Nil(t, f.access, args)
	}
	f := fleet{refuse: fault.New(fault.PermissionDenied, "nobody gives what they do not hold themselves: runs.approve", nil)}
	code, _, errs := f.command(t, "access", "grant", "ann", "approver", "--reason", "x")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "nobody gives what they do not hold")
}
