package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
)

func rule(teamID string, kind ownership.IgnoreKind, value string) ownership.IgnoreRule {
	return ownership.IgnoreRule{TeamID: teamID, Kind: kind, Value: value, Reason: "by hand", Owner: "sre@example.org"}
}

func ignore(t *testing.T, s *store.Store, r ownership.IgnoreRule) store.IgnoreRule {
	t.Helper()
	created, err := s.CreateIgnoreRule(t.Context(), r, "bob")
	require.NoError(t, err)
	return created
}

// inForce are the ids of the rules of a team.
func inForce(t *testing.T, s *store.Store, teamID string) (ids []string) {
	t.Helper()
	rules, err := s.IgnoreRules(t.Context(), teamID)
	require.NoError(t, err)
	for _, r := range rules {
		require.True(t, r.Covers(teamID))
		ids = append(ids, r.ID)
	}
	return ids
}

func expire(t *testing.T, w *world, id string) {
	t.Helper()
	exec(t, w.db, "UPDATE ignore_rules SET expires_at = now() WHERE rule_id = $1", id)
}

func TestIgnoreRules_InForce_AreTheTeamsAndThenTheFleets(t *testing.T) {
	w := newWorld(t)
	fleet := ignore(t, w.s, rule("", ownership.IgnoreRole, "observer"))
	own := ignore(t, w.s, rule("payments", ownership.IgnorePerson, "Ann@Example.org"))
	ignore(t, w.s, rule("storage", ownership.IgnorePerson, "ann@example.org"))
	some := ignore(t, w.s, rule("", ownership.IgnoreTeam, "pay*"))
	removed := ignore(t, w.s, rule("payments", ownership.IgnorePerson, "dan@example.org"))
	over := ignore(t, w.s, rule("payments", ownership.IgnorePerson, "eve@example.org"))
	require.WithinDuration(t, time.Now().Add(90*24*time.Hour), own.ExpiresAt, time.Minute)
	require.Equal(t, "Ann@Example.org", own.Value)

	deleted, err := w.s.DeleteIgnoreRule(t.Context(), uuid.MustParse(removed.ID), "payments", "cem")
	require.NoError(t, err)
	require.Equal(t, "cem", deleted.DeletedBy)
	expire(t, w, over.ID)

	require.Equal(t, []string{own.ID, fleet.ID, some.ID}, inForce(t, w.s, "payments"))
	require.Equal(t, []string{fleet.ID}, inForce(t, w.s, "search"))

	again, err := w.s.DeleteIgnoreRule(t.Context(), uuid.MustParse(removed.ID), "payments", "dan")
	require.NoError(t, err)
	require.Equal(t, "cem", again.DeletedBy, "removed twice is removed once")

	statuses := map[string]string{}
	all, err := w.s.ListIgnoreRules(t.Context(), store.IgnoreRuleFilter{TeamID: "payments", Past: true, Limit: 10})
	require.NoError(t, err)
	for _, r := range all {
		statuses[r.ID] = r.Status(time.Now())
	}
	require.Equal(t, map[string]string{
		own.ID: store.RuleActive, fleet.ID: store.RuleActive, some.ID: store.RuleActive,
		removed.ID: store.RuleDeleted, over.ID: store.RuleExpired,
	}, statuses)
	page, err := w.s.ListIgnoreRules(t.Context(), store.IgnoreRuleFilter{Kind: "person", After: uuid.MustParse(over.ID), Limit: 1})
	require.NoError(t, err)
	require.Len(t, page, 1)
	require.Equal(t, "storage", page[0].TeamID, "the newest that is in force")
}

