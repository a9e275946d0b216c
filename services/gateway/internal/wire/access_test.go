package wire_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/auth"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// method is one RPC of the public API.
type method struct {
	name   string
	action string
	desc   protoreflect.MethodDescriptor
}

// everyMethod lists the RPCs of the public API.
func everyMethod() (methods []method) {
	protoregistry.GlobalFiles.RangeFilesByPackage("nthlayer.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				desc := service.Methods().Get(j)
				name := fmt.Sprintf("/%s/%s", service.FullName(), desc.Name())
				access, _ := rpc.Access(name)
				methods = append(methods, method{name, access.GetAction(), desc})
			}
		}
		return true
	})
	return methods
}

// required is what well-formed requests hold, by the names of their fields. What no request needs is left out.
var required = map[string]any{
	"job_id": uuid.Nil.String(), "audit_id": uuid.Nil.String(), "finding_id": uuid.Nil.String(), "letter_id": uuid.Nil.String(), "rule_id": uuid.Nil.String(),
	"team_id": "payments", "schedule_id": "nightly", "delivery_key": "x.slack.C0", "plan_hash": strings.Repeat("0", 64),
	"duration": "60s", "until": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
	"settings": map[string]any{"cron": "@daily"}, "action": "teams.get", "actions": []string{"teams.get"}, "email": "ann@example.org", "subject": "ann",
	"reason": "because", "owner": "sre@example.org", "all": true,
}

// request makes a well-formed request of a method.
func request(t *testing.T, m method) proto.Message {
	t.Helper()
	fields := map[string]any{}
	input := m.desc.Input()
	for i := range input.Fields().Len() {
		field := input.Fields().Get(i)
		if value, ok := required[string(field.Name())]; ok && (field.ContainingOneof() == nil) {
			fields[string(field.Name())] = value
		}
	}
	switch m.desc.Name() {
	case "GrantRole", "RevokeRole":
		fields["role"] = "viewer"
	case "SetRole", "DeleteRole":
		fields["role"] = "mine"
	case "CreateIgnoreRule":
		fields["kind"], fields["value"] = "person", "ann@example.org"
	case "RequeueDeadLetters", "DiscardDeadLetters":
		delete(fields, "reason")
		delete(fields, "team_id")
		delete(fields, "letter_id")
	}
	if strings.HasPrefix(string(m.desc.Name()), "List") || m.desc.Name() == "CheckAccess" {
		delete(fields, "subject")
		delete(fields, "reason")
	}
	content, err := json.Marshal(fields)
	require.NoError(t, err)
	kind, err := protoregistry.GlobalTypes.FindMessageByName(input.FullName())
	require.NoError(t, err)
	message := kind.New().Interface()
	require.NoError(t, protojson.Unmarshal(content, message), m.name)
	return message
}

// invoke calls a method and gives the code it ended with, and what it said.
func invoke(t *testing.T, conn *grpc.ClientConn, m method, token string) (codes.Code, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(m.desc.Output().FullName())
	require.NoError(t, err)
	answer := kind.New().Interface()
	if m.desc.IsStreamingServer() {
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, m.name)
		require.NoError(t, err)
		require.NoError(t, stream.SendMsg(request(t, m)))
		require.NoError(t, stream.CloseSend())
		err = stream.RecvMsg(answer)
		return status.Code(err), status.Convert(err).Message()
	}
	err = conn.Invoke(ctx, m.name, request(t, m), answer)
	return status.Code(err), status.Convert(err).Message()
}

// smallest is the smallest built-in role that grants an action, and larger or other ones that do not.
func smallest(action string) (role string, without []string) {
	for _, r := range auth.BuiltIn() {
		switch {
		case !auth.Grant(r, action):
			without = append(without, r)
		case role == "":
			role = r
		}
	}
	return role, without
}

