package wire_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// shown is an audit as REST shows it.
type shown struct {
	AuditID     string `json:"audit_id"`
	Status      string
	RequestedBy string `json:"requested_by"`
	Mode        string
	Read        string
	Summary     string
	Progress    struct {
		Phase     string
		TeamsDone int    `json:"teams_done"`
		DoneBy    string `json:"done_by"`
	}
	Counts map[string]int
	Kinds  []map[string]any
	Error  struct{ Reason, Message string }
}

func read[T any](t *testing.T, body string) (into T) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(body), &into), body)
	return into
}

// startAudit asks for an audit over REST.
func (s *system) startAudit(who, body string, headers ...string) string {
	s.t.Helper()
	status, answer, header := s.call(s.t, "POST", "/v1/audits", s.token(who, "nthlayer/operator"), body, headers...)
	require.Equal(s.t, http.StatusAccepted, status, answer)
	id := read[struct {
		AuditID string `json:"audit_id"`
	}](s.t, answer).AuditID
	require.Equal(s.t, "/v1/audits/"+id, header.Get("Location"))
	return id
}

// snapshot takes an audit's snapshot: so many teams that PagerDuty has as well.
func (s *system) snapshot(id string, teams int) {
	s.t.Helper()
	ctx := s.t.Context()
	job, err := s.db.ClaimAuditJob(ctx, uuid.MustParse(id), store.SnapshotJob, "worker", time.Minute)
	require.NoError(s.t, err)
	var desired []ownership.Desired
	var listed []store.TargetTeam
	for n := range teams {
		name := fmt.Sprintf("team-%d", n)
		desired = append(desired, ownership.Desired{TeamID: name, Name: name, Members: []ownership.Member{}})
		listed = append(listed, store.TargetTeam{ID: "P" + name, Name: name})
	}
	require.NoError(s.t, job.Stage(ctx, desired))
	require.NoError(s.t, job.ListTargets(ctx, listed))
	require.NoError(s.t, job.EndSnapshot(ctx, store.Snapshot{Read: audit.Full, TargetsListed: true, UsersListed: true, Teams: teams, Calls: store.Calls{Cortex: 1}}))
	_, err = s.db.HandOut(ctx, uuid.MustParse(id), 1000, 2)
	require.NoError(s.t, err)
	_, err = s.db.HandOut(ctx, uuid.MustParse(id), 1000, 2)
	require.NoError(s.t, err)
}

// part does one part of an audit: each team has a finding of its own.
func (s *system) part(id string, no int) {
	s.t.Helper()
	job, err := s.db.ClaimAuditJob(s.t.Context(), uuid.MustParse(id), no, "worker", time.Minute)
	require.NoError(s.t, err)
	teams, err := job.Teams(s.t.Context())
	require.NoError(s.t, err)
	var audited []store.AuditedTeam
	for _, team := range teams {
		tag := team.Subject.Desired.TeamID
		audited = append(audited, store.AuditedTeam{
			Team: team, Status: ownership.OutOfSync, TargetID: "P" + tag, Read: []ownership.ObservedMember{},
			Findings: []audit.Finding{{TeamID: tag, Kind: "add_member", EntityRef: "person:" + tag + "@example.org", Message: "is missing", TargetID: "P" + tag}},
		})
	}
	_, err = job.Settle(s.t.Context(), audited, store.Calls{PagerDuty: len(teams)})
	require.NoError(s.t, err)
}

func (s *system) end(id string) {
	s.t.Helper()
	ended, err := s.db.EndAudit(s.t.Context(), uuid.MustParse(id), func(store.Audit, notice.AuditFinished) ([]store.Delivery, error) { return nil, nil })
	require.NoError(s.t, err)
	require.NotNil(s.t, ended)
}

