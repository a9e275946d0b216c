package store_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// known lists the target teams whose members are known.
func (w *world) known(t *testing.T) string {
	t.Helper()
	var list string
	require.NoError(t, w.db.QueryRow(t.Context(), "SELECT coalesce(string_agg(target_id, ' ' ORDER BY target_id), '') FROM target_teams WHERE members_at IS NOT NULL").Scan(&list))
	return list
}

// mirrored is a world whose target is known whole: three teams, of ann and bob, bob and cid, and cid and dan.
func mirrored(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	for team, people := range map[string][]string{"a": {"ann", "bob"}, "b": {"bob", "cid"}, "c": {"cid", "dan"}} {
		w.declare(team, people...)
		w.put("P"+team, team, people...)
	}
	w.run(t, observing)
	require.Equal(t, "Pa Pb Pc", w.known(t))
	return w
}

func (w *world) snapshotJob(t *testing.T) *store.AuditJob {
	t.Helper()
	return claimPart(t, w.s, newAudit(t, w.s, observing), store.SnapshotJob)
}

func everybody() (users []ownership.User) {
	for _, name := range []string{"ann", "bob", "cid", "dan"} {
		users = append(users, account(name))
	}
	return users
}

func TestKnowUsers_BaseRoleChanged_TheirTeamsAreToBeRead(t *testing.T) {
	w := mirrored(t)
	j := w.snapshotJob(t)
	users := everybody()
	users[0].Email, users[0].Name = "Ann@New.example.org", "Ann"
	require.NoError(t, j.KnowUsers(t.Context(), append(users, users[0])))
	require.Equal(t, "Pa Pb Pc", w.known(t), "an address is no role")
	found, err := w.s.FindTargetUsers(t.Context(), []string{"ann@new.example.org"})
	require.NoError(t, err)
	require.Equal(t, users[:1], found)

	users[1].Base = ownership.BaseAdmin // bob is a manager everywhere now, and no record of a team says so
	require.NoError(t, j.KnowUsers(t.Context(), users))
	require.Equal(t, "Pc", w.known(t))
	require.NoError(t, j.KnowUsers(t.Context(), nil))
	require.Equal(t, "Pc", w.known(t))
}

func TestForgetUsers_VanishedUser_TheirTeamsAreToBeRead(t *testing.T) {
	w := mirrored(t)
	j := w.snapshotJob(t)
	require.NoError(t, j.ForgetUsers(t.Context(), []string{"Uann", "Ubob", "Ucid", "Udan", "Unew"}))
	require.Equal(t, "Pa Pb Pc", w.known(t))
	require.NoError(t, j.ForgetUsers(t.Context(), []string{"Ubob", "Ucid", "Udan"}))
	require.Equal(t, "Pb Pc", w.known(t))
	require.Equal(t, 3, count(t, w.db, "SELECT count(*) FROM target_users"))
	require.NoError(t, j.ForgetUsers(t.Context(), nil))
	require.Empty(t, w.known(t))
	require.Zero(t, count(t, w.db, "SELECT count(*) FROM target_users"))
}

func TestListTargets_Whole_TeamsThatAreGoneGoWithTheirMembers(t *testing.T) {
	w := mirrored(t)
	j := w.snapshotJob(t)
	listed := []store.TargetTeam{{ID: "Pb", Name: "b"}, {ID: "Pa", Name: "renamed  a", Description: "x"}, {ID: "Pd", Name: "d"}}
	exec(t, w.db, "UPDATE target_teams SET met_at = now() WHERE target_id = 'Pc'")
	require.NoError(t, j.ListTargets(t.Context(), listed))
	require.Equal(t, "Pa Pb Pc", w.known(t), "what a run has just made may not be listed yet")
	exec(t, w.db, "UPDATE target_teams SET met_at = now() - interval '1 hour'")
	require.NoError(t, j.ListTargets(t.Context(), listed))
	require.Equal(t, "Pa Pb", w.known(t), "another name is no other member")
	require.Equal(t, 4, count(t, w.db, "SELECT count(*) FROM target_members"))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_teams WHERE target_id = 'Pa' AND name_key = 'renamed a' AND description = 'x'"))
	ids, err := j.TargetIDs(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"Pa", "Pb", "Pd"}, ids)
	require.NoError(t, j.ListTargets(t.Context(), nil))
	require.Zero(t, count(t, w.db, "SELECT count(*) FROM target_teams"))
	require.Zero(t, count(t, w.db, "SELECT count(*) FROM target_members"))
}

// recent is a moment, as exact as PostgreSQL keeps one.
func recent(ago time.Duration) time.Time {
	return time.Now().Add(-ago).UTC().Truncate(time.Microsecond)
}