// Every RPC: without a token nobody is known, a role that does not grant its action is refused, one that does is let in, and
// both stand in the log.
func TestAccess_EveryRPC_NoTokenWrongRoleRightRole(t *testing.T) {
	s := startAmong(t, peers{scheduler: (&scheduler{}).register, notifier: (&notifier{}).register})
	require.NoError(t, s.db.Declare(t.Context(), []ownership.Desired{{TeamID: "payments"}}))
	_, err := s.db.CreateSchedule(t.Context(), "nightly", store.ScheduleSettings{Cron: "@daily"}, time.Now().Add(time.Hour), "alice")
	require.NoError(t, err)
	conn, err := grpc.NewClient(s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	methods := everyMethod()
	require.Greater(t, len(methods), 50)
	for _, m := range methods {
		code, text := invoke(t, conn, m, "")
		require.Equal(t, codes.Unauthenticated, code, "%s: %s", m.name, text)

		right, wrong := smallest(m.action)
		if m.action == "access.check" {
			right, wrong = "viewer", nil
		} else {
			code, text = invoke(t, conn, m, s.token("stranger of "+m.action))
			require.Equal(t, codes.PermissionDenied, code, "%s as nobody: %s", m.name, text)
			require.True(t, s.audited(m.action, "stranger of "+m.action, true), "the refusal of %s is not in the log", m.name)
		}
		for _, role := range wrong {
			code, text = invoke(t, conn, m, s.token("a "+role, "nthlayer/"+role))
			require.Equal(t, codes.PermissionDenied, code, "%s as %s: %s", m.name, role, text)
			require.True(t, s.audited(m.action, "a "+role, true), m.name)
		}
		who := right + " of " + string(m.desc.Name())
		code, text = invoke(t, conn, m, s.token(who, "nthlayer/"+right))
		require.NotContains(t, []codes.Code{codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented, codes.InvalidArgument, codes.Internal}, code,
			"%s as %s: %s: %s", m.name, right, code, text)
		if !auth.ReadOnly(m.action) {
			require.True(t, s.audited(m.action, who, false), "%s by %s is not in the log", m.name, who)
		}
	}
}

// audited reports whether the decision stands in the log.
func (s *system) audited(action, principal string, refused bool) bool {
	text, _ := s.logs.text()
	for line := range strings.Lines(text) {
		var f struct {
			Msg, Action, Principal, Why string
			Refused                     bool
		}
		if json.Unmarshal([]byte(line), &f) == nil && f.Msg == "audit" && f.Action == action && f.Principal == principal && f.Refused == refused && f.Why != "" {
			return true
		}
	}
	return false
}

// grant gives a role through the API.
func (s *system) grant(body string) {
	s.t.Helper()
	code, answer, _ := s.call(s.t, "POST", "/v1/access/grants", s.token("root", "nthlayer/admin"), body)
	require.Equal(s.t, http.StatusOK, code, answer)
}

// Whoever has a role on one team sees of each list that team alone, or nothing at all.
func TestAccess_OnOneTeam_ListsShowThatTeamAlone(t *testing.T) {
	s := startAmong(t, peers{scheduler: (&scheduler{}).register, notifier: (&notifier{}).register})
	for _, team := range []string{"payments", "secret"} {
		require.NoError(t, s.db.Declare(t.Context(), []ownership.Desired{{TeamID: team}}))
		s.giveUp(team)
		s.record(team)
		_, _, err := s.db.Accept(t.Context(), store.NewRun{Principal: "x", RequestHash: []byte("x"), TeamID: team})
		require.NoError(t, err)
	}
	s.find("payments", "secret")
	s.grant(`{"subject":"tim","role":"viewer","team_id":"payments","reason":"works there"}`)
	tim := s.token("tim")
	require.Eventually(t, func() bool { code, _, _ := s.call(t, "GET", "/v1/teams/payments", tim, ""); return code == 200 }, 10*time.Second, 5*time.Millisecond)
	cut := map[string]bool{}
	for _, m := range everyMethod() {
		if !strings.HasPrefix(string(m.desc.Name()), "List") {
			continue
		}
		conn, err := grpc.NewClient(s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		kind, err := protoregistry.GlobalTypes.FindMessageByName(m.desc.Output().FullName())
		require.NoError(t, err)
		empty, err := protoregistry.GlobalTypes.FindMessageByName(m.desc.Input().FullName())
		require.NoError(t, err)
		asked := empty.New().Interface()
		if field := m.desc.Input().Fields().ByName("schedule_id"); field != nil {
			asked.ProtoReflect().Set(field, protoreflect.ValueOfString("nightly"))
		}
		answer := kind.New().Interface()
		err = conn.Invoke(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+tim), m.name, asked, answer)
		require.NoError(t, conn.Close())
		if status.Code(err) == codes.PermissionDenied {
			continue
		}
		require.NoError(t, err, m.name)
		text := protojson.Format(answer)
		require.NotContains(t, text, "secret", m.name)
		cut[string(m.desc.Name())] = strings.Contains(text, "payments")
	}
	require.Equal(t, map[string]bool{"ListTeams": true, "ListRuns": true, "ListDeadLetters": true, "ListFindings": true, "ListAuditFindings": true}, cut,
		"lists that can be cut, with what there is to show in each")
	// Control: there is something of the other team in each of them.
	for _, path := range []string{"teams", "runs", "dead-letters", "findings", "audit-findings"} {
		code, body, _ := s.call(t, "GET", "/v1/"+path, s.token("eve", "nthlayer/viewer"), "")
		require.Equal(t, 200, code)
		require.Contains(t, body, "secret", path)
	}
	// A page of the caller's own is full, whatever lies between its rows.
	code, body, _ := s.call(t, "GET", "/v1/runs?page_size=1", tim, "")
	require.Equal(t, 200, code)
	first := read[struct {
		Runs []struct {
			TeamID string `json:"team_id"`
		}
		NextPageToken string `json:"next_page_token"`
	}](t, body)
	require.Len(t, first.Runs, 1)
	require.NotEmpty(t, first.NextPageToken)
	code, body, _ = s.call(t, "GET", "/v1/runs?page_size=1&page_token="+first.NextPageToken, tim, "")
	require.Equal(t, 200, code)
	require.Contains(t, body, "payments")
	require.NotContains(t, body, "secret")
	for path, want := range map[string]int{"/v1/teams/secret": 403, "/v1/runs/" + uuid.NewString(): 403, "/v1/schedules": 403, "/v1/access/grants": 403} {
		code, _, _ := s.call(t, "GET", path, tim, "")
		require.Equal(t, want, code, path)
	}
}

// record writes something about a team into the trail.
func (s *system) record(team string) {
	s.t.Helper()
	id, _, err := s.db.Accept(s.t.Context(), store.NewRun{Principal: "x", RequestHash: []byte("x"), TeamID: team})
	require.NoError(s.t, err)
	claim, err := s.db.Claim(s.t.Context(), id, store.Terms{Owner: "worker", Lease: time.Minute})
	require.NoError(s.t, err)
	require.NoError(s.t, claim.Record(s.t.Context(), []trail.Finding{
		{ChangeID: "c", TeamID: team, Action: "add_member", EntityRef: "person:" + team + "@example.org", Outcome: trail.Applied, RecordedAt: time.Now()},
	}))
	require.NoError(s.t, claim.Finish(s.t.Context(), store.Ending{Status: store.Succeeded, Sync: ownership.InSync}))
}

// find lets an audit find something wrong with each team.
func (s *system) find(teams ...string) {
	s.t.Helper()
	id := s.startAudit("alice", `{}`)
	job, err := s.db.ClaimAuditJob(s.t.Context(), uuid.MustParse(id), store.SnapshotJob, "worker", time.Minute)
	require.NoError(s.t, err)
	var desired []ownership.Desired
	var listed []store.TargetTeam
	for _, team := range teams {
		desired = append(desired, ownership.Desired{TeamID: team, Name: team, Members: []ownership.Member{}})
		listed = append(listed, store.TargetTeam{ID: "P" + team, Name: team})
	}
	require.NoError(s.t, job.Stage(s.t.Context(), desired))
	require.NoError(s.t, job.ListTargets(s.t.Context(), listed))
	require.NoError(s.t, job.EndSnapshot(s.t.Context(), store.Snapshot{Read: audit.Full, TargetsListed: true, UsersListed: true, Teams: len(teams)}))
	_, err = s.db.HandOut(s.t.Context(), uuid.MustParse(id), 1000, len(teams))
	require.NoError(s.t, err)
	s.part(id, 1)
}

func TestAccess_GrantedRevokedChecked(t *testing.T) {
	s := start(t)
	root, tim := s.token("root", "nthlayer/admin"), s.token("tim")
	may := func() bool {
		code, body, _ := s.call(t, "GET", "/v1/access:check?action=teams.reconcile&team_id=payments", tim, "")
		require.Equal(t, 200, code, body)
		return strings.Contains(body, `"allowed":true`)
	}
	require.False(t, may())
	s.grant(`{"subject":"tim","role":"operator","team_id":"payments","reason":"on call"}`)
	s.grant(`{"subject":"tim","role":"operator","team_id":"payments","reason":"again"}`) // is the same
	require.Eventually(t, may, 5*time.Second, 2*time.Millisecond, "long before the grants are read again by themselves")
	code, body, _ := s.call(t, "GET", "/v1/access/grants?subject=tim", root, "")
	require.Equal(t, 200, code)
	require.Equal(t, 1, strings.Count(body, "grant_id"), body)
	require.Contains(t, body, "on call")
	code, body, _ = s.call(t, "POST", "/v1/access/grants:revoke", root, `{"subject":"tim","role":"operator","team_id":"payments"}`)
	require.Equal(t, 200, code, body)
	require.Eventually(t, func() bool { return !may() }, 5*time.Second, 2*time.Millisecond)
	code, _, _ = s.call(t, "POST", "/v1/access/grants:revoke", root, `{"subject":"tim","role":"operator","team_id":"payments"}`)
	require.Equal(t, 404, code)
	_, body, _ = s.call(t, "GET", "/v1/access/grants?subject=tim", root, "")
	require.NotContains(t, body, "grant_id")
	_, body, _ = s.call(t, "GET", "/v1/access/grants?subject=tim&ended=true", root, "")
	require.Contains(t, body, `"revoked_by":"root"`)
}

// Nobody gives more than they have, and nobody but admins gives anything.
func TestAccess_GrantingMoreThanOwn_IsRefused(t *testing.T) {
	s := start(t)
	granter := s.token("granter", "nthlayer/access.grant", "nthlayer/viewer")
	code, body, _ := s.call(t, "POST", "/v1/access/grants", granter, `{"subject":"tim","role":"viewer","reason":"x"}`)
	require.Equal(t, 200, code, body)
	for _, role := range []string{"operator", "approver", "admin", "access.grant"} {
		code, body, _ = s.call(t, "POST", "/v1/access/grants", granter, `{"subject":"granter","role":"`+role+`","reason":"x"}`)
		if role == "access.grant" {
			require.Equal(t, 200, code, "what they hold")
			continue
		}
		require.Equal(t, 403, code, body)
		require.Contains(t, body, "GRANT_EXCEEDS_OWN")
	}
	// Whose an address is decides who votes in Slack, and who manages teams: that is for those who may do everything.
	linker := s.token("linker", "nthlayer/access.link_identity", "nthlayer/operator")
	code, body, _ = s.call(t, "PUT", "/v1/access/identities/boss@example.org", linker, `{"subject":"linker"}`)
	require.Equal(t, 403, code, body)
	require.Contains(t, body, "GRANT_EXCEEDS_OWN")
	code, body, _ = s.call(t, "PUT", "/v1/access/roles/mine", s.token("setter", "nthlayer/access.set_role"), `{"actions":["runs.approve"]}`)
	require.Equal(t, 403, code, body)
	for field, request := range map[string]string{
		"role": `{"subject":"tim","role":"emperor","reason":"x"}`, "expires_at": `{"subject":"tim","role":"viewer","reason":"x","expires_at":"2020-01-01T00:00:00Z"}`,
		"reason": `{"subject":"tim","role":"viewer"}`,
	} {
		code, body, _ = s.call(t, "POST", "/v1/access/grants", s.token("root", "nthlayer/admin"), request)
		require.Equal(t, 400, code)
		require.Contains(t, body, field)
	}
}

func TestAccess_OwnRoles_GrantTheirActions_AndStayWhileHeld(t *testing.T) {
	s := start(t)
	root := s.token("root", "nthlayer/admin")
	for role, want := range map[string]int{"sync": 200, "admin": 400, "manager": 400} {
		code, body, _ := s.call(t, "PUT", "/v1/access/roles/"+role, root, `{"actions":["teams.get","teams.reconcile"]}`)
		require.Equal(t, want, code, body)
	}
	code, _, _ := s.call(t, "PUT", "/v1/access/roles/typo", root, `{"actions":["teams.reconsile"]}`)
	require.Equal(t, 400, code)
	s.grant(`{"subject":"ci","role":"sync","reason":"pipelines"}`)
	require.Eventually(t, func() bool {
		_, body, _ := s.call(t, "GET", "/v1/access:check?action=teams.reconcile", s.token("ci"), "")
		return strings.Contains(body, `"allowed":true`)
	}, 5*time.Second, 2*time.Millisecond)
	code, body, _ := s.call(t, "DELETE", "/v1/access/roles/sync", root, "")
	require.Equal(t, 400, code, body)
	require.Contains(t, body, "ROLE_IN_USE")
	_, body, _ = s.call(t, "GET", "/v1/access/roles", root, "")
	for _, role := range append(auth.BuiltIn(), "sync") {
		require.Contains(t, body, fmt.Sprintf(`"role":%q`, role))
	}
}

// The managers of a team, as the source declares them, may have it synced; nobody else is let in by that.
func TestAccess_ManagerOfATeam_MaySyncItsOwn(t *testing.T) {
	s := start(t)
	require.NoError(t, s.db.Declare(t.Context(), []ownership.Desired{
		{TeamID: "payments", Members: []ownership.Member{{Email: "Mia@example.org", Roles: []string{"manager"}}, {Email: "tim@example.org"}}},
		{TeamID: "billing", Members: []ownership.Member{{Email: "mia@example.org"}}},
		{TeamID: "old", Archived: true, Members: []ownership.Member{{Email: "mia@example.org", Roles: []string{"manager"}}}},
	}))
	root := s.token("root", "nthlayer/admin")
	for _, who := range []string{"mia", "tim"} {
		code, body, _ := s.call(t, "PUT", "/v1/access/identities/"+who+"@example.org", root, `{"subject":"`+who+`"}`)
		require.Equal(t, 200, code, body)
	}
	mia, tim := s.token("mia"), s.token("tim")
	reconcile := func(token, team string) int {
		code, _, _ := s.call(t, "POST", "/v1/teams/reconcile", token, `{"team_id":"`+team+`"}`)
		return code
	}
	require.Eventually(t, func() bool { return reconcile(mia, "payments") == 202 }, 5*time.Second, 2*time.Millisecond)
	for _, refused := range []int{reconcile(mia, "billing"), reconcile(mia, "old"), reconcile(mia, "nowhere"), reconcile(tim, "payments")} {
		require.Equal(t, 403, refused)
	}
	_, body, _ := s.call(t, "GET", "/v1/teams", mia, "")
	require.Contains(t, body, "payments")
	require.NotContains(t, body, "billing")
	runs, err := s.db.Runs(t.Context(), store.RunFilter{TeamID: "payments", Limit: 1})
	require.NoError(t, err)
	require.True(t, slices.Contains(runs[0].Request.Roles, auth.Manager))
	code, _, _ := s.call(t, "DELETE", "/v1/access/identities/mia@example.org", root, "")
	require.Equal(t, 200, code)
	require.Eventually(t, func() bool { return reconcile(mia, "payments") == 403 }, 5*time.Second, 2*time.Millisecond)
}

// Whatever was granted, changed or taken back can be told afterwards: who did it, and when.
func TestAccess_WhatHasEnded_StaysToBeTold(t *testing.T) {
	s := start(t)
	ann, bob := s.token("ann", "nthlayer/admin"), s.token("bob", "nthlayer/admin")
	do := func(token, method, path, body string) string {
		t.Helper()
		code, answer, _ := s.call(t, method, path, token, body)
		require.Equal(t, 200, code, answer)
		return answer
	}
	do(ann, "PUT", "/v1/access/roles/sync", `{"actions":["teams.get"]}`)
	do(bob, "PUT", "/v1/access/roles/sync", `{"actions":["teams.get"]}`) // is the same
	do(bob, "PUT", "/v1/access/roles/sync", `{"actions":["teams.get","teams.reconcile"]}`)
	do(ann, "DELETE", "/v1/access/roles/sync", "")
	do(ann, "PUT", "/v1/access/identities/Mia@example.org", `{"subject":"mia"}`)
	do(ann, "PUT", "/v1/access/identities/mia@example.org", `{"subject":"mia"}`) // is the same
	do(bob, "PUT", "/v1/access/identities/mia@example.org", `{"subject":"eve"}`)
	do(ann, "DELETE", "/v1/access/identities/mia@example.org", "")

	require.NotContains(t, do(ann, "GET", "/v1/access/roles", ""), "sync")
	require.NotContains(t, do(ann, "GET", "/v1/access/identities", ""), "mia")
	var own, linked []string
	for _, r := range read[struct{ Roles []map[string]any }](t, do(ann, "GET", "/v1/access/roles?ended=true", "")).Roles {
		if r["role"] == "sync" {
			require.NotEmpty(t, r["ended_at"])
			own = append(own, fmt.Sprint(r["actions"], " by ", r["changed_by"], ", ended by ", r["ended_by"]))
		}
	}
	for _, i := range read[struct{ Identities []map[string]any }](t, do(ann, "GET", "/v1/access/identities?ended=true", "")).Identities {
		linked = append(linked, fmt.Sprint(i["email"], " is ", i["subject"], " by ", i["linked_by"], ", ended by ", i["ended_by"]))
	}
	require.Equal(t, []string{"[teams.get teams.reconcile] by bob, ended by ann", "[teams.get] by ann, ended by bob"}, own, "the newest first")
	require.Equal(t, []string{"mia@example.org is eve by bob, ended by ann", "mia@example.org is mia by ann, ended by bob"}, linked)
}

// Who holds a role for a time gives nothing that outlasts it, to themselves or to others.
func TestAccess_HeldForATime_IsNotGivenForLonger(t *testing.T) {
	s := start(t)
	ends := time.Now().Add(time.Hour).UTC()
	s.grant(`{"subject":"tim","role":"admin","reason":"incident","expires_at":"` + ends.Format(time.RFC3339) + `"}`)
	tim := s.token("tim")
	require.Eventually(t, func() bool { code, _, _ := s.call(t, "GET", "/v1/access/grants", tim, ""); return code == 200 }, 5*time.Second, 2*time.Millisecond)
	for _, subject := range []string{"tim", "friend"} {
		for name, expiry := range map[string]string{"for ever": "", "longer": `,"expires_at":"` + ends.Add(time.Minute).Format(time.RFC3339) + `"`} {
			code, body, _ := s.call(t, "POST", "/v1/access/grants", tim, `{"subject":"`+subject+`","role":"viewer","reason":"x"`+expiry+`}`)
			require.Equal(t, 403, code, name)
			require.Contains(t, body, "GRANT_EXCEEDS_OWN")
		}
	}
	code, body, _ := s.call(t, "POST", "/v1/access/grants", tim, `{"subject":"friend","role":"viewer","reason":"x","expires_at":"`+ends.Add(-time.Minute).Format(time.RFC3339)+`"}`)
	require.Equal(t, 200, code, body)
	for _, forGood := range [][2]string{{"/v1/access/roles/mine", `{"actions":["teams.get"]}`}, {"/v1/access/identities/ann@example.org", `{"subject":"tim"}`}} {
		code, body, _ = s.call(t, "PUT", forGood[0], tim, forGood[1])
		require.Equal(t, 403, code, body)
	}
}

// A role on one team is for what the source declares of it: by a name of the caller's own the target might find another's team.
func TestAccess_OnOneTeam_DoesNotSayWhatTheTeamIs(t *testing.T) {
	s := start(t)
	require.NoError(t, s.db.Declare(t.Context(), []ownership.Desired{{TeamID: "payments"}}))
	s.grant(`{"subject":"tim","role":"operator","team_id":"payments","reason":"x"}`)
	tim := s.token("tim")
	require.Eventually(t, func() bool { code, _, _ := s.call(t, "GET", "/v1/teams/payments", tim, ""); return code == 200 }, 5*time.Second, 2*time.Millisecond)
	const desired = `"desired":{"name":"Another team","members":[{"email":"tim@example.org"}]}`
	for path, body := range map[string]string{"/v1/teams/reconcile": `{"team_id":"payments",` + desired + `}`, "/v1/teams/payments:plan": `{` + desired + `}`} {
		code, answer, _ := s.call(t, "POST", path, tim, body)
		require.Equal(t, 403, code, answer)
		require.Contains(t, answer, "DESIRED_NOT_ALLOWED")
		code, answer, _ = s.call(t, "POST", path, s.token("olga", "nthlayer/operator"), body)
		require.Less(t, code, 300, answer)
	}
	code, answer, _ := s.call(t, "POST", "/v1/teams/reconcile", tim, `{"team_id":"payments"}`)
	require.Equal(t, 202, code, answer)
}
