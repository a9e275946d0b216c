package store

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// AuditTeam is a team of a part of an audit, with what is known of it.
type AuditTeam struct {
	Subject       audit.Subject
	Vanished      bool   // the source does not declare it any more
	AutoReconcile string // what the team says for itself; empty: what the audit was told

	versions map[string]int64 // of what is known of each target that it may stand for
	lastRun  uuid.NullUUID    // that ended about the team
}

// Teams gives the teams of the part that are not compared yet.
func (j *AuditJob) Teams(ctx context.Context) ([]AuditTeam, error) {
	rows, err := j.store.q.AuditTeams(ctx, db.AuditTeamsParams{AuditID: j.Audit.AuditID, JobNo: int32(j.No)})
	if err != nil {
		return nil, wrap(err, "read the teams of a part of an audit")
	}
	var ids []string
	for _, row := range rows {
		ids = append(ids, row.Targets...)
	}
	slices.Sort(ids)
	if len(rows) > 0 {
		j.readFrom = rows[0].ReadFrom
	}
	var freshFrom time.Time // an increment trusts what nobody changed
	if j.Audit.Read == audit.Full {
		freshFrom = *j.Audit.StartedAt
	}
	rules, err := j.rules(ctx, rows)
	if err != nil {
		return nil, err
	}
	known, versions, err := j.store.knownTargets(ctx, slices.Compact(ids), freshFrom)
	if err != nil {
		return nil, err
	}
	teams := make([]AuditTeam, len(rows))
	for i, row := range rows {
		t := &teams[i]
		t.AutoReconcile, t.Vanished = row.AutoReconcile, row.Desired == nil
		t.Subject = audit.Subject{
			Desired: ownership.Desired{TeamID: row.TeamID}, Link: row.LinkedTo, Listed: j.Audit.TargetsListed,
			Ignores: rules[row.TeamID],
		}
		if row.Desired != nil {
			if err := decode(row.Desired, &t.Subject.Desired); err != nil {
				return nil, err
			}
		}
		// A run that ended since the snapshot may have followed a declaration that the snapshot does not have.
		if row.RunSince {
			t.Subject.Desired.Members = nil
		}
		t.lastRun, t.versions = row.LastJobID, map[string]int64{}
		for _, id := range row.Targets {
			if k := known[id]; k != nil {
				t.Subject.Targets = append(t.Subject.Targets, *k)
				t.versions[id] = versions[id]
			}
		}
	}
	return teams, nil
}

// rules are the ignore rules that are in force for the teams.
func (j *AuditJob) rules(ctx context.Context, rows []db.AuditTeamsRow) (map[string][]ownership.IgnoreRule, error) {
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.TeamID
	}
	return j.store.ignoreRulesOf(ctx, ids)
}

// AuditedTeam is what came of a team.
type AuditedTeam struct {
	Team     AuditTeam
	Status   ownership.SyncStatus
	TargetID string                     // the team it stands for; empty: none
	Read     []ownership.ObservedMember // as the target gave them; nil: they were known
	Missed   bool
	Findings []audit.Finding
	Ignored  []ownership.Ignored // what ignore rules hid
	Run      *NewRun             // to be asked for; nil: none
	// Of the target team, where it was read outside the target's list; Name is empty where it is listed.
	Name, Description string
	// Where the team could not be read. What was found of it before stays.
	UnreadReason, UnreadMessage string
}

// Settled says what became of a Settle.
type Settled struct {
	Left int // teams of the part that are still to be compared
	Runs int // runs that were asked for
}

