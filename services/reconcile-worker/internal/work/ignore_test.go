package work_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// ignore makes a rule of the team.
func (r *rig) ignore(kind ownership.IgnoreKind, value string) store.IgnoreRule {
	r.t.Helper()
	rule, err := r.store.CreateIgnoreRule(r.t.Context(), ownership.IgnoreRule{
		TeamID: team, Kind: kind, Value: value, Reason: "kept by hand", Owner: "sre@example.org",
	}, "bob")
	require.NoError(r.t, err)
	return rule
}

func (r *rig) status() ownership.SyncStatus {
	r.t.Helper()
	have, err := r.store.Team(r.t.Context(), team)
	require.NoError(r.t, err)
	return have.SyncStatus
}

// notice is what is told of a run.
func (r *rig) notice(id uuid.UUID) (n notice.RunFinished) {
	r.t.Helper()
	var payload []byte
	require.NoError(r.t, r.db.QueryRow(r.t.Context(), "SELECT payload FROM deliveries WHERE job_id = $1", id).Scan(&payload))
	require.NoError(r.t, json.Unmarshal(payload, &n))
	return n
}

func TestHandle_IgnoredPeople_AreNeitherRemovedNorAdded_UntilTheRulesExpire(t *testing.T) {
	r := start(t, nil)
	dan := r.ignore(ownership.IgnorePerson, "Dan@Example.org")
	_, benID := r.account("ben")
	r.ignore(ownership.IgnorePerson, benID)

	id := r.accept()
	r.handle(id)
	run := r.run(id)
	require.Equal(t, store.Succeeded, run.Status, run.ErrorMessage)
	require.Equal(t, "1 member added; 2 differences ignored", run.Summary)
	require.Equal(t, map[string]string{"ann": "manager", "cem": "responder", "dan": "responder"}, r.members())
	require.Equal(t, ownership.InSync, r.status(), "what is ignored is no drift")
	require.Equal(t, []string{"add_member cem applied", "add_member ben ignored", "remove_member dan ignored"}, r.trail(id))
	entries, err := r.store.Findings(t.Context(), store.FindingFilter{JobID: id, Limit: 100})
	require.NoError(t, err)
	require.Contains(t, entries[2].Message, "kept by hand (rule "+dan.ID+", ask sre@example.org)")
	require.JSONEq(t, `{"email":"dan@example.org","role":"responder"}`, string(entries[2].Before))

	told := r.notice(id)
	require.Len(t, told.Ignored, 2)
	require.Equal(t, "dan@example.org", told.Ignored[1].Who)
	require.Equal(t, dan.ID, told.Ignored[1].RuleID)

	id = r.accept() // nothing but what is ignored: nothing to do, and nobody is told
	r.handle(id)
	require.Equal(t, "nothing to do; 2 differences ignored", r.run(id).Summary)
	require.Equal(t, 1, r.told())

	r.exec("UPDATE ignore_rules SET expires_at = now()")
	id = r.accept()
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, declared, r.members())
	require.Equal(t, []string{"add_member ben applied", "remove_member dan applied"}, r.trail(id))
}

// Whose arrival is ignored does not make it safe that the others leave: the rules look at the team as it would be.
func TestHandle_IgnoredArrival_WouldEmptyTheTeam_IsDenied(t *testing.T) {
	for name, c := range map[string]struct {
		ignored string
		status  string
		members map[string]string
	}{
		"the only one to come is ignored":   {"ben@example.org", store.Failed, map[string]string{"ann": "manager", "dan": "responder"}},
		"control: somebody else is ignored": {"cem@example.org", store.Succeeded, map[string]string{"ben": "responder"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, nil)
			r.declare(`"maintainers":["ann"],"members":["ben","cem"]`, `"maintainers":[],"members":["ben"]`)
			r.ignore(ownership.IgnorePerson, c.ignored)
			id := r.accept()
			r.handle(id)
			run := r.run(id)
			require.Equal(t, c.status, run.Status, run.ErrorMessage)
			if c.status == store.Failed {
				require.Equal(t, "PLAN_DENIED", run.ErrorReason)
			}
			require.Equal(t, c.members, r.members())
		})
	}
}