func TestChanged_MovesOnAndDistrusts_InOneTransaction(t *testing.T) {
	w := mirrored(t)
	j := w.snapshotJob(t)
	until := recent(time.Minute)
	take := func() error {
		return j.Changed(t.Context(), store.Records{Until: until, Changes: []store.TargetChange{
			{TargetID: "Pa", UserID: "Ubob", Actor: "new", At: recent(2 * time.Minute)}, {TargetID: "Pa", UserID: "Ubob", Actor: "old", At: recent(time.Hour)},
			{TargetID: "Pa", Actor: "long ago", At: recent(40 * 24 * time.Hour)},
		}, Targets: []string{"Pa", "Punknown"}, Users: []string{"Udan"}})
	}
	exec(t, w.db, `CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'crash'; END $$;
		CREATE TRIGGER crash BEFORE UPDATE OF records_until ON fleet FOR EACH ROW EXECUTE FUNCTION crash()`)
	before := everything(t, w)
	require.Error(t, take())
	require.Equal(t, before, everything(t, w), "records that were not passed over come again")
	exec(t, w.db, "DROP TRIGGER crash ON fleet")

	require.NoError(t, take())
	require.Equal(t, "Pb", w.known(t), "Pa is named, and dan is in Pc")
	have, err := w.s.Fleet(t.Context())
	require.NoError(t, err)
	require.True(t, until.Equal(*have.RecordsUntil))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_records"))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_records WHERE target_id = 'Pa' AND user_id = 'Ubob' AND actor = 'new'"))

	require.NoError(t, j.Changed(t.Context(), store.Records{
		Until: until.Add(-time.Hour), Changes: []store.TargetChange{{TargetID: "Pa", UserID: "Ubob", Actor: "older", At: recent(time.Hour)}},
	}))
	require.Equal(t, 1, count(t, w.db, "SELECT count(*) FROM target_records WHERE actor = 'new'"), "the last change counts")
	again, err := w.s.Fleet(t.Context())
	require.NoError(t, err)
	require.Equal(t, have.RecordsUntil, again.RecordsUntil, "what was read stays read")
	require.Equal(t, "Pb", w.known(t))
}

func TestChanged_WhoMadeItSo_StandsInTheFinding(t *testing.T) {
	w := mirrored(t)
	eve, joe, zoe := recent(3*time.Hour), recent(2*time.Hour), recent(time.Hour)
	w.put("Pa", "a", "ann", "eve")     // bob removed, eve added
	w.put("Pb", "was b", "bob", "cid") // renamed
	w.link(t, "b", "Pb")
	w.put("Pc", "c", "cid")
	for i := range w.declared {
		if w.declared[i].TeamID == "c" {
			w.declared[i].Members[1].Email = "x@nowhere"
		}
	}
	id := newAudit(t, w.s, observing)
	j := w.stage(t, id)
	require.NoError(t, j.Changed(t.Context(), store.Records{Until: time.Now(), Changes: []store.TargetChange{
		{TargetID: "Pa", UserID: "Ubob", Actor: "eve (browser)", At: eve}, {TargetID: "Pa", UserID: "Ueve", Actor: "joe", At: joe},
		{TargetID: "Pb", Actor: "zoe", At: zoe}, {TargetID: "Pc", Actor: "zoe", At: zoe}, {TargetID: "Pc", UserID: "Ucid", Actor: "joe", At: joe},
	}, Targets: []string{"Pa", "Pb", "Pc"}}))
	w.endSnapshot(t, j, audit.Incremental)
	w.teams(t, id)
	for what, want := range map[[2]string]struct {
		by string
		at time.Time
	}{
		{"a", "add_member"}: {"eve (browser)", eve}, {"a", "remove_member"}: {"joe", joe}, {"b", "update_team"}: {"zoe", zoe},
	} {
		f := w.finding(t, what[0], what[1])
		require.Equal(t, want.by, f.ChangedBy, what)
		require.True(t, want.at.Equal(*f.ChangedAt), what)
	}
	// Who renamed a team, or let the last one in, did not make these so.
	for _, kind := range []string{"user_not_found", audit.SinglePersonTeam} {
		f := w.finding(t, "c", kind)
		require.Empty(t, f.ChangedBy, kind)
		require.Nil(t, f.ChangedAt)
	}
	require.Equal(t, "eve (browser)", w.end(t, id).Report.New[0].ChangedBy)
	exec(t, w.db, "DELETE FROM target_records")
	w.run(t, observing)
	require.Equal(t, "joe", w.finding(t, "a", "remove_member").ChangedBy, "also when nobody has the record any more")
}

