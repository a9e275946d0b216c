package auth_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// table says of every action of the API which of the built-in roles may take it: viewer, operator, approver, admin.
var table = map[string]string{
	"teams.get": "voaA", "teams.list": "voaA", "teams.plan": "voaA",
	"teams.reconcile": "oA", "teams.pause": "oA", "teams.resume": "oA", "teams.set_auto_reconcile": "A",
	"runs.get": "voaA", "runs.list": "voaA", "runs.watch": "voaA",
	"runs.cancel": "oA", "runs.rollback": "oA", "runs.approve": "aA", "runs.reject": "aA",
	"findings.list": "voaA", "deliveries.list": "voaA", "deliveries.resend": "oA", "upstreams.list": "voaA", "trail_archives.list": "voaA",
	"dead_letters.list": "voaA", "dead_letters.get": "voaA", "dead_letters.requeue": "oA", "dead_letters.discard": "oA",
	"audits.start": "oA", "audits.list": "voaA", "audits.get": "voaA", "audits.watch": "voaA", "audits.cancel": "oA",
	"audit_findings.list": "voaA", "audit_findings.get": "voaA", "audit_findings.acknowledge": "oA", "audit_findings.reopen": "oA",
	"schedules.list": "voaA", "schedules.get": "voaA", "schedules.create": "A", "schedules.update": "A", "schedules.delete": "A",
	"schedules.trigger": "oA", "schedules.pause": "oA", "schedules.resume": "oA",
	"ignores.list": "voaA", "ignores.create": "oA", "ignores.delete": "oA",
	"access.check": "everybody", "access.list": "A", "access.grant": "A", "access.revoke": "A", "access.set_role": "A", "access.delete_role": "A",
	"access.link_identity": "A", "access.unlink_identity": "A",
}

var letters = map[string]string{auth.Viewer: "v", auth.Operator: "o", auth.Approver: "a", auth.Admin: "A"}

func may(a *auth.Authorizer, p auth.Principal, action string, r auth.Resource) bool {
	_, err := a.Authorize(context.Background(), p, action, r)
	return err == nil
}

// Each role, held by scope, by group, by a binding, or on the team alone, may do what the table says and nothing else.
func TestAuthorize_RoleAndAction_AsTheTableSays(t *testing.T) {
	for role, letter := range letters {
		bound := auth.NewAuthorizer(nil)
		bound.Learn(auth.Grants{Bindings: []auth.Binding{{Subject: "ann", Role: role}, {Subject: "tim", Role: role, TeamID: "payments"}}})
		for action, who := range table {
			want := strings.Contains(who, letter) || who == "everybody"
			for name, p := range map[string]auth.Principal{
				"scope": {Subject: "x", Scopes: []string{"openid", "nthlayer/" + role}}, "group": {Subject: "x", Groups: []string{"nthlayer-" + role}}, "binding": {Subject: "ann"},
			} {
				require.Equal(t, want, may(bound, p, action, auth.All), "%s by %s: %s", role, name, action)
				require.Equal(t, want, may(bound, p, action, auth.Team("payments")), "%s by %s: %s", role, name, action)
			}
			tim := auth.Principal{Subject: "tim"}
			require.Equal(t, want, may(bound, tim, action, auth.Team("payments")), "%s on payments: %s", role, action)
			require.Equal(t, who == "everybody", may(bound, tim, action, auth.Team("billing")), "%s on payments: %s of another team", role, action)
		}
	}
}

func TestAuthorize_StrangersAndForeignWords_MayNothing(t *testing.T) {
	a := auth.NewAuthorizer(nil)
	for name, p := range map[string]auth.Principal{
		"nobody":         {},
		"foreign scopes": {Scopes: []string{"openid", "viewer", "other/admin", "nthlayer/", "nthlayer/*", "NTHLAYER/ADMIN", "nthlayer-admin"}},
		"foreign groups": {Groups: []string{"admin", "viewer", "nthlayer/admin", "nthlayer-"}},
		"manager":        {Scopes: []string{"nthlayer/manager"}, Groups: []string{"nthlayer-manager"}},
	} {
		for action := range table {
			require.False(t, may(a, p, action, auth.Team("payments")), "%s: %s", name, action)
			require.False(t, may(a, p, action, auth.All), "%s: %s", name, action)
		}
		for _, action := range []string{"", "teams.", ".get", "admin"} {
			require.False(t, may(a, p, action, auth.All), "%s: %q", name, action)
		}
	}
}