// Nobody wants to hear of ben, who has no account: dan may be ben all the same.
func TestHandle_IgnoredPersonHasNoAccount_NobodyIsRemoved(t *testing.T) {
	r := start(t, nil)
	_, benID := r.account("ben")
	request := httptest.NewRequest(http.MethodDelete, "/users/"+benID, nil)
	request.Header.Set("Authorization", "Token token="+token)
	answer := httptest.NewRecorder()
	r.pagerduty.ServeHTTP(answer, request)
	require.Less(t, answer.Code, 300, answer.Body.String())
	r.ignore(ownership.IgnorePerson, "ben@example.org")

	id := r.accept()
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Contains(t, r.members(), "dan")
	require.Equal(t, []string{"add_member cem applied", "removal_held dan reported", "user_not_found ben ignored"}, r.trail(id))
	require.Equal(t, ownership.OutOfSync, r.status())
}

// What people want to be left alone is not known: nothing is done.
func TestHandle_IgnoreRulesCannotBeRead_NothingIsChanged(t *testing.T) {
	r := start(t, nil)
	r.exec("ALTER TABLE ignore_rules RENAME TO away")
	id := r.accept()
	for range 3 {
		r.due()
		r.handle(id)
	}
	require.NotEqual(t, store.Succeeded, r.run(id).Status)
	require.Empty(t, applied(r.trail(id)))
	require.Equal(t, map[string]string{"ann": "manager", "dan": "responder"}, r.members())

	r.exec("ALTER TABLE away RENAME TO ignore_rules")
	id = r.accept()
	r.handle(id)
	require.Equal(t, declared, r.members(), "control: with the rules")
}

func TestHandle_IgnoredTeam_IsLeftAlone(t *testing.T) {
	r := start(t, nil)
	r.ignore(ownership.IgnoreTeam, team)
	id := r.accept()
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	require.Equal(t, map[string]string{"ann": "manager", "dan": "responder"}, r.members())
	require.Equal(t, []string{"add_member ben ignored", "add_member cem ignored", "remove_member dan ignored"}, r.trail(id))
}

// An approval is of what people saw. A rule that comes or goes meanwhile makes another plan.
func TestHandle_RuleComesOrGoesWhileThePlanWaits_AsksAgain(t *testing.T) {
	for name, c := range map[string]struct {
		before, change func(r *rig)
		members        map[string]string
	}{
		"it comes": {
			func(*rig) {}, func(r *rig) { r.ignore(ownership.IgnorePerson, "dan@example.org") },
			map[string]string{"ann": "manager", "ben": "responder", "cem": "responder", "dan": "responder"},
		},
		"it goes": {
			func(r *rig) { r.ignore(ownership.IgnorePerson, "dan@example.org") }, func(r *rig) { r.exec("UPDATE ignore_rules SET expires_at = now()") },
			declared,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := startProtected(t)
			c.before(r)
			id, hash := r.awaiting()
			c.change(r)
			r.approve(id, hash, "bob")
			r.handle(id)
			again := r.waits(id)
			require.NotEqual(t, hash, again)
			require.Equal(t, untouched, r.members())
			r.approve(id, again, "bob")
			r.handle(id)
			require.Equal(t, store.Succeeded, r.run(id).Status)
			require.Equal(t, c.members, r.members())
		})
	}
}

// What a run left alone is not undone with it.
func TestHandle_RollbackOfARunThatIgnored_UndoesWhatItDid(t *testing.T) {
	r := start(t, nil)
	r.ignore(ownership.IgnorePerson, "dan@example.org")
	id := r.accept()
	r.handle(id)
	require.Equal(t, store.Succeeded, r.run(id).Status)
	undo := r.ask(store.Request{RollbackOf: id.String()})
	require.Equal(t, store.Succeeded, r.run(undo).Status, r.run(undo).ErrorMessage)
	require.Equal(t, untouched, r.members())
	require.Equal(t, []string{"remove_member ben applied", "remove_member cem applied"}, r.trail(undo))
}