// Settle writes what came of some teams of the part; with the last of them the part is done. A team whose target somebody
// wrote about meanwhile is left to be compared again: what was compared is not so any more. One transaction.
func (j *AuditJob) Settle(ctx context.Context, teams []AuditedTeam, calls Calls) (Settled, error) {
	var settled Settled
	err := j.tx(ctx, "write what an audit found", func(q *db.Queries) error {
		settled = Settled{}
		if err := meet(ctx, q, teams); err != nil {
			return err
		}
		current, err := j.unmoved(ctx, q, teams)
		if err != nil {
			return err
		}
		if err := j.learn(ctx, q, current); err != nil {
			return err
		}
		current, newer, err := j.unrun(ctx, q, current)
		if err != nil {
			return err
		}
		if err := j.find(ctx, q, slices.DeleteFunc(slices.Clone(current), func(t AuditedTeam) bool {
			return newer[t.Team.Subject.Desired.TeamID]
		})); err != nil {
			return err
		}
		for _, t := range current {
			if t.Run == nil {
				continue
			}
			_, created, err := j.store.accept(ctx, q, *t.Run)
			if err != nil && !fault.Is(err, fault.Conflict) { // its key is somebody's: then it is theirs to ask
				return err
			}
			if created {
				settled.Runs++
			}
		}
		if err := j.count(ctx, q, current, settled.Runs, calls); err != nil {
			return err
		}
		left, err := q.OpenAuditTeams(ctx, db.OpenAuditTeamsParams{AuditID: j.Audit.AuditID, JobNo: int32(j.No)})
		if err != nil {
			return err
		}
		if settled.Left = int(left); left > 0 {
			return q.TellAudit(ctx, j.Audit.AuditID.String())
		}
		return j.end(ctx, q)
	})
	return settled, err
}

// meet remembers target teams that were seen outside the target's list, whatever becomes of what was compared: a team that
// is left is compared with what is known of them next.
func meet(ctx context.Context, q *db.Queries, teams []AuditedTeam) error {
	met := map[string]AuditedTeam{}
	for _, t := range teams {
		if t.Name != "" {
			met[t.TargetID] = t
		}
	}
	for _, id := range slices.Sorted(maps.Keys(met)) {
		if err := q.KnowTarget(ctx, db.KnowTargetParams{
			TargetID: id, Name: text(met[id].Name), NameKey: text(ownership.NormalizeName(met[id].Name)), Description: text(met[id].Description),
		}); err != nil {
			return err
		}
	}
	return nil
}

// unmoved locks the target teams and leaves out the teams of which somebody knows more by now.
func (j *AuditJob) unmoved(ctx context.Context, q *db.Queries, teams []AuditedTeam) ([]AuditedTeam, error) {
	targets := map[string]bool{}
	for _, t := range teams {
		if t.TargetID != "" {
			targets[t.TargetID] = true
		}
	}
	rows, err := q.LockTargets(ctx, slices.Sorted(maps.Keys(targets)))
	if err != nil {
		return nil, err
	}
	now := map[string]int64{}
	for _, row := range rows {
		now[row.TargetID] = row.Version
	}
	return slices.DeleteFunc(slices.Clone(teams), func(t AuditedTeam) bool {
		if t.TargetID == "" || t.UnreadReason != "" || t.Team.Vanished {
			return false // nothing on the target was compared
		}
		version, there := now[t.TargetID]
		return !there || version != t.Team.versions[t.TargetID]
	}), nil
}

// unrun locks the teams and leaves out those of which a run has ended since they were looked at. newer are those that a
// younger audit has settled: what that found counts.
func (j *AuditJob) unrun(ctx context.Context, q *db.Queries, teams []AuditedTeam) (left []AuditedTeam, newer map[string]bool, err error) {
	var ids []string
	for _, t := range teams {
		ids = append(ids, t.Team.Subject.Desired.TeamID)
	}
	rows, err := q.LockTeams(ctx, orNone(ids))
	if err != nil {
		return nil, nil, err
	}
	lastRun := map[string]uuid.NullUUID{}
	newer = map[string]bool{}
	for _, row := range rows {
		lastRun[row.TeamID] = row.LastJobID
		newer[row.TeamID] = row.LastAuditID.Valid && bytes.Compare(row.LastAuditID.UUID[:], j.Audit.AuditID[:]) > 0
	}
	return slices.DeleteFunc(slices.Clone(teams), func(t AuditedTeam) bool {
		return lastRun[t.Team.Subject.Desired.TeamID] != t.Team.lastRun
	}), newer, nil
}