func TestAuthorize_ExactScope_GrantsThatActionAlone(t *testing.T) {
	a := auth.NewAuthorizer(nil)
	p := auth.Principal{Subject: "ci", Scopes: []string{"nthlayer/teams.reconcile"}}
	require.True(t, may(a, p, "teams.reconcile", auth.Team("payments")))
	require.False(t, may(a, p, "teams.plan", auth.Team("payments")))
}

func TestAuthorize_Refusal_NamesActionAndWhatWouldGrantIt(t *testing.T) {
	_, err := auth.NewAuthorizer(nil).Authorize(t.Context(), auth.Principal{Subject: "bob"}, "teams.reconcile", auth.Team("payments"))
	require.EqualError(t, err, "bob may not teams.reconcile on payments; ask for one of the scopes "+
		"nthlayer/teams.reconcile, nthlayer/operator, nthlayer/admin, or for a binding")
	require.Equal(t, "ACTION_NOT_GRANTED", fault.ReasonOf(err))
}

// teams is what a database knows: jobs by their team, and who manages what.
type teams struct {
	jobs     map[string]string
	managers map[string][]string
	asked    int
}

func (d *teams) TeamOf(_ context.Context, r auth.Resource) (string, error) {
	d.asked++
	return d.jobs[r.ID], nil
}

func (d *teams) ManagedBy(_ context.Context, emails []string, teamID string) (found []string, _ error) {
	d.asked++
	for _, email := range emails {
		for _, team := range d.managers[email] {
			if teamID == "" || team == teamID {
				found = append(found, team)
			}
		}
	}
	return found, nil
}

func TestAuthorize_OnOneTeam_ThingsOfThatTeamOnly(t *testing.T) {
	d := &teams{jobs: map[string]string{"job-1": "payments", "job-2": "billing"}}
	a := auth.NewAuthorizer(d)
	a.Learn(auth.Grants{Bindings: []auth.Binding{{Subject: "tim", Role: "operator", TeamID: "payments"}, {Subject: "ann", Role: "operator"}}})
	tim := auth.Principal{Subject: "tim"}
	require.True(t, may(a, tim, "runs.cancel", auth.Resource{Field: "job_id", ID: "job-1"}))
	require.False(t, may(a, tim, "runs.cancel", auth.Resource{Field: "job_id", ID: "job-2"}))
	_, hidden := a.Authorize(t.Context(), tim, "runs.cancel", auth.Resource{Field: "job_id", ID: "job-2"})
	_, missing := a.Authorize(t.Context(), tim, "runs.cancel", auth.Resource{Field: "job_id", ID: "job-3"})
	require.Equal(t, strings.ReplaceAll(hidden.Error(), "job-2", "job-3"), missing.Error(), "whether there is such a run is not told")
	require.False(t, may(a, tim, "schedules.get", auth.Resource{Field: "schedule_id", ID: "nightly"}))
	require.False(t, may(a, tim, "ignores.create", auth.Resource{Field: "team_id", ID: "*"}), "a rule of the whole fleet")
	require.False(t, may(a, tim, "dead_letters.requeue", auth.All))
	d.asked = 0
	require.True(t, may(a, auth.Principal{Subject: "ann"}, "runs.cancel", auth.Resource{Field: "job_id", ID: "job-1"}))
	require.False(t, may(a, auth.Principal{Subject: "eve"}, "runs.cancel", auth.Resource{Field: "job_id", ID: "job-1"}))
	require.Zero(t, d.asked, "nobody has to be asked about them")

	list, err := a.Authorize(t.Context(), tim, "runs.list", auth.All)
	require.NoError(t, err)
	require.Equal(t, auth.Visible{Teams: []string{"payments"}}, list.Visible)
	for _, action := range []string{"audits.list", "schedules.list", "upstreams.list", "deliveries.list"} {
		require.False(t, may(a, tim, action, auth.All), "%s cannot be cut to a team", action)
	}
}

