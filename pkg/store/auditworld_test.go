package store_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// world is both platforms, and a worker that audits them part by part as the reconcile-worker does.
type world struct {
	s        *store.Store
	db       *pgx.Conn
	declared []ownership.Desired
	target   map[string]*ownership.Observed
	unlisted bool            // the target's list of teams cannot be read whole
	away     map[string]bool // target teams that cannot be read
	reads    []string
}

func newWorld(t *testing.T) *world {
	s, db := open(t)
	return &world{s: s, db: db, target: map[string]*ownership.Observed{}, away: map[string]bool{}}
}

func account(name string) ownership.User {
	return ownership.User{ID: "U" + name, Email: name + "@example.org", Base: ownership.BaseUser}
}

// declare adds a team, named as its id, to the source.
func (w *world) declare(team string, people ...string) *ownership.Desired {
	d := ownership.Desired{TeamID: team, Name: team, Members: []ownership.Member{}}
	for _, who := range people {
		d.Members = append(d.Members, ownership.Member{Email: who + "@example.org"})
	}
	w.declared = append(w.declared, d)
	return &w.declared[len(w.declared)-1]
}

func (w *world) withdraw(team string) {
	w.declared = slices.DeleteFunc(w.declared, func(d ownership.Desired) bool { return d.TeamID == team })
}

// put makes a team of the target what it shall be there.
func (w *world) put(id, name string, people ...string) {
	o := &ownership.Observed{TargetID: id, Name: name, Members: []ownership.ObservedMember{}}
	for _, who := range people {
		o.Members = append(o.Members, ownership.ObservedMember{User: account(who), Role: ownership.Responder})
	}
	w.target[id] = o
}

func (w *world) Team(_ context.Context, id string) (ownership.Desired, error) {
	for _, d := range w.declared {
		if d.TeamID == id {
			return d, nil
		}
	}
	return ownership.Desired{}, fault.New(fault.NotFound, "no team "+id, nil)
}

func (w *world) Observe(_ context.Context, id string) (ownership.Observed, error) {
	w.reads = append(w.reads, id)
	if w.away[id] {
		return ownership.Observed{}, fault.New(fault.Unavailable, "the target is away", nil).WithReason("TARGET_AWAY")
	}
	if w.target[id] == nil {
		return ownership.Observed{}, fault.New(fault.NotFound, "no team "+id, nil)
	}
	return *w.target[id], nil
}

func (w *world) Members(ctx context.Context, id string) ([]ownership.ObservedMember, error) {
	o, err := w.Observe(ctx, id)
	return o.Members, err
}

func (w *world) FindTeams(_ context.Context, name string) (found []ownership.TeamRef, err error) {
	for _, id := range slices.Sorted(maps.Keys(w.target)) {
		if ownership.NormalizeName(w.target[id].Name) == ownership.NormalizeName(name) {
			found = append(found, ownership.TeamRef{ID: id, Name: w.target[id].Name})
		}
	}
	return found, nil
}

// FindUsers: everybody has an account, but for those of the domain nowhere.
func (w *world) FindUsers(_ context.Context, emails []string) (found []ownership.User, err error) {
	for _, email := range emails {
		if name, domain, _ := strings.Cut(email, "@"); domain != "nowhere" {
			found = append(found, account(name))
		}
	}
	return found, nil
}

var observing = store.AuditRequest{Mode: audit.Full, AutoReconcile: audit.Observe}

func newAudit(t *testing.T, s *store.Store, request store.AuditRequest) uuid.UUID {
	t.Helper()
	id, created, err := s.AcceptAudit(t.Context(), store.NewAudit{RequestedBy: "ann", Request: request}, "", []byte("an audit"))
	require.NoError(t, err)
	require.True(t, created)
	return id
}

func claimPart(t *testing.T, s *store.Store, id uuid.UUID, no int) *store.AuditJob {
	t.Helper()
	j, err := s.ClaimAuditJob(t.Context(), id, no, "worker", lease)
	require.NoError(t, err)
	return j
}

// snapshot does the first part of an audit.
func (w *world) snapshot(t *testing.T, id uuid.UUID, read string) {
	t.Helper()
	w.endSnapshot(t, w.stage(t, id), read)
}

func (w *world) stage(t *testing.T, id uuid.UUID) *store.AuditJob {
	t.Helper()
	j := claimPart(t, w.s, id, store.SnapshotJob)
	require.NoError(t, j.Restage(t.Context()))
	scope := j.Audit.Request.Scope.Compile()
	require.NoError(t, j.Stage(t.Context(), slices.DeleteFunc(slices.Clone(w.declared), func(d ownership.Desired) bool { return !scope.Matches(d.TeamID) })))
	return j
}

func (w *world) endSnapshot(t *testing.T, j *store.AuditJob, read string) {
	t.Helper()
	if !w.unlisted {
		listed := []store.TargetTeam{}
		for _, o := range w.target {
			listed = append(listed, store.TargetTeam{ID: o.TargetID, Name: o.Name, Description: o.Description})
		}
		require.NoError(t, j.ListTargets(t.Context(), listed))
	}
	require.NoError(t, j.EndSnapshot(t.Context(), store.Snapshot{
		Read: read, TargetsListed: !w.unlisted, Teams: len(w.declared), Members: 1, Calls: store.Calls{Cortex: 1, PagerDuty: 2},
	}))
}