// learn remembers what was read of the target. Of two teams that stand for one target team, the last one read it last.
func (j *AuditJob) learn(ctx context.Context, q *db.Queries, teams []AuditedTeam) error {
	read := map[string][]ownership.ObservedMember{}
	for _, t := range teams {
		if t.Read != nil {
			read[t.TargetID] = t.Read
		}
	}
	members, users := db.SaveTargetMembersParams{}, []ownership.User{}
	for _, id := range slices.Sorted(maps.Keys(read)) {
		members.Targets = append(members.Targets, id)
		for _, m := range read[id] {
			members.TargetIds = append(members.TargetIds, id)
			members.UserIds = append(members.UserIds, m.User.ID)
			members.Roles = append(members.Roles, string(m.Role))
			users = append(users, m.User)
		}
	}
	if len(members.Targets) == 0 {
		return nil
	}
	if err := q.SaveTargetUsers(ctx, userParams(users)); err != nil {
		return err
	}
	if err := q.SaveTargetMembers(ctx, members); err != nil {
		return err
	}
	return q.TrustTargets(ctx, db.TrustTargetsParams{TargetIds: members.Targets, ReadFrom: j.readFrom})
}

// fleetKinds are the kinds of finding that only the fleet as a whole shows.
var fleetKinds = []string{audit.OrphanTeam, audit.SharedTarget}

// find writes statuses and findings.
func (j *AuditJob) find(ctx context.Context, q *db.Queries, teams []AuditedTeam) error {
	statuses := db.SetSyncStatusesParams{AuditID: j.Audit.AuditID}
	var compared []string
	var findings []audit.Finding
	ignored := map[string][]ownership.Ignored{}
	for _, t := range teams {
		teamID := t.Team.Subject.Desired.TeamID
		statuses.TeamIds = append(statuses.TeamIds, teamID)
		statuses.Statuses = append(statuses.Statuses, string(t.Status))
		if t.UnreadReason == "" {
			compared = append(compared, teamID)
			findings = append(findings, t.Findings...)
			ignored[teamID] = t.Ignored
		}
	}
	if len(statuses.TeamIds) == 0 {
		return nil
	}
	if err := q.SetSyncStatuses(ctx, statuses); err != nil {
		return err
	}
	if err := hide(ctx, q, ignored); err != nil {
		return err
	}
	return saveFindings(ctx, q, j.Audit, compared, findings, false)
}

func (j *AuditJob) count(ctx context.Context, q *db.Queries, teams []AuditedTeam, runs int, calls Calls) error {
	p := db.SettleAuditTeamsParams{AuditID: j.Audit.AuditID, TeamIds: []string{}}
	reads := 0
	for _, t := range teams {
		p.TeamIds = append(p.TeamIds, t.Team.Subject.Desired.TeamID)
		p.Statuses = append(p.Statuses, string(t.Status))
		p.TargetIds = append(p.TargetIds, t.TargetID)
		p.Missed = append(p.Missed, t.Missed)
		p.UnreadReasons = append(p.UnreadReasons, t.UnreadReason)
		p.UnreadMessages = append(p.UnreadMessages, text(t.UnreadMessage))
		p.Ignored = append(p.Ignored, countIgnored(t.Ignored))
		if t.Read != nil {
			reads++
		}
	}
	n, err := q.SettleAuditTeams(ctx, p)
	if err != nil {
		return err
	}
	open, err := q.CountAuditProgress(ctx, db.CountAuditProgressParams{
		AuditID: j.Audit.AuditID, Teams: int32(n), Reads: int32(reads), Runs: int32(runs),
		Cortex: int32(calls.Cortex), Pagerduty: int32(calls.PagerDuty),
	})
	if err == nil && open == 0 { // canceled since this transaction began: nothing of it, no run either
		err = j.fenced()
	}
	return err
}