func TestAuthorize_ManagerOfATeam_MaySyncThatTeamOnly(t *testing.T) {
	a := auth.NewAuthorizer(&teams{jobs: map[string]string{"job-1": "payments"}, managers: map[string][]string{"mia@example.org": {"payments"}}})
	a.Learn(auth.Grants{Identities: map[string]string{"mia@example.org": "mia"}})
	for name, p := range map[string]auth.Principal{"by identity": {Subject: "mia"}, "by claim": {Subject: "mia", Email: "Mia@example.org"}} {
		require.True(t, may(a, p, "teams.reconcile", auth.Team("payments")), name)
		require.True(t, may(a, p, "runs.watch", auth.Resource{Field: "job_id", ID: "job-1"}), name)
		for _, action := range []string{"runs.approve", "runs.rollback", "teams.pause", "ignores.create"} {
			require.False(t, may(a, p, action, auth.Team("payments")), "%s: %s", name, action)
		}
		require.False(t, may(a, p, "teams.reconcile", auth.Team("billing")), name)
		require.False(t, may(a, p, "teams.reconcile", auth.All), name)
		roles, err := a.RolesOn(t.Context(), p, "payments")
		require.NoError(t, err)
		require.Equal(t, []string{auth.Manager}, roles)
	}
	// Whoever says that they are mia, and is known to be somebody else, is not.
	require.False(t, may(a, auth.Principal{Subject: "eve", Email: "mia@example.org"}, "teams.reconcile", auth.Team("payments")))
}

func TestAuthorize_ExpiredRevokedStale_CountNoMore(t *testing.T) {
	past, future := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
	a := auth.NewAuthorizer(nil)
	a.Learn(auth.Grants{Bindings: []auth.Binding{
		{Subject: "past", Role: "operator", ExpiresAt: &past}, {Subject: "revoked", Role: "operator", RevokedAt: &past}, {Subject: "future", Role: "operator", ExpiresAt: &future},
	}})
	require.False(t, may(a, auth.Principal{Subject: "past"}, "teams.get", auth.All))
	require.False(t, may(a, auth.Principal{Subject: "revoked"}, "teams.get", auth.All))
	require.True(t, may(a, auth.Principal{Subject: "future"}, "teams.get", auth.All))
	auth.Advance(a, 6*time.Minute)
	require.False(t, may(a, auth.Principal{Subject: "future"}, "teams.get", auth.All), "nobody knows whether it was revoked")
	require.True(t, may(a, auth.Principal{Scopes: []string{"nthlayer/operator"}}, "teams.get", auth.All), "the token says so itself")
}

// A process that is frozen between reading and learning must not take what it read then for what is granted now.
func TestAuthorize_LearnedLate_CountsFromWhenItWasRead(t *testing.T) {
	ann := auth.Principal{Subject: "ann"}
	for read, want := range map[time.Duration]bool{0: true, 4 * time.Minute: true, 6 * time.Minute: false} {
		a := auth.NewAuthorizer(nil)
		a.Learn(auth.Grants{AsOf: time.Now().Add(-read), Bindings: []auth.Binding{{Subject: "ann", Role: "operator"}}})
		require.Equal(t, want, may(a, ann, "teams.reconcile", auth.All), "read %s ago", read)
	}
}

// One person is one principal: a token whose address is somebody else's here changes nothing.
func TestAuthorize_AddressOfAnother_MayOnlyRead(t *testing.T) {
	a := auth.NewAuthorizer(nil)
	a.Learn(auth.Grants{Identities: map[string]string{"ann@example.org": "ann"}})
	twin := auth.Principal{Subject: "ann-2", Email: "Ann@example.org", Scopes: []string{"nthlayer/admin"}}
	require.True(t, may(a, twin, "runs.get", auth.Team("payments")))
	for _, action := range []string{"runs.approve", "teams.reconcile"} {
		_, err := a.Authorize(t.Context(), twin, action, auth.Team("payments"))
		require.Equal(t, "IDENTITY_CONFLICT", fault.ReasonOf(err))
	}
	twin.Subject = "ann"
	require.True(t, may(a, twin, "runs.approve", auth.Team("payments")))
}

func TestRolesOn_WithThoseTheyInclude(t *testing.T) {
	a := auth.NewAuthorizer(nil)
	a.Learn(auth.Grants{
		Roles:    map[string][]string{"sync": {"teams.reconcile"}},
		Bindings: []auth.Binding{{Subject: "ann", Role: "approver", TeamID: "payments"}, {Subject: "ann", Role: "sync"}},
	})
	ann := auth.Principal{Subject: "ann", Groups: []string{"nthlayer-viewer", "nthlayer-sync", "nthlayer-nothing"}}
	for team, want := range map[string][]string{"payments": {"approver", "sync", "viewer"}, "billing": {"sync", "viewer"}} {
		roles, err := a.RolesOn(t.Context(), ann, team)
		require.NoError(t, err)
		require.Equal(t, want, roles)
	}
	roles, err := a.RolesOn(t.Context(), auth.Principal{Scopes: []string{"nthlayer/admin"}}, "payments")
	require.NoError(t, err)
	require.Equal(t, []string{"admin", "approver", "operator", "viewer"}, roles)
	require.True(t, may(a, ann, "teams.reconcile", auth.All))
}