func TestCreateIgnoreRule_Twice_IsOnce_AndAnotherIsAConflict(t *testing.T) {
	w := newWorld(t)
	first := ignore(t, w.s, rule("payments", ownership.IgnorePerson, "ann@example.org"))
	require.Equal(t, first.ID, ignore(t, w.s, rule("payments", ownership.IgnorePerson, " ANN@example.org")).ID)

	other := rule("payments", ownership.IgnorePerson, "ann@example.org")
	other.Reason = "another"
	_, err := w.s.CreateIgnoreRule(t.Context(), other, "bob")
	require.Equal(t, fault.Conflict, fault.KindOf(err))
	require.ErrorContains(t, err, first.ID)
	other.Reason, other.ExpiresAt = first.Reason, time.Now().Add(time.Hour)
	_, err = w.s.CreateIgnoreRule(t.Context(), other, "bob")
	require.Equal(t, fault.Conflict, fault.KindOf(err), "another end is another rule")

	expire(t, w, first.ID)
	next := ignore(t, w.s, other)
	require.NotEqual(t, first.ID, next.ID, "one that has expired is in nobody's way")
	require.True(t, next.ExpiresAt.Equal(other.ExpiresAt.Truncate(time.Microsecond)))
	require.Equal(t, next.ID, ignore(t, w.s, other).ID)
	past, err := w.s.ListIgnoreRules(t.Context(), store.IgnoreRuleFilter{Past: true, Limit: 10})
	require.NoError(t, err)
	require.Len(t, past, 2, "and stays to be read")

	_, err = w.s.CreateIgnoreRule(t.Context(), rule("", ownership.IgnoreTeam, "*"), "bob")
	require.Equal(t, fault.Invalid, fault.KindOf(err))
}

func TestCreateIgnoreRule_ManyAtOnce_AreOne(t *testing.T) {
	w := newWorld(t)
	ids, errs := make([]string, 20), make([]error, 20)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			created, err := w.s.CreateIgnoreRule(t.Context(), rule("", ownership.IgnoreRole, "observer"), "bob")
			ids[i], errs[i] = created.ID, err
		})
	}
	all.Wait()
	for i := range ids {
		require.NoError(t, errs[i])
		require.Equal(t, ids[0], ids[i])
	}
}