func TestStartAudit_Accepted_IsDurableAndReachesTheQueue(t *testing.T) {
	s := start(t)
	id := s.startAudit("alice", `{"scope":{"include":["pay*"]},"mode":"full","accept_shrunken_source":true}`, "Idempotency-Key", "k",
		"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	a, err := s.db.Audit(t.Context(), uuid.MustParse(id))
	require.NoError(t, err)
	require.Equal(t, "alice", a.RequestedBy)
	require.Equal(t, store.AuditRequest{
		Scope: audit.Scope{Include: []string{"pay*"}}, Mode: audit.Full, AutoReconcile: audit.Observe, AcceptShrunken: true,
	}, a.Request)
	require.Contains(t, a.Trace["traceparent"], "0af7651916cd43dd8448eb211c80319c")
	require.Eventually(t, func() bool { return len(s.queue.State().Queues["audit.fifo"].Messages) == 1 }, 10*time.Second, 5*time.Millisecond)
	require.JSONEq(t, `{"audit_id":"`+id+`","job_no":0}`, s.queue.State().Queues["audit.fifo"].Messages[0].Body)

	status, body, _ := s.call(t, "GET", "/v1/audits/"+id, s.token("eve", "nthlayer/viewer"), "")
	require.Equal(t, http.StatusOK, status, body)
	is := read[shown](t, body)
	require.Equal(t, "queued", is.Status)
	require.Equal(t, "waiting", is.Progress.Phase)
	require.Equal(t, "full", is.Mode)
}

func TestStartAudit_SameKey_IsTheSameAudit(t *testing.T) {
	s := start(t)
	first := s.startAudit("alice", `{}`, "Idempotency-Key", "once")
	require.Equal(t, first, s.startAudit("alice", `{"mode":"auto","auto_reconcile":"observe"}`, "Idempotency-Key", "once"), "the same, said otherwise")
	status, body, _ := s.call(t, "POST", "/v1/audits", s.token("alice", "nthlayer/operator"), `{"mode":"full"}`, "Idempotency-Key", "once")
	require.Equal(t, http.StatusConflict, status)
	require.Contains(t, body, "IDEMPOTENCY_KEY_REUSED")
	require.NotEqual(t, first, s.startAudit("bob", `{}`, "Idempotency-Key", "once"), "another principal's key is another key")
	require.NotEqual(t, first, s.startAudit("alice", `{}`), "control: without a key each is one of its own")
	// A key that a run was started with is no audit's.
	status, _, _ = s.call(t, "POST", "/v1/teams/reconcile", s.token("alice", "nthlayer/operator"), `{"team_id":"a"}`, "Idempotency-Key", "of-a-run")
	require.Equal(t, http.StatusAccepted, status)
	status, body, _ = s.call(t, "POST", "/v1/audits", s.token("alice", "nthlayer/operator"), `{}`, "Idempotency-Key", "of-a-run")
	require.Equal(t, http.StatusConflict, status, body)
}

// Every route of audits and schedules, with who may take it.
func TestAccess_EachRole_MayWhatItShall(t *testing.T) {
	scheduler := &scheduler{}
	s := startAmong(t, peers{scheduler: scheduler.register})
	require.NoError(t, s.db.Declare(t.Context(), []ownership.Desired{{TeamID: "payments"}}))
	_, err := s.db.CreateSchedule(t.Context(), "nightly", store.ScheduleSettings{Cron: "@daily"}, time.Now().Add(time.Hour), "alice")
	require.NoError(t, err)
	nobody := uuid.NewString()
	until := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	const everybody, operators, admins = 0, 1, 2
	routes := []struct {
		method, path, body string
		who, status        int // status of those who may
	}{
		{"GET", "/v1/audits", "", everybody, 200},
		{"GET", "/v1/audits/" + nobody, "", everybody, 404},
		{"GET", "/v1/audits/" + nobody + ":watch", "", everybody, 404},
		{"GET", "/v1/audit-findings", "", everybody, 200},
		{"GET", "/v1/audit-findings/" + nobody, "", everybody, 404},
		{"GET", "/v1/schedules", "", everybody, 200},
		{"GET", "/v1/schedules/nightly", "", everybody, 200},
		{"GET", "/v1/schedules/nightly/next-runs", "", everybody, 200},
		{"GET", "/v1/schedules/nightly/preview", "", everybody, 400}, // it has no audit yet

		{"POST", "/v1/audits", `{}`, operators, 202},
		{"POST", "/v1/audits", `{"auto_reconcile":"enforce"}`, operators, 202},
		{"POST", "/v1/audits/" + nobody + ":cancel", `{}`, operators, 404},
		{"POST", "/v1/audit-findings/" + nobody + ":acknowledge", `{"reason":"x","until":"` + until + `"}`, operators, 404},
		{"POST", "/v1/audit-findings/" + nobody + ":reopen", `{}`, operators, 404},
		{"POST", "/v1/schedules/nightly:trigger", `{}`, operators, 200},
		{"POST", "/v1/schedules/nightly:pause", `{"reason":"x"}`, operators, 200},
		{"POST", "/v1/schedules/nightly:resume", `{}`, operators, 200},

		{"POST", "/v1/schedules", `{"schedule_id":"nightly","settings":{"cron":"@daily"}}`, admins, 200},
		{"PUT", "/v1/schedules/nightly", `{"settings":{"cron":"@daily"}}`, admins, 200},
		{"DELETE", "/v1/schedules/nightly", "", admins, 200},
		{"POST", "/v1/teams/payments:setAutoReconcile", `{"auto_reconcile":"enforce"}`, admins, 200},
	}
	for _, r := range routes {
		for level, scope := range []string{"nthlayer/viewer", "nthlayer/operator", "nthlayer/admin"} {
			status, body, _ := s.call(t, r.method, r.path, s.token("somebody", scope), r.body)
			want := r.status
			if level < r.who {
				want = http.StatusForbidden
			}
			require.Equal(t, want, status, "%s %s as %s: %s", r.method, r.path, scope, body)
		}
		status, _, _ := s.call(t, r.method, r.path, "", r.body)
		require.Equal(t, http.StatusUnauthorized, status, r.path)
		status, _, _ = s.call(t, r.method, r.path, s.token("somebody"), r.body)
		require.Equal(t, http.StatusForbidden, status, r.path)
	}
	methods := len(nthlayerv1.AuditService_ServiceDesc.Methods) + len(nthlayerv1.AuditService_ServiceDesc.Streams) + len(nthlayerv1.ScheduleService_ServiceDesc.Methods)
	require.Len(t, routes, methods+2, "every RPC is here, one twice, and one of a team")
}

// Who may not have a team reconciled does not get it done by way of an audit.
func TestEnforce_WithoutTheRightToReconcile_IsRefused(t *testing.T) {
	scheduler := &scheduler{}
	s := startAmong(t, peers{scheduler: scheduler.register})
	require.NoError(t, s.db.Declare(t.Context(), []ownership.Desired{{TeamID: "payments"}}))
	_, err := s.db.CreateSchedule(t.Context(), "enforcing", store.ScheduleSettings{Cron: "@daily", AutoReconcile: "enforce"}, time.Now().Add(time.Hour), "alice")
	require.NoError(t, err)
	for _, verb := range []string{"trigger", "resume"} {
		path, scope := "/v1/schedules/enforcing:"+verb, "nthlayer/schedules."+verb
		status, body, _ := s.call(t, "POST", path, s.token("bob", scope), `{}`)
		require.Equal(t, http.StatusForbidden, status, body)
		status, body, _ = s.call(t, "POST", path, s.token("bob", scope, "nthlayer/teams.reconcile"), `{}`)
		require.Equal(t, http.StatusOK, status, body)
	}
	for _, r := range []struct{ method, path, action, body string }{
		{"POST", "/v1/audits", "audits.start", `{"auto_reconcile":"%s"}`},
		{"POST", "/v1/schedules", "schedules.create", `{"schedule_id":"x","settings":{"cron":"@daily","auto_reconcile":"%s"}}`},
		{"PUT", "/v1/schedules/x", "schedules.update", `{"settings":{"cron":"@daily","auto_reconcile":"%s"}}`},
		{"POST", "/v1/teams/payments:setAutoReconcile", "teams.set_auto_reconcile", `{"auto_reconcile":"%s"}`},
	} {
		alone, both := s.token("bob", "nthlayer/"+r.action), s.token("bob", "nthlayer/"+r.action, "nthlayer/teams.reconcile")
		status, body, _ := s.call(t, r.method, r.path, alone, fmt.Sprintf(r.body, "enforce"))
		require.Equal(t, http.StatusForbidden, status, body)
		require.Contains(t, body, "teams.reconcile")
		status, body, _ = s.call(t, r.method, r.path, alone, fmt.Sprintf(r.body, "observe"))
		require.Less(t, status, 300, body)
		status, body, _ = s.call(t, r.method, r.path, both, fmt.Sprintf(r.body, "enforce"))
		require.Less(t, status, 300, body)
	}
	for _, asked := range scheduler.asked() {
		require.Equal(t, "bob", asked.who)
	}
	require.Len(t, scheduler.asked(), 6, "what was refused did not get there")
}

func TestWatchAudit_StreamsUpToTheEnd(t *testing.T) {
	s := start(t)
	id := s.startAudit("alice", `{}`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.rest+"/v1/audits/"+id+":watch", http.NoBody)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+s.token("eve", "nthlayer/viewer"))
	response, err := s.http.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	lines := bufio.NewScanner(response.Body)
	// until reads lines up to one in which the audit is so.
	until := func(is func(shown) bool) shown {
		t.Helper()
		for lines.Scan() {
			if text := strings.TrimSpace(lines.Text()); text != "" {
				line := read[struct{ Result shown }](t, text)
				require.Equal(t, id, line.Result.AuditID)
				if is(line.Result) {
					return line.Result
				}
			}
		}
		require.FailNow(t, "the stream ended", "%v", lines.Err())
		return shown{}
	}
	phase := func(name string) func(shown) bool { return func(a shown) bool { return a.Progress.Phase == name } }
	until(phase("waiting"))
	s.snapshot(id, 4)
	until(phase("teams"))
	s.part(id, 1)
	half := until(func(a shown) bool { return a.Progress.TeamsDone == 2 })
	require.Equal(t, "running", half.Status)
	require.NotEmpty(t, half.Progress.DoneBy, "half is done, so there is an end in sight")
	s.part(id, 2)
	s.end(id)
	done := until(phase("ended"))
	require.Equal(t, "succeeded", done.Status)
	require.Equal(t, 4, done.Counts["new"])
	require.Equal(t, "add_member", done.Kinds[0]["kind"])
	require.False(t, lines.Scan(), "nothing comes after the end")
	require.NoError(t, lines.Err())

	var statuses []string
	for a, err := range s.client("eve", "nthlayer/viewer").WatchAudit(t.Context(), id) { // of one that has ended
		require.NoError(t, err)
		statuses = append(statuses, a.GetStatus())
	}
	require.Equal(t, []string{"succeeded"}, statuses)
}

