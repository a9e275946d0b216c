package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// Fleet is what is remembered of the fleet as a whole.
type Fleet struct {
	Teams, Members int        // of the source, when it was last believed; 0: it never was
	RecordsUntil   *time.Time // up to when the target's records have been read; nil: never
	FullReadAt     *time.Time // when every team was last read from the target
	Now            time.Time  // by the database's clock
}

// Fleet reads it.
func (s *Store) Fleet(ctx context.Context) (Fleet, error) {
	row, err := s.q.GetFleet(ctx)
	return Fleet{
		Teams: int(row.Teams), Members: int(row.Members), RecordsUntil: row.RecordsUntil, FullReadAt: row.FullReadAt, Now: row.Now,
	}, wrap(err, "read the fleet")
}

// TargetTeam is a team as the target lists it.
type TargetTeam struct {
	ID, Name, Description string
}

// TargetChange is one change that the target's own records tell of.
type TargetChange struct {
	TargetID string
	UserID   string // empty: the team itself
	Actor    string
	At       time.Time
}

// Restage begins the audit's snapshot of the source, also where an earlier try left half of one.
func (j *AuditJob) Restage(ctx context.Context) error {
	return j.tx(ctx, "begin a snapshot", func(q *db.Queries) error { return q.ClearStage(ctx, j.Audit.AuditID) })
}

// staged is a declared team with its name as names are compared.
type staged struct {
	ownership.Desired
	NameKey string `json:"name_key"`
}

// Stage adds teams in scope to the audit's snapshot of the source. One transaction.
func (j *AuditJob) Stage(ctx context.Context, teams []ownership.Desired) error {
	p := db.StageTeamsParams{AuditID: j.Audit.AuditID}
	at := map[string]int{} // a team that comes twice is staged as it came last
	for _, t := range teams {
		id, desired := text(t.TeamID), encode(staged{t, ownership.NormalizeName(cmp.Or(t.Name, t.TeamID))})
		if i, twice := at[id]; twice {
			p.Desired[i] = desired
			continue
		}
		at[id] = len(p.TeamIds)
		p.TeamIds = append(p.TeamIds, id)
		p.Desired = append(p.Desired, desired)
	}
	return j.tx(ctx, "stage teams", func(q *db.Queries) error { return q.StageTeams(ctx, p) })
}

// listsLag is how late the target's lists may show a team that a run has just made.
const listsLag = 5 * time.Minute

// ListTargets remembers which teams the target lists, whole: others are gone. One transaction.
func (j *AuditJob) ListTargets(ctx context.Context, teams []TargetTeam) error {
	p := db.ListTargetTeamsParams{Late: listsLag, TargetIds: []string{}}
	slices.SortFunc(teams, func(a, b TargetTeam) int { return strings.Compare(a.ID, b.ID) })
	for _, t := range teams {
		p.TargetIds = append(p.TargetIds, t.ID)
		p.Names = append(p.Names, text(t.Name))
		p.NameKeys = append(p.NameKeys, text(ownership.NormalizeName(t.Name)))
		p.Descriptions = append(p.Descriptions, text(t.Description))
	}
	return j.tx(ctx, "list the target's teams", func(q *db.Queries) error { return q.ListTargetTeams(ctx, p) })
}

// KnowUsers remembers users of the target. One transaction.
func (j *AuditJob) KnowUsers(ctx context.Context, users []ownership.User) error {
	return j.tx(ctx, "remember users", func(q *db.Queries) error { return q.SaveTargetUsers(ctx, userParams(users)) })
}

// ForgetUsers forgets all users but these: the target's list was whole. One transaction.
func (j *AuditJob) ForgetUsers(ctx context.Context, but []string) error {
	return j.tx(ctx, "forget users", func(q *db.Queries) error { return q.ForgetTargetUsers(ctx, orNone(but)) })
}

func userParams(users []ownership.User) db.SaveTargetUsersParams {
	var p db.SaveTargetUsersParams
	seen := map[string]bool{}
	for _, u := range users {
		if seen[u.ID] {
			continue
		}
		seen[u.ID] = true
		p.UserIds = append(p.UserIds, u.ID)
		p.Emails = append(p.Emails, text(u.Email))
		p.EmailKeys = append(p.EmailKeys, text(ownership.NormalizeEmail(u.Email)))
		p.Names = append(p.Names, text(u.Name))
		p.BaseRoles = append(p.BaseRoles, text(string(u.Base)))
	}
	return p
}

