package audits_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	pagerdutysim "github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// known is a fleet of which every team was read, and whose records have been read up to now.
func known(t *testing.T, teams int) *rig {
	r := start(t, fleet(teams))
	require.Equal(t, audit.Succeeded, r.whole(nil).Status)
	r.forgetCalls()
	return r
}

// three takes somebody out of each of three teams that were in sync.
func (r *rig) three(key string) (want []string) {
	r.t.Helper()
	for _, tag := range r.quiet()[:3] {
		userID, email, _ := r.unheld(tag)
		r.by(key, http.MethodDelete, "/teams/"+r.targets()[tag]+"/users/"+userID, "")
		want = append(want, tag+" add_member person:"+email)
	}
	return want
}

func TestIncremental_ThreeChanges_CostThreeReads(t *testing.T) {
	r := known(t, 220)
	before := r.findings(store.FindingOpen)
	changed := r.three(theirs)
	r.forgetCalls()
	a := r.whole(nil)
	require.Equal(t, audit.Incremental, a.Read, a.ReadReason)
	require.Equal(t, 3, r.calls()[memberReads])
	require.Equal(t, 1, r.calls()["GET /audit/records"])
	observed := r.org.Observed()
	lists := pages(len(observed.Teams)) + pages(len(observed.Users)) + pages(len(observed.Policies)) + pages(len(observed.Schedules))
	require.LessOrEqual(t, a.PagerDutyCalls, 3+1+lists)
	require.Equal(t, 3, a.ReadsDone)
	require.Equal(t, 3, a.ReadsTotal)
	require.Equal(t, 220, a.TeamsDone)
	require.Equal(t, 3, a.Report.Counts.New)
	want := slices.Concat(before, changed)
	slices.Sort(want)
	require.Equal(t, want, r.findings(store.FindingOpen))
	for _, f := range r.all(store.FindingOpen) {
		if slices.Contains(changed, f.TeamID+" "+f.Kind+" "+f.EntityRef) {
			require.Contains(t, f.ChangedBy, "person-00001", "the records say who it was")
			require.NotNil(t, f.ChangedAt)
		}
	}
	r.forgotten()
	r.forgetCalls()
	a = r.whole(nil)
	require.Zero(t, r.calls()[memberReads], "nothing has changed since")
	require.Zero(t, a.Report.Counts.New+a.Report.Counts.Resolved)
	r.onlyReads()
}

// Control: with the records hidden, nothing tells what changed, and every team is read.
func TestIncremental_RecordsHidden_IsAFullReadWithItsReason(t *testing.T) {
	for status, reason := range map[int]string{402: "PagerDuty's plan has no audit records", 403: "PagerDuty does not let this key read audit records"} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			r := known(t, 40)
			changed := r.three(theirs)
			r.forgetCalls()
			require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET /audit/records", Status: status}))
			for _, mode := range []string{audit.Auto, audit.Incremental} {
				r.forgetCalls()
				a := r.whole(func(request *store.AuditRequest) { request.Mode = mode })
				require.Equal(t, audit.Succeeded, a.Status)
				require.Equal(t, audit.Full, a.Read)
				require.Equal(t, reason, a.ReadReason)
				require.Equal(t, len(r.targets()), r.calls()[memberReads])
				require.Subset(t, r.findings(store.FindingOpen), changed)
			}
			a := r.whole(full)
			require.Empty(t, a.ReadReason, "it was asked for")
		})
	}
}