func TestCancelAudit_UnderWay_IsAskedForOnce(t *testing.T) {
	s := start(t)
	id := s.startAudit("alice", `{}`)
	operator := s.token("bob", "nthlayer/operator")
	for range 2 {
		status, body, _ := s.call(t, "POST", "/v1/audits/"+id+":cancel", operator, `{}`)
		require.Equal(t, http.StatusOK, status, body)
	}
	s.end(id)
	status, body, _ := s.call(t, "POST", "/v1/audits/"+id+":cancel", s.token("carol", "nthlayer/operator"), `{}`)
	require.Equal(t, http.StatusOK, status, body)
	is := read[shown](t, body)
	require.Equal(t, "canceled", is.Status)
	require.Equal(t, "canceled by bob", is.Error.Message, "by who was first")

	other := s.startAudit("alice", `{}`)
	s.snapshot(other, 0)
	s.end(other)
	status, body, _ = s.call(t, "POST", "/v1/audits/"+other+":cancel", operator, `{}`)
	require.Equal(t, http.StatusBadRequest, status, body)
	require.Contains(t, body, "AUDIT_ENDED")
}

func TestListAudits_PagesAndFilters(t *testing.T) {
	s := start(t)
	var want []string
	for range 7 {
		want = append(want, s.startAudit("alice", `{}`))
	}
	slices.Reverse(want)
	c := s.client("eve", "nthlayer/viewer")
	var ids []string
	for a, err := range c.ListAudits(t.Context(), &nthlayerv1.ListAuditsRequest{PageSize: 3}) {
		require.NoError(t, err)
		ids = append(ids, a.GetAuditId())
	}
	require.Equal(t, want, ids, "newest first, none twice, none left out")
	s.snapshot(want[0], 0)
	s.end(want[0])
	for query, n := range map[string]int{"status=succeeded": 1, "status=queued": 6, "status=failed": 0, "schedule_id=nightly": 0} {
		status, body, _ := s.call(t, "GET", "/v1/audits?"+query, s.token("eve", "nthlayer/viewer"), "")
		require.Equal(t, http.StatusOK, status, body)
		require.Len(t, read[struct{ Audits []shown }](t, body).Audits, n, query)
	}
}