// KnowRotations remembers who is paged for which team of the target, and forgets what was known of that. One transaction.
func (j *AuditJob) KnowRotations(ctx context.Context, rotations map[string]ownership.Rotation) error {
	var p db.SaveRotationsParams
	for targetID, rotation := range rotations {
		for userID, policies := range rotation {
			p.TargetIds = append(p.TargetIds, targetID)
			p.UserIds = append(p.UserIds, userID)
			p.Policies = append(p.Policies, encode(policies))
		}
	}
	return j.tx(ctx, "remember rotations", func(q *db.Queries) error {
		if err := q.LockFleet(ctx); err != nil {
			return err
		}
		if err := q.ForgetRotations(ctx); err != nil || len(p.TargetIds) == 0 {
			return err
		}
		return q.SaveRotations(ctx, p)
	})
}

// TargetIDs lists every known team of the target.
func (j *AuditJob) TargetIDs(ctx context.Context) ([]string, error) {
	ids, err := j.store.q.TargetIDs(ctx)
	return ids, wrap(err, "list the target's teams")
}

// recordsKept: PagerDuty's records can be read for 31 days; who changed what longer ago explains nothing any more.
const recordsKept = 31 * 24 * time.Hour

// Records is what the target's records tell of changes up to a time.
type Records struct {
	Until   time.Time
	Changes []TargetChange       // who changed what
	Targets []string             // teams that somebody else changed
	Users   []string             // users who changed: they and their teams are not known any more
	Written map[string]time.Time // teams that runs of ours wrote to, and when last: who has seen them since knows them
	Gap     bool                 // records before were not read: anything may have changed
}

// Changed takes what the records tell. One transaction, so that no record is passed over.
func (j *AuditJob) Changed(ctx context.Context, r Records) error {
	return j.tx(ctx, "take the target's records", func(q *db.Queries) error {
		if err := q.LockFleet(ctx); err != nil {
			return err
		}
		if err := noteRecords(ctx, q, r.Changes); err != nil {
			return err
		}
		if err := distrust(ctx, q, r); err != nil {
			return err
		}
		return q.MoveRecords(ctx, r.Until)
	})
}

// noteRecords remembers who made the last change of each membership, and forgets what is too old to explain anything.
func noteRecords(ctx context.Context, q *db.Queries, changes []TargetChange) error {
	var p db.NoteRecordsParams
	newest := map[[2]string]int{}
	for _, c := range changes {
		key := [2]string{c.TargetID, c.UserID}
		if i, seen := newest[key]; seen {
			if c.At.After(p.Ats[i]) {
				p.Actors[i], p.Ats[i] = text(c.Actor), c.At
			}
			continue
		}
		newest[key] = len(p.Ats)
		p.TargetIds = append(p.TargetIds, c.TargetID)
		p.UserIds = append(p.UserIds, c.UserID)
		p.Actors = append(p.Actors, text(c.Actor))
		p.Ats = append(p.Ats, c.At)
	}
	if len(p.Ats) > 0 {
		if err := q.NoteRecords(ctx, p); err != nil {
			return err
		}
	}
	return q.ForgetRecords(ctx, recordsKept)
}