// Who may act on one team must not take the fleet's rules back, nor another team's.
func TestDeleteIgnoreRule_OfAnotherTeam_IsNotFound(t *testing.T) {
	w := newWorld(t)
	fleet := ignore(t, w.s, rule("", ownership.IgnoreRole, "observer"))
	for _, teamID := range []string{"payments", "storage"} {
		_, err := w.s.DeleteIgnoreRule(t.Context(), uuid.MustParse(fleet.ID), teamID, "bob")
		require.Equal(t, fault.NotFound, fault.KindOf(err))
	}
	require.Equal(t, []string{fleet.ID}, inForce(t, w.s, "payments"))
	_, err := w.s.DeleteIgnoreRule(t.Context(), uuid.New(), "", "bob")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

// What a rule hides is no finding; one that was open is resolved by the rule, and opens again when the rule has expired.
func TestAudit_IgnoreRule_ResolvesFindingsAndItsEndReopensThem(t *testing.T) {
	w := newWorld(t)
	w.declare("payments", "ann", "ben", "cem")
	w.put("PPAY", "payments", "ann", "cem", "dan")
	before := w.run(t, observing)
	require.Equal(t, []string{"open payments add_member person:ben@example.org", "open payments remove_member person:dan@example.org"}, w.findings(t))
	require.Zero(t, before.Report.Counts.Ignored)

	ben := ignore(t, w.s, rule("payments", ownership.IgnorePerson, "ben@example.org"))
	dan := ignore(t, w.s, rule("", ownership.IgnorePerson, "Udan"))
	hidden := w.run(t, observing)
	require.Equal(t, "ignore:"+ben.ID, w.finding(t, "payments", "add_member").ResolvedBy)
	require.Equal(t, "ignore:"+dan.ID, w.finding(t, "payments", "remove_member").ResolvedBy)
	require.Equal(t, ownership.InSync, w.status(t, "payments"))
	require.Equal(t, 2, hidden.Report.Counts.Ignored)
	require.Equal(t, 1, hidden.Report.Counts.InSync)
	require.Contains(t, hidden.Summary, "2 differences ignored")
	require.Len(t, hidden.Report.IgnoreRules, 2)
	require.Equal(t, ben.ID, hidden.Report.IgnoreRules[0].RuleID)
	require.Equal(t, 1, hidden.Report.IgnoreRules[0].Ignored)
	require.Equal(t, "sre@example.org", hidden.Report.IgnoreRules[0].Owner)

	expire(t, w, dan.ID)
	after := w.run(t, observing)
	require.Equal(t, []string{"open payments remove_member person:dan@example.org", "resolved payments add_member person:ben@example.org"}, w.findings(t))
	require.Equal(t, 1, after.Report.Counts.Reopened)
	require.Equal(t, ownership.OutOfSync, w.status(t, "payments"))
}

// A removal that is held because somebody cannot be matched is the same difference as the removal itself.
func TestAudit_IgnoreRule_HidesARemovalThatWasHeld(t *testing.T) {
	w := newWorld(t)
	w.declare("payments", "ann", "cem")
	w.declared[0].Members = append(w.declared[0].Members, ownership.Member{Email: "lost@nowhere"})
	w.put("PPAY", "payments", "ann", "cem", "dan")
	w.run(t, observing)
	dan := ignore(t, w.s, rule("payments", ownership.IgnorePerson, "dan@example.org"))
	w.run(t, observing)
	require.Equal(t, []string{"open payments user_not_found person:lost@nowhere", "resolved payments removal_held person:dan@example.org"}, w.findings(t))
	require.Equal(t, "ignore:"+dan.ID, w.finding(t, "payments", "removal_held").ResolvedBy)

	ignore(t, w.s, rule("payments", ownership.IgnorePerson, "lost@nowhere"))
	w.run(t, observing)
	require.Equal(t, ownership.InSync, w.status(t, "payments"))
}

func TestAudit_IgnoredTeam_HasNoFindings_AndIsNotEnforced(t *testing.T) {
	w := newWorld(t)
	w.declare("payments", "ann", "ben")
	w.put("PPAY", "payments", "ann")
	enforcing := store.AuditRequest{Mode: audit.Full, AutoReconcile: audit.Enforce}
	ignore(t, w.s, rule("", ownership.IgnoreTeam, "pay*"))
	a := w.run(t, enforcing)
	require.Empty(t, w.findings(t))
	require.Zero(t, a.RunsStarted)
	require.Equal(t, 2, a.Report.Counts.Ignored, "who is missing, and that one person is the whole team")

	exec(t, w.db, "UPDATE ignore_rules SET expires_at = now()")
	a = w.run(t, enforcing)
	require.Equal(t, 1, a.RunsStarted, "control: without the rule")
	require.Len(t, w.findings(t), 2)
}

// A run that leaves something alone is in sync, and yet has not mended it.
func TestFinish_WhatARuleHides_IsNotResolvedByTheRun(t *testing.T) {
	w := newWorld(t)
	w.declare("payments", "ann", "ben")
	w.put("PPAY", "payments", "ann", "dan")
	w.run(t, observing)
	dan := ignore(t, w.s, rule("payments", ownership.IgnorePerson, "dan@example.org"))
	plan := ownership.Plan{TeamID: "payments", Changes: []ownership.Change{
		{Kind: ownership.AddMember, EntityRef: "person:ben@example.org", UserID: "Uben"},
		{Kind: ownership.RemoveMember, EntityRef: "person:dan@example.org", UserID: "Udan"},
	}}.Ignore([]ownership.IgnoreRule{dan.IgnoreRule})
	c := claim(t, w.s, accept(t, w.s, "payments"))
	require.NoError(t, c.Finish(t.Context(), store.Ending{
		Status: store.Succeeded, Sync: ownership.InSync, Declared: &w.declared[0], Mended: plan.Changes, Result: &store.Result{Plan: plan},
	}))
	require.Equal(t, "run:"+c.Run.JobID.String(), w.finding(t, "payments", "add_member").ResolvedBy)
	require.Equal(t, "ignore:"+dan.ID, w.finding(t, "payments", "remove_member").ResolvedBy)
}