func TestAuditFindings_ListAcknowledgeReopen(t *testing.T) {
	s := start(t)
	id := s.startAudit("alice", `{}`)
	s.snapshot(id, 7)
	for no := range 4 {
		s.part(id, no+1)
	}
	s.end(id)
	c := s.client("eve", "nthlayer/viewer")
	var findings []*nthlayerv1.AuditFinding
	for f, err := range c.ListAuditFindings(t.Context(), &nthlayerv1.ListAuditFindingsRequest{PageSize: 3, AuditId: id}) {
		require.NoError(t, err)
		findings = append(findings, f)
	}
	require.Len(t, findings, 7)
	viewer, operator := s.token("eve", "nthlayer/viewer"), s.token("bob", "nthlayer/operator")
	count := func(query url.Values) int {
		status, body, _ := s.call(t, "GET", "/v1/audit-findings?"+query.Encode(), viewer, "")
		require.Equal(t, http.StatusOK, status, body)
		return len(read[struct{ Findings []any }](t, body).Findings)
	}
	one := findings[0]
	path := "/v1/audit-findings/" + one.GetFindingId()
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	status, body, _ := s.call(t, "POST", path+":acknowledge", operator, `{"reason":"on leave","until":"`+until.Format(time.RFC3339)+`"}`)
	require.Equal(t, http.StatusOK, status, body)
	status, body, _ = s.call(t, "GET", path, viewer, "")
	require.Equal(t, http.StatusOK, status, body)
	is := read[map[string]any](t, body)
	require.Equal(t, "acknowledged", is["status"])
	require.Equal(t, "bob", is["acknowledged_by"])
	require.Equal(t, "on leave", is["acknowledge_reason"])
	require.Equal(t, until.Format(time.RFC3339), is["acknowledged_until"])
	require.Equal(t, 1, count(url.Values{"status": {"acknowledged"}}))
	require.Equal(t, 6, count(url.Values{"status": {"open"}}))
	require.Equal(t, 1, count(url.Values{"team_id": {one.GetTeamId()}}))
	require.Equal(t, 7, count(url.Values{"kind": {"add_member"}}))
	require.Equal(t, 0, count(url.Values{"kind": {"remove_member"}}))
	require.Equal(t, 0, count(url.Values{"audit_id": {uuid.NewString()}}))

	for range 2 {
		status, body, _ = s.call(t, "POST", path+":reopen", operator, `{}`)
		require.Equal(t, http.StatusOK, status, body)
		require.Equal(t, "open", read[map[string]any](t, body)["status"])
	}

	again := s.startAudit("alice", `{}`)
	s.snapshot(again, 7)
	job, err := s.db.ClaimAuditJob(t.Context(), uuid.MustParse(again), 1, "worker", time.Minute)
	require.NoError(t, err)
	teams, err := job.Teams(t.Context())
	require.NoError(t, err)
	_, err = job.Settle(t.Context(), []store.AuditedTeam{{Team: teams[0], Status: ownership.InSync, TargetID: "P" + teams[0].Subject.Desired.TeamID, Read: []ownership.ObservedMember{}}}, store.Calls{})
	require.NoError(t, err)
	resolved, err := s.db.AuditFindings(t.Context(), store.AuditFindingFilter{Status: store.FindingResolved, Limit: 10})
	require.NoError(t, err)
	require.Len(t, resolved, 1)
	status, body, _ = s.call(t, "POST", "/v1/audit-findings/"+resolved[0].FindingID.String()+":acknowledge", operator, `{"reason":"x","until":"`+until.Format(time.RFC3339)+`"}`)
	require.Equal(t, http.StatusBadRequest, status, body)
	require.Contains(t, body, "FINDING_RESOLVED")
}

