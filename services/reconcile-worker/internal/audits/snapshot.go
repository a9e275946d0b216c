package audits

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// snapshot reads what all teams of the audit share: the catalogue, PagerDuty's lists of teams, users, policies and
// schedules, and its records of what changed. It can be done again from its beginning at any time.
func (w *Worker) snapshot(ctx context.Context, job *store.AuditJob) error {
	s := &snapshot{Worker: w, job: job}
	ctx, calls := upstream.Record(ctx)
	err := s.take(ctx)
	s.made.Calls = callsOf(calls)
	switch {
	case err == nil:
		return job.EndSnapshot(ctx, s.made)
	case fault.Is(err, fault.Fenced):
		return err
	case ctx.Err() != nil, stopping(err), fault.Passing(err) && job.FailingFor < w.opts.Patience:
		return w.putBack(ctx, job, err, store.AuditDelay{Calls: s.made.Calls})
	}
	reason, message := why(err)
	w.log.ErrorContext(ctx, "snapshot given up; every team is unknown", "reason", reason, "error", err)
	return job.FailSnapshot(ctx, s.made.Calls, reason, message)
}

type snapshot struct {
	*Worker
	job   *store.AuditJob
	fleet store.Fleet
	made  store.Snapshot
}

func (s *snapshot) take(ctx context.Context) (err error) {
	if s.fleet, err = s.store.Fleet(ctx); err != nil {
		return err
	}
	if err := s.declared(ctx); err != nil {
		return err
	}
	// The records come before the lists: what changes after they were read stands in the next audit's records.
	refused, err := s.records(ctx)
	if err != nil {
		return err
	}
	if err := s.lists(ctx); err != nil {
		return err
	}
	s.decide(refused)
	return nil
}

// declared reads the catalogue. A source that suddenly declares far less than before is not believed: its identity
// provider may be away, and teams without members would look as if everybody had left.
func (s *snapshot) declared(ctx context.Context) error {
	if err := s.job.Restage(ctx); err != nil {
		return err
	}
	scope := s.job.Audit.Request.Scope.Compile()
	_, err := s.source.EachTeamPage(ctx, func(page []ownership.Desired) error {
		var wanted []ownership.Desired
		for _, team := range page {
			if team.Archived {
				team.Members = []ownership.Member{} // nobody is compared
			} else {
				s.made.Teams++
				s.made.Members += len(team.Members)
			}
			if scope.Matches(team.TeamID) {
				wanted = append(wanted, team)
			}
		}
		return s.job.Stage(ctx, wanted)
	})
	if err != nil {
		return fmt.Errorf("read the catalogue: %w", err)
	}
	if s.job.Audit.Request.AcceptShrunken {
		return nil
	}
	for _, now := range []struct {
		what        string
		before, now int
	}{{"teams", s.fleet.Teams, s.made.Teams}, {"members", s.fleet.Members, s.made.Members}} {
		if lost := now.before - now.now; lost >= smallestLoss && float64(lost) > s.opts.Shrink*float64(now.before) {
			return fault.New(fault.Precondition, fmt.Sprintf(
				"the source declares %d %s, and %d at the audit before; if that is right, start an audit with --accept-shrunken-source", now.now, now.what, now.before), nil).
				WithReason("SOURCE_SHRUNKEN")
		}
	}
	return nil
}

// smallestLoss is from where on a shrunken source is noticed: a few teams more or less are a day's work.
const smallestLoss = 5