// handOut gives the numbers of the parts that there are then.
func (w *world) handOut(t *testing.T, id uuid.UUID, page, part int) (parts []int) {
	t.Helper()
	for handed := page; handed == page; {
		var err error
		handed, err = w.s.HandOut(t.Context(), id, page, part)
		require.NoError(t, err)
	}
	rows, err := w.db.Query(t.Context(), "SELECT job_no FROM audit_jobs WHERE audit_id = $1 AND job_no > 0 ORDER BY 1", id)
	require.NoError(t, err)
	parts, err = pgx.CollectRows(rows, pgx.RowTo[int])
	require.NoError(t, err)
	return parts
}

// compare compares the teams of a part that are left.
func (w *world) compare(t *testing.T, j *store.AuditJob) (audited []store.AuditedTeam) {
	t.Helper()
	flow, err := audit.New(audit.Parts{Source: w, Target: w, Roles: ownership.DefaultRoleMap()})
	require.NoError(t, err)
	teams, err := j.Teams(t.Context())
	require.NoError(t, err)
	for _, team := range teams {
		id := team.Subject.Desired.TeamID
		if team.Vanished {
			audited = append(audited, store.AuditedTeam{Team: team, Status: ownership.Unknown, TargetID: team.Subject.Link, Findings: []audit.Finding{{
				TeamID: id, Kind: audit.VanishedTeam, EntityRef: "team:" + id, TargetID: team.Subject.Link, Message: "vanished",
			}}})
			continue
		}
		s, err := flow.Audit(t.Context(), team.Subject)
		if err != nil {
			audited = append(audited, store.AuditedTeam{Team: team, Status: ownership.Unknown, UnreadReason: fault.ReasonOf(err), UnreadMessage: err.Error()})
			continue
		}
		a := store.AuditedTeam{
			Team: team, Status: s.Plan.SyncStatus(), TargetID: s.TargetID, Name: s.Unlisted, Description: s.Described,
			Read: s.Read, Missed: s.Missed, Findings: s.Findings, Ignored: s.Plan.Ignored,
		}
		if j.Audit.Request.AutoReconcile == audit.Enforce && !s.Plan.Empty() {
			a.Run = &store.NewRun{
				Principal: "ann", IdempotencyKey: "audit:" + j.Audit.AuditID.String() + ":" + id, RequestHash: []byte(id), TeamID: id,
				Request: store.Request{Source: store.SourceCortex},
			}
		}
		audited = append(audited, a)
	}
	return audited
}

// settle goes over a part until nothing is left.
func (w *world) settle(t *testing.T, j *store.AuditJob) {
	t.Helper()
	for range 3 {
		settled, err := j.Settle(t.Context(), w.compare(t, j), store.Calls{PagerDuty: 1})
		require.NoError(t, err)
		if settled.Left == 0 {
			return
		}
	}
	t.Fatal("teams are left, however often they are compared")
}

// teams does the parts of an audit after its snapshot.
func (w *world) teams(t *testing.T, id uuid.UUID) {
	t.Helper()
	for _, no := range w.handOut(t, id, 100, 2) {
		w.settle(t, claimPart(t, w.s, id, no))
	}
}

func (w *world) end(t *testing.T, id uuid.UUID) store.Audit {
	t.Helper()
	ended, err := w.s.EndAudit(t.Context(), id, nobody)
	require.NoError(t, err)
	require.NotNil(t, ended)
	return *ended
}

func nobody(store.Audit, notice.AuditFinished) ([]store.Delivery, error) { return nil, nil }

// run does a whole audit.
func (w *world) run(t *testing.T, request store.AuditRequest) store.Audit {
	t.Helper()
	id := newAudit(t, w.s, request)
	w.snapshot(t, id, audit.Full)
	w.teams(t, id)
	return w.end(t, id)
}

// findings lists what audits found, as "status team kind entity".
func (w *world) findings(t *testing.T) []string {
	t.Helper()
	rows, err := w.db.Query(t.Context(), "SELECT status || ' ' || team_id || ' ' || kind || ' ' || entity_ref FROM audit_findings ORDER BY 1")
	require.NoError(t, err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return list
}

// finding is the one of a kind that a team has.
func (w *world) finding(t *testing.T, team, kind string) store.AuditFinding {
	t.Helper()
	list, err := w.s.AuditFindings(t.Context(), store.AuditFindingFilter{TeamID: team, Kind: kind, Limit: 2})
	require.NoError(t, err)
	require.Len(t, list, 1)
	return list[0]
}

func (w *world) status(t *testing.T, team string) ownership.SyncStatus {
	t.Helper()
	have, err := w.s.Team(t.Context(), team)
	require.NoError(t, err)
	return have.SyncStatus
}

// link makes a target team the one of a team, as a run does.
func (w *world) link(t *testing.T, team, targetID string) {
	t.Helper()
	exec(t, w.db, "INSERT INTO links (team_id, source, target, target_id) VALUES ($1, 'cortex', 'pagerduty', $2)", team, targetID)
}