func TestKnowRotations_ReplacesWhatWasKnown(t *testing.T) {
	w := mirrored(t)
	w.put("Pa", "a", "ann", "bob", "cid", "dan")
	j := w.snapshotJob(t)
	require.NoError(t, j.KnowRotations(t.Context(), map[string]ownership.Rotation{"Pa": {"Ucid": {"EP1", "EP2"}, "Udan": {"EP3"}}, "Pz": {"Uann": {"EP1"}}}))
	require.NoError(t, j.KnowRotations(t.Context(), map[string]ownership.Rotation{"Pa": {"Ucid": {"EP1"}}}))
	w.settle(t, w.part(t, observing, audit.Full))
	require.Equal(t, []string{"open a on_escalation_policy person:cid@example.org", "open a remove_member person:dan@example.org"}, w.findings(t))
	require.NoError(t, j.KnowRotations(t.Context(), nil))
	require.Zero(t, count(t, w.db, "SELECT count(*) FROM target_rotations"))
}

// Snapshots of several audits at once write what is known of the whole target one after the other.
func TestSnapshots_AtOnce_AllEnd(t *testing.T) {
	w := mirrored(t)
	rotations := map[string]ownership.Rotation{}
	var changes []store.TargetChange
	for _, id := range strings.Fields("Pa Pb Pc Pd Pe Pf") {
		rotations[id] = ownership.Rotation{"Uann": {"EP1"}, "Ubob": {"EP1"}}
		changes = append(changes, store.TargetChange{TargetID: id, UserID: "Uann", Actor: "x", At: recent(0)})
	}
	var all sync.WaitGroup
	for range 6 {
		j := w.snapshotJob(t)
		all.Go(func() {
			for range 10 {
				if err := j.KnowRotations(t.Context(), rotations); err != nil {
					t.Error(err)
				}
				if err := j.Changed(t.Context(), store.Records{Until: recent(0), Changes: changes, Targets: []string{"Pa", "Pb"}, Users: []string{"Ucid"}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, 12, count(t, w.db, "SELECT count(*) FROM target_rotations"))
}

func TestStage_TeamComesTwice_IsStagedAsItCameLast(t *testing.T) {
	w := newWorld(t)
	j := w.snapshotJob(t)
	require.NoError(t, j.Stage(t.Context(), []ownership.Desired{{TeamID: "a", Name: "old", Archived: true}, {TeamID: "b"}, {TeamID: "a", Name: "new"}}))
	require.NoError(t, j.Stage(t.Context(), []ownership.Desired{{TeamID: "b", Name: "B"}}))
	require.Equal(t, 2, count(t, w.db, "SELECT count(*) FROM audit_teams"))
	require.Equal(t, 2, count(t, w.db, "SELECT count(*) FROM audit_teams WHERE desired->>'name' IN ('new', 'B')"))
	require.NoError(t, j.Restage(t.Context()))
	require.Zero(t, count(t, w.db, "SELECT count(*) FROM audit_teams"))
}

func TestSetAutoReconcile_IsTheTeamsOwnWord(t *testing.T) {
	w := mirrored(t)
	_, err := w.s.SetAutoReconcile(t.Context(), "a", audit.Enforce)
	require.NoError(t, err)
	_, err = w.s.SetAutoReconcile(t.Context(), "nobody", audit.Enforce)
	require.Error(t, err)
	j := w.part(t, observing, audit.Full)
	teams, err := j.Teams(t.Context())
	require.NoError(t, err)
	said := map[string]string{}
	for _, team := range teams {
		said[team.Subject.Desired.TeamID] = team.AutoReconcile
	}
	require.Equal(t, map[string]string{"a": audit.Enforce, "b": "", "c": ""}, said)
}

// A run of ours tells what it left behind when it ends: until somebody has seen the team after what it wrote, it is not known.
func TestChanged_OwnWrites_AreKnownToWhoLookedSince(t *testing.T) {
	w := mirrored(t)
	j := w.snapshotJob(t)
	require.NoError(t, j.Changed(t.Context(), store.Records{
		Until: recent(0), Written: map[string]time.Time{"Pa": recent(time.Hour), "Pb": recent(-time.Minute), "Punknown": recent(0)},
	}))
	require.Equal(t, "Pa Pc", w.known(t), "Pb was written to after it was read")
}

// Where records of a time cannot be read any more, nothing is known, whatever the next audits are asked to read.
func TestChanged_Gap_NothingIsKnown(t *testing.T) {
	w := mirrored(t)
	require.NoError(t, w.snapshotJob(t).Changed(t.Context(), store.Records{Until: recent(0), Gap: true}))
	require.Empty(t, w.known(t))
}