// records takes what PagerDuty tells of changes since the last audit. It says why there are no records to be had, where
// that is so: then nothing tells what changed, and every team has to be read.
func (s *snapshot) records(ctx context.Context) (refused string, err error) {
	until := s.fleet.Now
	since := until.Add(-s.opts.Settle) // of the first time: only to see whether there are records
	if s.fleet.RecordsUntil != nil {
		since = *s.fleet.RecordsUntil
	}
	told := store.Records{Until: until.Add(-s.opts.Settle), Written: map[string]time.Time{}}
	end := until.Add(ahead)
	if told.Gap = end.Sub(since) > pagerduty.MaxRecordsWindow; told.Gap {
		refused, since = "the last audit is longer ago than PagerDuty's records can be read", until.Add(-s.opts.Settle)
	}
	own := s.opts.OwnToken()
	teams, users := map[string]bool{}, map[string]bool{}
	err = s.target.Records(ctx, since, end, func(page []pagerduty.Record) error {
		for _, r := range page {
			switch {
			case r.RootType == "user":
				users[r.RootID] = true
			case r.RootType != "team":
			case own != "" && r.TruncatedToken == own: // a run's, which tells what it left behind when it ends
				if r.At.After(told.Written[r.RootID]) {
					told.Written[r.RootID] = r.At
				}
			default:
				teams[r.RootID] = true
				told.Changes = append(told.Changes, changes(r)...)
			}
		}
		return nil
	})
	switch fault.ReasonOf(err) {
	case "RECORDS_NOT_ON_PLAN":
		return "PagerDuty's plan has no audit records", nil
	case "RECORDS_REFUSED":
		return "PagerDuty does not let this key read audit records", nil
	}
	if err != nil {
		return "", fmt.Errorf("read pagerduty's records: %w", err)
	}
	// A change may show late, in records as in lists: the next audit reads the last moments once more.
	told.Targets, told.Users = slices.Collect(maps.Keys(teams)), slices.Collect(maps.Keys(users))
	return refused, s.job.Changed(ctx, told)
}

// changes are what a record of a team tells, of each member it is about, or of the team itself.
func changes(r pagerduty.Record) []store.TargetChange {
	about := r.Users
	if len(about) == 0 {
		about = []string{""}
	}
	list := make([]store.TargetChange, len(about))
	for i, user := range about {
		list[i] = store.TargetChange{TargetID: r.RootID, UserID: user, Actor: actor(r), At: r.At}
	}
	return list
}

// ahead is by how much PagerDuty's clock may be ahead of the database's, and more than what it cuts off a time.
const ahead = time.Minute

// actor names who made a change, and how.
func actor(r pagerduty.Record) string {
	who := r.Actor
	if who == "" {
		who = r.ActorType
	}
	if r.Method != "" {
		who += " (" + r.Method + ")"
	}
	return who
}

// lists reads what PagerDuty lists. Users beyond the reach of its lists are met in their teams.
func (s *snapshot) lists(ctx context.Context) error {
	teams, whole, err := s.target.Teams(ctx)
	if err != nil {
		return err
	}
	s.made.TargetsListed = whole
	if whole {
		listed := make([]store.TargetTeam, len(teams))
		for i, t := range teams {
			listed[i] = store.TargetTeam(t)
		}
		if err := s.job.ListTargets(ctx, listed); err != nil {
			return err
		}
	}
	var ids []string
	s.made.UsersListed, err = s.target.Users(ctx, func(page []ownership.User) error {
		for _, u := range page {
			ids = append(ids, u.ID)
		}
		return s.job.KnowUsers(ctx, page)
	})
	if err != nil {
		return err
	}
	if s.made.UsersListed {
		if err := s.job.ForgetUsers(ctx, ids); err != nil {
			return err
		}
	}
	known, err := s.job.TargetIDs(ctx)
	if err != nil {
		return err
	}
	rotations, err := s.target.Rotations(ctx, known)
	if err != nil {
		return err
	}
	return s.job.KnowRotations(ctx, rotations)
}

// week is how old the last full read may be in the mode auto.
const week = 7 * 24 * time.Hour

// decide says what is read of the target. Increments miss what PagerDuty did not record, so a full read comes now and
// then.
func (s *snapshot) decide(refused string) {
	request := s.job.Audit.Request
	every := request.FullEvery
	if every == 0 {
		every = week
	}
	s.made.Read = audit.Full
	switch full := s.fleet.FullReadAt; {
	case request.Mode == audit.Full:
	case refused != "":
		s.made.ReadReason = refused
	case s.fleet.RecordsUntil == nil || full == nil:
		s.made.ReadReason = "no audit has read every team yet"
	case request.Mode != audit.Incremental && s.fleet.Now.Sub(*full) > every:
		s.made.ReadReason = fmt.Sprintf("the last full read is older than %s", every)
	default:
		s.made.Read = audit.Incremental
	}
}