func distrust(ctx context.Context, q *db.Queries, r Records) error {
	if r.Gap {
		return q.DistrustAll(ctx)
	}
	if len(r.Written) > 0 {
		var p db.DistrustWrittenParams
		for id, at := range r.Written {
			p.TargetIds, p.Ats = append(p.TargetIds, id), append(p.Ats, at)
		}
		if err := q.DistrustWritten(ctx, p); err != nil {
			return err
		}
	}
	if len(r.Targets)+len(r.Users) == 0 {
		return nil
	}
	if err := q.DistrustTargets(ctx, db.DistrustTargetsParams{TargetIds: orNone(r.Targets), UserIds: orNone(r.Users)}); err != nil {
		return err
	}
	return q.DistrustUsers(ctx, orNone(r.Users))
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Calls counts calls made to the platforms.
type Calls struct{ Cortex, PagerDuty int }

// Less is what was made since.
func (c Calls) Less(before Calls) Calls {
	return Calls{c.Cortex - before.Cortex, c.PagerDuty - before.PagerDuty}
}

// Snapshot is what the first part of an audit found out.
type Snapshot struct {
	Read, ReadReason           string // audit.Full or Incremental, and why it is full although less was asked for
	TargetsListed, UsersListed bool
	Teams, Members             int // of the source, in scope or not
	Calls                      Calls
}

// EndSnapshot lets the audit go on with its teams: those of the snapshot, and those with a link that the source does not
// declare any more. One transaction.
func (j *AuditJob) EndSnapshot(ctx context.Context, snapshot Snapshot) error {
	return j.tx(ctx, "end a snapshot", func(q *db.Queries) error {
		listed := snapshot.TargetsListed
		if err := q.UnstageArchived(ctx, db.UnstageArchivedParams{AuditID: j.Audit.AuditID, Listed: listed}); err != nil {
			return err
		}
		linked, err := q.LinkedTeams(ctx, db.LinkedTeamsParams{AuditID: j.Audit.AuditID, Listed: listed})
		if err != nil {
			return err
		}
		if err := j.stageOnly(ctx, q, linked); err != nil {
			return err
		}
		if err := q.SetFleetSize(ctx, db.SetFleetSizeParams{Teams: int32(snapshot.Teams), Members: int32(snapshot.Members)}); err != nil {
			return err
		}
		if err := q.FinishSnapshot(ctx, db.FinishSnapshotParams{
			AuditID: j.Audit.AuditID, Read: snapshot.Read, ReadReason: snapshot.ReadReason,
			Listed: snapshot.TargetsListed, UsersListed: snapshot.UsersListed,
		}); err != nil {
			return err
		}
		if err := j.spent(ctx, q, snapshot.Calls); err != nil {
			return err
		}
		return j.end(ctx, q)
	})
}

// FailSnapshot gives the snapshot up: every team in scope is unknown. One transaction.
func (j *AuditJob) FailSnapshot(ctx context.Context, calls Calls, reason, message string) error {
	return j.tx(ctx, "give a snapshot up", func(q *db.Queries) error {
		known, err := q.KnownTeams(ctx)
		if err != nil {
			return err
		}
		if err := j.stageOnly(ctx, q, known); err != nil {
			return err
		}
		if err := j.spent(ctx, q, calls); err != nil {
			return err
		}
		if err := q.FailSnapshot(ctx, db.FailSnapshotParams{AuditID: j.Audit.AuditID, Reason: reason, Message: text(message)}); err != nil {
			return err
		}
		return j.end(ctx, q)
	})
}

func (j *AuditJob) spent(ctx context.Context, q *db.Queries, calls Calls) error {
	return q.AddAuditCalls(ctx, db.AddAuditCallsParams{
		AuditID: j.Audit.AuditID, Cortex: int32(calls.Cortex), Pagerduty: int32(calls.PagerDuty),
	})
}

// stageOnly adds teams in scope of which the source says nothing.
func (j *AuditJob) stageOnly(ctx context.Context, q *db.Queries, teams []string) error {
	scope := j.Audit.Request.Scope.Compile()
	teams = slices.DeleteFunc(teams, func(team string) bool { return !scope.Matches(team) })
	if len(teams) == 0 {
		return nil
	}
	return q.StageVanished(ctx, db.StageVanishedParams{AuditID: j.Audit.AuditID, TeamIds: teams})
}

// knownTargets is what is known of target teams, by id, and which version of that. The version is read first: what comes
// between is noticed.
func (s *Store) knownTargets(ctx context.Context, ids []string, freshFrom time.Time) (map[string]*audit.Known, map[string]int64, error) {
	teams, err := s.q.KnownTargets(ctx, ids)
	if err != nil {
		return nil, nil, wrap(err, "read what is known of the target")
	}
	known, versions := make(map[string]*audit.Known, len(teams)), make(map[string]int64, len(teams))
	for _, t := range teams {
		known[t.TargetID] = &audit.Known{
			ID: t.TargetID, Name: t.Name, Description: t.Description, LinkedTo: t.LinkedTo, Members: []ownership.ObservedMember{},
			Trusted: t.MembersAt != nil, Fresh: t.MembersAt != nil && !t.MembersAt.Before(freshFrom), Rotation: ownership.Rotation{},
		}
		versions[t.TargetID] = t.Version
	}
	members, err := s.q.KnownMembers(ctx, ids)
	if err != nil {
		return nil, nil, wrap(err, "read what is known of the target")
	}
	for _, m := range members {
		t := known[m.TargetID]
		if t != nil {
			t.Members = append(t.Members, ownership.ObservedMember{User: userFrom(m.TargetUser), Role: ownership.Role(m.Role)})
		}
	}
	rotations, err := s.q.KnownRotations(ctx, ids)
	if err != nil {
		return nil, nil, wrap(err, "read what is known of the target")
	}
	for _, r := range rotations {
		var policies []string
		if err := decode(r.Policies, &policies); err != nil {
			return nil, nil, err
		}
		if t := known[r.TargetID]; t != nil {
			t.Rotation[r.UserID] = policies
		}
	}
	return known, versions, nil
}

// FindTargetUsers gives the known users with these addresses.
func (s *Store) FindTargetUsers(ctx context.Context, emails []string) ([]ownership.User, error) {
	if len(emails) == 0 {
		return nil, nil
	}
	rows, err := s.q.FindTargetUsers(ctx, emails)
	if err != nil {
		return nil, wrap(err, "look users up")
	}
	users := make([]ownership.User, len(rows))
	for i, row := range rows {
		users[i] = userFrom(row)
	}
	return users, nil
}

func userFrom(row db.TargetUser) ownership.User {
	return ownership.User{ID: row.UserID, Email: row.Email, Name: row.Name, Base: ownership.BaseRole(row.BaseRole)}
}