func TestIncremental_FullReadTooOld_IsFull(t *testing.T) {
	r := known(t, 8)
	require.Equal(t, audit.Incremental, r.whole(nil).Read)
	r.exec("UPDATE fleet SET full_read_at = now() - interval '2 days'")
	require.Equal(t, audit.Incremental, r.whole(nil).Read, "a week is the rule")
	daily := func(mode string) func(*store.AuditRequest) {
		return func(request *store.AuditRequest) { request.Mode, request.FullEvery = mode, 24*time.Hour }
	}
	require.Equal(t, audit.Incremental, r.whole(daily(audit.Incremental)).Read, "as it was asked for")
	a := r.whole(daily(audit.Auto))
	require.Equal(t, audit.Full, a.Read)
	require.Equal(t, "the last full read is older than 24h0m0s", a.ReadReason)
	require.Equal(t, audit.Incremental, r.whole(daily(audit.Auto)).Read)
}

func TestIncremental_LastAuditTooLongAgoForRecords_IsFull(t *testing.T) {
	r := known(t, 8)
	r.exec("UPDATE fleet SET records_until = now() - interval '32 days'")
	a := r.whole(nil)
	require.Equal(t, audit.Succeeded, a.Status, a.Summary)
	require.Equal(t, audit.Full, a.Read)
	require.Contains(t, a.ReadReason, "longer ago")
}

// What a run of ours did, it told; the records of our key cause no reads.
func TestIncremental_OurOwnChanges_CauseNoReads(t *testing.T) {
	r := known(t, 40)
	tag := r.quiet()[0]
	target := r.targets()[tag]
	userID, email, role := r.unheld(tag)
	missing := tag + " add_member person:" + email
	r.lag.Store(int64(10 * time.Minute))
	r.exec("UPDATE fleet SET records_until = now() - interval '15 minutes'")
	r.by(theirs, http.MethodDelete, "/teams/"+target+"/users/"+userID, "")
	r.whole(nil)
	require.Contains(t, r.findings(store.FindingOpen), missing)

	r.lag.Store(int64(behind)) // from now on, that record is over
	claim := r.run(tag)
	r.by(ours, http.MethodPut, "/teams/"+target+"/users/"+userID, `{"role":"`+role+`"}`)
	seen, err := r.client.Observe(t.Context(), target)
	require.NoError(t, err)
	require.NoError(t, claim.Finish(t.Context(), store.Ending{
		Status: store.Succeeded, Sync: ownership.InSync, Seen: &seen, Declared: &ownership.Desired{TeamID: tag},
		Mended: []ownership.Change{{Kind: ownership.AddMember, EntityRef: "person:" + email, UserID: userID}},
	}))
	require.NotContains(t, r.findings(store.FindingOpen), missing, "the run has mended it")
	r.forgetCalls()
	a := r.whole(nil)
	require.Equal(t, audit.Incremental, a.Read)
	require.Zero(t, r.calls()[memberReads])
	require.NotContains(t, r.findings(store.FindingOpen), missing)

	// Control: the same by somebody else causes a read.
	r.by(theirs, http.MethodDelete, "/teams/"+target+"/users/"+userID, "")
	r.forgetCalls()
	a = r.whole(nil)
	require.Equal(t, 1, r.calls()[memberReads])
	require.Contains(t, r.findings(store.FindingOpen), missing)
	require.Equal(t, 1, a.Report.Counts.Reopened)
}

// run claims a run of the team.
func (r *rig) run(tag string) *store.Claim {
	r.t.Helper()
	jobID, _, err := r.Accept(r.t.Context(), store.NewRun{
		Principal: "alice", RequestHash: []byte("x"), TeamID: tag, Request: store.Request{Source: "cortex"},
	})
	require.NoError(r.t, err)
	claim, err := r.Claim(r.t.Context(), jobID, store.Terms{Owner: "worker", Lease: time.Minute})
	require.NoError(r.t, err)
	return claim
}

// A touched team that a run did not see whole is read.
func TestIncremental_RunLeftATeamUnseen_ItIsRead(t *testing.T) {
	r := known(t, 8)
	tag := r.quiet()[0]
	require.NoError(t, r.run(tag).Finish(t.Context(), store.Ending{Status: store.DeadLettered, Sync: ownership.Unknown, Touched: r.targets()[tag]}))
	r.whole(nil)
	require.Equal(t, 1, r.calls()[memberReads])
}