func TestByEmail_IsWhoeverItIsLinkedTo_WithWhatIsBoundAlone(t *testing.T) {
	a := auth.NewAuthorizer(nil)
	a.Learn(auth.Grants{Identities: map[string]string{"bob@example.org": "bob"}, Bindings: []auth.Binding{{Subject: "bob", Role: "approver"}}})
	p, err := a.ByEmail(t.Context(), " Bob@Example.org")
	require.NoError(t, err)
	require.Equal(t, "bob", p.Subject)
	require.True(t, may(a, p, "runs.approve", auth.Team("payments")))
	for _, email := range []string{"", "eve@example.org"} {
		_, err = a.ByEmail(t.Context(), email)
		require.Equal(t, "IDENTITY_UNKNOWN", fault.ReasonOf(err))
	}
}

// Nothing is allowed that no single grant allows, and everything that one does.
func TestAuthorize_AnyGrants_AllowWhatOneOfThemAllows(t *testing.T) {
	actions := []string{}
	for action := range table {
		if action != "access.check" {
			actions = append(actions, action)
		}
	}
	slices.Sort(actions)
	words := append([]string{"viewer", "operator", "approver", "admin", "mine", "nobody", ""}, actions...)
	rapid.Check(t, func(t *rapid.T) {
		mine := rapid.SliceOfNDistinct(rapid.SampledFrom(actions), 0, 5, rapid.ID[string]).Draw(t, "mine")
		var bindings []auth.Binding
		for range rapid.IntRange(0, 5).Draw(t, "bindings") {
			bindings = append(bindings, auth.Binding{
				Subject: rapid.SampledFrom([]string{"ann", "ben"}).Draw(t, "subject"), Role: rapid.SampledFrom(words).Draw(t, "role"),
				TeamID: rapid.SampledFrom([]string{"", "payments", "billing"}).Draw(t, "team"),
			})
		}
		scopes := rapid.SliceOfN(rapid.SampledFrom(words), 0, 2).Draw(t, "scopes")
		a := auth.NewAuthorizer(nil)
		a.Learn(auth.Grants{Roles: map[string][]string{"mine": mine}, Bindings: bindings})
		p := auth.Principal{Subject: "ann"}
		for _, s := range scopes {
			p.Scopes = append(p.Scopes, "nthlayer/"+s)
		}
		action := rapid.SampledFrom(actions).Draw(t, "action")
		team := rapid.SampledFrom([]string{"payments", "billing"}).Draw(t, "on")
		allows := func(word string) bool {
			return word == action || word == "mine" && slices.Contains(mine, action) || letters[word] != "" && strings.Contains(table[action], letters[word])
		}
		want := slices.ContainsFunc(scopes, allows) || slices.ContainsFunc(bindings, func(b auth.Binding) bool {
			return b.Subject == "ann" && (b.TeamID == "" || b.TeamID == team) && allows(b.Role)
		})
		if got := may(a, p, action, auth.Team(team)); got != want {
			t.Fatalf("%s on %s: %v", action, team, got)
		}
	})
}

func BenchmarkAuthorize(b *testing.B) {
	var g auth.Grants
	g.Roles = map[string][]string{"sync": {"teams.reconcile", "teams.plan"}}
	for i := range 1000 {
		g.Bindings = append(g.Bindings, auth.Binding{Subject: fmt.Sprintf("user-%d", i%100), Role: "sync", TeamID: fmt.Sprintf("team-%d", i)})
	}
	a := auth.NewAuthorizer(nil)
	a.Learn(g)
	for name, c := range map[string]struct {
		p    auth.Principal
		want bool
	}{
		"scope":                         {auth.Principal{Subject: "x", Scopes: []string{"openid", "email", "nthlayer/operator"}}, true},
		"last of ten bindings, by team": {auth.Principal{Subject: "user-42"}, true},
		"denied":                        {auth.Principal{Subject: "user-43"}, false},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if may(a, c.p, "teams.reconcile", auth.Team("team-942")) != c.want {
					b.Fatal("wrong")
				}
			}
		})
	}
}