func TestAudits_BadInput_IsRefusedWithTheField(t *testing.T) {
	s := start(t)
	admin := s.token("alice", "nthlayer/admin")
	for range 2 {
		s.startAudit("alice", `{}`)
	}
	_, body, _ := s.call(t, "GET", "/v1/audits?page_size=1", admin, "")
	page := read[struct {
		Token string `json:"next_page_token"`
	}](t, body).Token
	require.NotEmpty(t, page)
	id := uuid.NewString()
	ack := func(reason, until string) string { return `{"reason":"` + reason + `","until":"` + until + `"}` }
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	for name, tc := range map[string]struct{ method, path, body, field string }{
		"mode":                     {"POST", "/v1/audits", `{"mode":"quick"}`, "mode"},
		"auto_reconcile":           {"POST", "/v1/audits", `{"auto_reconcile":"yes"}`, "auto_reconcile"},
		"scope":                    {"POST", "/v1/audits", `{"scope":{"exclude":["a b"]}}`, "scope.exclude[0]"},
		"unknown field":            {"POST", "/v1/audits", `{"force":true}`, "force"},
		"no uuid":                  {"GET", "/v1/audits/17", "", "audit_id"},
		"no uuid to watch":         {"GET", "/v1/audits/17:watch", "", "audit_id"},
		"no uuid to cancel":        {"POST", "/v1/audits/17:cancel", `{}`, "audit_id"},
		"no uuid of a finding":     {"GET", "/v1/audit-findings/17", "", "finding_id"},
		"status":                   {"GET", "/v1/audits?status=done", "", "status"},
		"schedule":                 {"GET", "/v1/audits?schedule_id=A", "", "schedule_id"},
		"page size":                {"GET", "/v1/audits?page_size=1001", "", "page_size"},
		"token made up":            {"GET", "/v1/audits?page_token=AAAA", "", "page_token"},
		"token of another list":    {"GET", "/v1/audit-findings?page_token=" + page, "", "page_token"},
		"token of another query":   {"GET", "/v1/audits?status=queued&page_token=" + page, "", "page_token"},
		"finding's kind":           {"GET", "/v1/audit-findings?kind=Add", "", "kind"},
		"finding's audit":          {"GET", "/v1/audit-findings?audit_id=17", "", "audit_id"},
		"until in the past":        {"POST", "/v1/audit-findings/" + id + ":acknowledge", ack("x", at(-time.Minute)), "until"},
		"until in two years":       {"POST", "/v1/audit-findings/" + id + ":acknowledge", ack("x", at(2*366*24*time.Hour)), "until"},
		"until left out":           {"POST", "/v1/audit-findings/" + id + ":acknowledge", `{"reason":"x"}`, "until"},
		"until in words":           {"POST", "/v1/audit-findings/" + id + ":acknowledge", ack("x", "tomorrow"), "until"},
		"no reason":                {"POST", "/v1/audit-findings/" + id + ":acknowledge", ack("", at(time.Hour)), "reason"},
		"schedule's id":            {"GET", "/v1/schedules/Nightly", "", "schedule_id"},
		"schedule without cron":    {"POST", "/v1/schedules", `{"schedule_id":"x","settings":{}}`, "settings.cron"},
		"too many next runs":       {"GET", "/v1/schedules/x/next-runs?count=101", "", "count"},
		"team's auto_reconcile":    {"POST", "/v1/teams/a:setAutoReconcile", `{"auto_reconcile":"x"}`, "auto_reconcile"},
		"pause without a reason":   {"POST", "/v1/schedules/x:pause", `{}`, "reason"},
		"negative revision":        {"PUT", "/v1/schedules/x", `{"settings":{"cron":"@daily"},"revision":"-1"}`, "revision"},
		"another id in the body":   {"PUT", "/v1/schedules/x", `{"schedule_id":"y","settings":{"cron":"@daily"}}`, "schedule_id"},
		"trigger in an odd manner": {"POST", "/v1/schedules/x:trigger", `{"mode":"x"}`, "mode"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body, _ := s.call(t, tc.method, tc.path, admin, tc.body)
			require.Equal(t, http.StatusBadRequest, status, body)
			require.Contains(t, body, `"`+tc.field+`"`)
		})
	}
}