func TestIncremental_AccountDeleted_TheirTeamsAreReadAndTheyAreMissed(t *testing.T) {
	r := known(t, 40)
	tag := r.quiet()[0]
	userID, email, _ := r.unheld(tag)
	teams := map[string]bool{}
	for _, team := range r.pagerduty.State().(pagerdutysim.State).Teams {
		for _, m := range team.Members {
			if m.UserID == userID {
				teams[team.ID] = true
			}
		}
	}
	declaring := 0
	for _, id := range r.targets() {
		if teams[id] {
			declaring++
		}
	}
	r.by(ours, http.MethodDelete, "/users/"+userID, "")
	r.forgetCalls()
	a := r.whole(nil)
	require.Equal(t, audit.Incremental, a.Read)
	require.Equal(t, declaring, r.calls()[memberReads])
	require.Contains(t, r.findings(store.FindingOpen), tag+" user_not_found person:"+email)
	require.NotContains(t, r.findings(store.FindingOpen), tag+" add_member person:"+email)
}

// Where the list of accounts cannot be read, the records alone tell that one is gone.
func TestIncremental_AccountDeletedAmongTooMany_IsMissedAllTheSame(t *testing.T) {
	r := start(t, org.Generate(org.GenerateOptions{Teams: 20, People: 10_200, Seed: 3, MembersMax: 6}))
	require.False(t, r.whole(nil).UsersListed)
	tag := r.quiet()[0]
	userID, email, _ := r.unheld(tag)
	r.by(ours, http.MethodDelete, "/users/"+userID, "")
	a := r.whole(nil)
	require.Equal(t, audit.Incremental, a.Read)
	require.Contains(t, r.findings(store.FindingOpen), tag+" user_not_found person:"+email)
	require.NotContains(t, r.findings(store.FindingOpen), tag+" add_member person:"+email)
}

// Another base role changes team roles without a record about the team.
func TestIncremental_BaseRoleChanged_TheirTeamsAreRead(t *testing.T) {
	r := known(t, 40)
	tag := r.quiet()[0]
	userID, email, _ := r.unheld(tag)
	r.by(ours, http.MethodPut, "/users/"+userID, `{"user":{"type":"user","name":"Boss","email":"`+email+`","role":"admin"}}`)
	r.forgetCalls()
	a := r.whole(nil)
	require.Equal(t, audit.Incremental, a.Read)
	require.Positive(t, r.calls()[memberReads])
	require.Less(t, r.calls()[memberReads], 10)
}

func TestIncremental_NewAndGoneTeams_AreSeenInTheLists(t *testing.T) {
	r := known(t, 40)
	gone := r.quiet()[0]
	r.by(theirs, http.MethodPost, "/teams", `{"team":{"type":"team","name":"made/by-hand"}}`)
	r.detach(gone)
	r.by(theirs, http.MethodDelete, "/teams/"+r.targets()[gone], "")
	r.whole(nil)
	open := r.findings(store.FindingOpen)
	require.Contains(t, open, gone+" create_team team:"+gone)
	orphans := 0
	for _, f := range r.all(store.FindingOpen) {
		if f.Kind == audit.OrphanTeam {
			orphans++
		}
	}
	require.Equal(t, 4, orphans)
	a := r.whole(func(request *store.AuditRequest) { request.IgnoreOrphans = []string{"MADE/*"} })
	require.Equal(t, 1, a.Report.Counts.Resolved)
}

// detach takes a team's policies away: PagerDuty deletes no team that has some.
func (r *rig) detach(tag string) {
	r.t.Helper()
	for _, p := range r.pagerduty.State().(pagerdutysim.State).Policies {
		if p.TeamID == r.targets()[tag] {
			r.by(ours, http.MethodDelete, "/teams/"+p.TeamID+"/escalation_policies/"+p.ID, "")
		}
	}
}
