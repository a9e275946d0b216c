package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// AuditStep is what an audit that has not ended waits for.
type AuditStep struct {
	AuditID uuid.UUID
	Scan    bool // teams are to be handed out; else it is to be ended
}

// AuditSteps lists the audits that have to be moved on by somebody who works on no part of them.
func (s *Store) AuditSteps(ctx context.Context) ([]AuditStep, error) {
	rows, err := s.q.UnfinishedAudits(ctx)
	if err != nil {
		return nil, wrap(err, "list unfinished audits")
	}
	var steps []AuditStep
	for _, row := range rows {
		steps = append(steps, AuditStep{AuditID: row.AuditID, Scan: row.Scan})
	}
	return steps, nil
}

// HandOut hands the next teams of an audit out, in parts of some teams each, and remembers how far it is, all in one
// transaction: a crash neither skips a team nor hands one out twice. It gives how many it was; none are left where it is
// fewer than page. Somebody else at it is no error: then it is none.
func (s *Store) HandOut(ctx context.Context, auditID uuid.UUID, page, part int) (int, error) {
	handed := 0
	err := s.tx(ctx, "hand teams of an audit out", func(q *db.Queries) error {
		handed = 0
		row, err := q.LockIdleAudit(ctx, auditID)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && row.Phase != PhaseScan {
			return nil
		}
		if err != nil {
			return err
		}
		teams, err := q.NextAuditTeams(ctx, db.NextAuditTeamsParams{AuditID: auditID, After: row.ScanAfter, PageSize: int32(page)})
		if err != nil {
			return err
		}
		last, err := q.LastAuditJob(ctx, auditID)
		if err != nil {
			return err
		}
		p := db.HandOutTeamsParams{AuditID: auditID, TeamIds: teams, Queue: AuditQueue, Trace: row.Trace}
		for i := range teams {
			p.JobNos = append(p.JobNos, last+1+int32(i/part))
		}
		after := row.ScanAfter
		if handed = len(teams); handed > 0 {
			after = teams[handed-1]
			if err := q.HandOutTeams(ctx, p); err != nil {
				return err
			}
		}
		if err := q.MoveScan(ctx, db.MoveScanParams{AuditID: auditID, ScanAfter: after, Over: handed < page}); err != nil {
			return err
		}
		return q.TellAudit(ctx, auditID.String())
	})
	return handed, err
}

const (
	shownFindings = 200 // new and resolved findings that a report names; the list of findings has all
	shownTeams    = 10
	shownRules    = 10
	shownTrend    = 30
)

// Telling decides from an ended audit's report whom to tell.
type Telling func(Audit, notice.AuditFinished) ([]Delivery, error)

// EndAudit ends an audit whose parts are done, that was given up or that somebody canceled: it finds what only the fleet
// as a whole shows, counts, and queues what is told, all in one transaction. It is false where somebody else is at it or
// the audit has ended.
func (s *Store) EndAudit(ctx context.Context, auditID uuid.UUID, tell Telling) (ended *Audit, err error) {
	err = s.tx(ctx, "end an audit", func(q *db.Queries) error {
		ended = nil
		row, err := q.LockIdleAudit(ctx, auditID)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && row.FinishedAt != nil {
			return nil
		}
		if err != nil {
			return err
		}
		a, err := auditFrom(row)
		if err != nil {
			return err
		}
		if a.CanceledBy != "" { // somebody may be writing what was compared until then, and what is counted must stay so
			if busy, err := q.FenceAuditJobs(ctx, auditID); err != nil || busy > 0 {
				return err
			}
		}
		e := ending{q: q, audit: a, now: time.Now()}
		if err := e.end(ctx, tell); err != nil {
			return err
		}
		ended = &e.audit
		return nil
	})
	return ended, err
}

// ending is an audit that is being ended.
type ending struct {
	q     *db.Queries
	audit Audit
	now   time.Time
	teams db.CountAuditTeamsRow  // what came of them
	past  []notice.AuditFinished // the audits before, the newest first
	since time.Time              // when the one before ended
}

func (e *ending) end(ctx context.Context, tell Telling) error {
	a := &e.audit
	canceled := a.CanceledBy != ""
	if err := e.history(ctx); err != nil {
		return err
	}
	var err error
	if e.teams, err = e.q.CountAuditTeams(ctx, a.AuditID); err != nil {
		return err
	}
	if !canceled && a.ErrorReason == "" {
		if err := e.fleet(ctx); err != nil {
			return err
		}
	}
	report, err := e.report(ctx)
	if err != nil {
		return err
	}
	a.Status = audit.Succeeded
	switch {
	case canceled:
		a.Status, report.ErrorReason, report.ErrorMessage = audit.Canceled, "AUDIT_CANCELED", "canceled by "+a.CanceledBy
	case a.ErrorReason != "":
		a.Status, report.ErrorReason, report.ErrorMessage = audit.Failed, a.ErrorReason, a.ErrorMessage
	case report.Counts.Unread > 0:
		a.Status = audit.Incomplete
	}
	if a.Status == audit.Succeeded && a.Read == audit.Full && a.Request.Scope.Whole() {
		if err := e.q.NoteFullRead(ctx, *a.StartedAt); err != nil {
			return err
		}
	}
	report.Status = a.Status
	report.Summary = summarize(*report)
	a.Report, a.Summary, a.ErrorReason, a.ErrorMessage, a.FinishedAt = report, report.Summary, report.ErrorReason, report.ErrorMessage, &e.now
	if !canceled {
		if err := e.tell(ctx, tell); err != nil {
			return err
		}
	}
	short, details := split(*report)
	if err := e.q.SaveAuditDetails(ctx, db.SaveAuditDetailsParams{AuditID: a.AuditID, Details: encode(details)}); err != nil {
		return err
	}
	if err := e.q.FinishAudit(ctx, db.FinishAuditParams{
		AuditID: a.AuditID, Status: a.Status, Report: encode(short), Summary: text(a.Summary),
		ErrorReason: a.ErrorReason, ErrorMessage: text(a.ErrorMessage),
	}); err != nil {
		return err
	}
	return e.q.TellAudit(ctx, a.AuditID.String())
}

// details are the long lists of a report, which a list of audits need not read.
type details struct {
	New      []notice.AuditItem  `json:"new"`
	Resolved []notice.AuditItem  `json:"resolved"`
	Trend    []notice.AuditPoint `json:"trend"`
}

func split(report notice.AuditFinished) (notice.AuditFinished, details) {
	long := details{report.New, report.Resolved, report.Trend}
	report.New, report.Resolved, report.Trend = nil, nil, nil
	return report, long
}

// AuditReport is the whole report of an audit that has ended; nil: there is none.
func (s *Store) AuditReport(ctx context.Context, a Audit) (*notice.AuditFinished, error) {
	if a.Report == nil {
		return nil, nil
	}
	row, err := s.q.GetAuditDetails(ctx, a.AuditID)
	if err != nil {
		return nil, wrap(err, "read the details of an audit")
	}
	var long details
	if err := decode(row, &long); err != nil {
		return nil, err
	}
	report := *a.Report
	report.New, report.Resolved, report.Trend = long.New, long.Resolved, long.Trend
	return &report, nil
}

// history reads what the audits before came to.
func (e *ending) history(ctx context.Context) error {
	rows, err := e.q.EndedAudits(ctx, db.EndedAuditsParams{
		ScheduleID: e.audit.ScheduleID, Scope: encode(e.audit.Request.Scope), Before: e.audit.AuditID, PageSize: shownTrend - 1,
	})
	if err != nil {
		return err
	}
	e.since = e.audit.CreatedAt
	for i, row := range rows {
		var past notice.AuditFinished
		if err := decode(row.Report, &past); err != nil {
			return err
		}
		e.past = append(e.past, past)
		if i == 0 {
			e.since = *row.FinishedAt
		}
	}
	return nil
}

// fleet finds what only the fleet as a whole shows: target teams that several teams stand for and, where nothing was left
// out, those that none stands for. What could not be read, or was left out, may stand for any of them, so nothing is
// resolved by its absence then. Where nothing was left out, teams that are on neither side any more are not wrong any more.
func (e *ending) fleet(ctx context.Context) error {
	a := e.audit
	shared, err := e.q.SharedTargets(ctx, a.AuditID)
	if err != nil {
		return err
	}
	var findings []audit.Finding
	for _, row := range shared {
		for _, team := range row.Teams {
			others := slices.DeleteFunc(slices.Clone(row.Teams), func(other string) bool { return other == team })
			findings = append(findings, audit.Finding{
				TeamID: team, Kind: audit.SharedTarget, EntityRef: "target:" + row.TargetID, TargetID: row.TargetID,
				Message: fmt.Sprintf("team %q on the target also stands for %s: whoever is reconciled last decides who is in it; name another team in the source's custom data pagerduty-team-id",
					row.Name, strings.Join(others, ", ")),
			})
		}
	}
	if !a.Request.Scope.Whole() {
		return saveFindings(ctx, e.q, a, nil, findings, true)
	}
	if err := e.q.LoseTeams(ctx, a.AuditID); err != nil {
		return err
	}
	gone, err := e.q.UnconcernedTeams(ctx, a.AuditID)
	if err != nil {
		return err
	}
	if err := saveFindings(ctx, e.q, a, gone, nil, false); err != nil {
		return err
	}
	compared := gone
	if e.teams.Unread == 0 {
		all, err := e.q.ComparedTeams(ctx, a.AuditID)
		if err != nil {
			return err
		}
		compared = append(compared, all...)
	}
	if e.teams.Unread == 0 && a.TargetsListed {
		orphans, err := e.orphans(ctx)
		if err != nil {
			return err
		}
		findings = append(findings, orphans...)
		compared = append(compared, "")
	}
	return saveFindings(ctx, e.q, a, compared, findings, true)
}

func (e *ending) orphans(ctx context.Context) ([]audit.Finding, error) {
	rows, err := e.q.OrphanTeams(ctx, e.audit.AuditID)
	if err != nil {
		return nil, err
	}
	wanted := audit.Scope{Exclude: e.audit.Request.IgnoreOrphans}.Compile()
	var findings []audit.Finding
	for _, row := range rows {
		if !wanted.Matches(row.Name) {
			continue
		}
		findings = append(findings, audit.Finding{
			Kind: audit.OrphanTeam, EntityRef: "target:" + row.TargetID, TargetID: row.TargetID,
			Message: fmt.Sprintf("no team of the source stands for team %q on the target; declare one, take the team down, or let the schedule ignore it", row.Name),
		})
	}
	return findings, nil
}

// report counts what came out.
func (e *ending) report(ctx context.Context) (*notice.AuditFinished, error) {
	a := e.audit
	r := &notice.AuditFinished{
		AuditID: a.AuditID.String(), ScheduleID: a.ScheduleID, RequestedBy: a.RequestedBy, Read: a.Read, ReadReason: a.ReadReason,
		FinishedAt: e.now, StartedAt: a.CreatedAt, RunsStarted: a.RunsStarted,
		Calls: notice.AuditCalls{Cortex: a.CortexCalls, PagerDuty: a.PagerDutyCalls},
	}
	if a.StartedAt != nil {
		r.StartedAt = *a.StartedAt
	}
	teams := e.teams
	r.Counts = notice.AuditCounts{
		Teams: int(teams.Teams), InSync: int(teams.InSync), OutOfSync: int(teams.OutOfSync), Unknown: int(teams.Unknown),
		Unread: int(teams.Unread), Missed: int(teams.Missed),
	}
	if err := e.kinds(ctx, r); err != nil {
		return nil, err
	}
	if err := e.ignored(ctx, r); err != nil {
		return nil, err
	}
	top, err := e.q.TopTeams(ctx, db.TopTeamsParams{AuditID: a.AuditID, PageSize: shownTeams})
	if err != nil {
		return nil, err
	}
	for _, t := range top {
		r.TopTeams = append(r.TopTeams, notice.AuditTeam{TeamID: t.TeamID, Name: t.Name, Open: int(t.Open)})
	}
	unread, err := e.q.UnreadAuditTeams(ctx, a.AuditID)
	if err != nil {
		return nil, err
	}
	for _, u := range unread {
		r.Unread = append(r.Unread, notice.AuditUnread{Reason: u.UnreadReason, Message: u.UnreadMessage, Teams: int(u.Teams)})
	}
	fresh, err := e.q.FreshFindings(ctx, db.FreshFindingsParams{AuditID: a.AuditID, PageSize: shownFindings})
	if err != nil {
		return nil, err
	}
	r.New = items(fresh)
	gone, err := e.q.GoneFindings(ctx, db.GoneFindingsParams{AuditID: a.AuditID, Since: e.since, Whole: a.Request.Scope.Whole(), PageSize: shownFindings})
	if err != nil {
		return nil, err
	}
	r.Resolved = items(gone)
	if len(e.past) > 0 {
		r.Previous = &e.past[0].Counts
	}
	for _, past := range slices.Backward(e.past) {
		r.Trend = append(r.Trend, point(past))
	}
	r.Trend = append(r.Trend, point(*r))
	return r, nil
}

func (e *ending) kinds(ctx context.Context, r *notice.AuditFinished) error {
	kinds, err := e.q.CountAuditFindings(ctx, db.CountAuditFindingsParams{
		AuditID: e.audit.AuditID, Since: e.since, Whole: e.audit.Request.Scope.Whole(),
	})
	if err != nil {
		return err
	}
	for _, k := range kinds {
		r.Kinds = append(r.Kinds, notice.AuditKind{
			Kind: k.Kind, Open: int(k.Open), Acknowledged: int(k.Acknowledged), New: int(k.New + k.Reopened), Resolved: int(k.Resolved),
		})
		r.Counts.Open += int(k.Open)
		r.Counts.Acknowledged += int(k.Acknowledged)
		r.Counts.New += int(k.New)
		r.Counts.Reopened += int(k.Reopened)
		r.Counts.Resolved += int(k.Resolved)
	}
	return nil
}

// ignored says what ignore rules hid.
func (e *ending) ignored(ctx context.Context, r *notice.AuditFinished) error {
	rows, err := e.q.AuditIgnored(ctx, e.audit.AuditID)
	if err != nil {
		return err
	}
	for _, row := range rows {
		r.Counts.Ignored += int(row.Differences)
		if rule := ignoreRuleFrom(row.IgnoreRule); len(r.IgnoreRules) < shownRules {
			r.IgnoreRules = append(r.IgnoreRules, notice.AuditRule{
				RuleID: rule.ID, TeamID: rule.TeamID, Kind: string(rule.Kind), Value: rule.Value, Reason: rule.Reason, Owner: rule.Owner,
				Until: rule.ExpiresAt, Ignored: int(row.Differences),
			})
		}
	}
	return nil
}

func items(findings []db.AuditFinding) []notice.AuditItem {
	list := make([]notice.AuditItem, len(findings))
	for i, f := range findings {
		list[i] = notice.AuditItem{
			FindingID: f.FindingID.String(), TeamID: f.TeamID, Kind: f.Kind, Category: f.Category, Entity: f.EntityRef,
			Message: f.Message, Status: f.Status, Since: f.FirstSeenAt, Returned: f.Reopened > 0, ChangedBy: f.ChangedBy,
		}
	}
	return list
}

func point(a notice.AuditFinished) notice.AuditPoint {
	return notice.AuditPoint{
		At: a.FinishedAt, InSync: a.Counts.InSync, OutOfSync: a.Counts.OutOfSync, Unknown: a.Counts.Unknown, Open: a.Counts.Open,
	}
}

// summarize says in one sentence what came out.
func summarize(a notice.AuditFinished) string {
	c := a.Counts
	text := fmt.Sprintf("%s: %d in sync, %d out of sync, %d unknown; %d new, %d returned, %d resolved",
		plural(c.Teams, "team", "teams"), c.InSync, c.OutOfSync, c.Unknown, c.New, c.Reopened, c.Resolved)
	if c.Ignored > 0 {
		text += "; " + plural(c.Ignored, "difference", "differences") + " ignored"
	}
	switch a.Status {
	case audit.Canceled:
		return fmt.Sprintf("%s after %d of %d teams", a.ErrorMessage, c.Teams-c.Unread, c.Teams)
	case audit.Failed:
		return fmt.Sprintf("nothing could be compared, %s unknown, what was found before stays: %s", plural(c.Teams, "team is", "teams are"), a.ErrorMessage)
	case audit.Incomplete:
		return text + fmt.Sprintf("; %s could not be read, what was found of them before stays", plural(c.Unread, "team", "teams"))
	}
	if c.Missed > 0 {
		text += fmt.Sprintf("; %s had changed without a record", plural(c.Missed, "team", "teams"))
	}
	return text
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// tell queues what is told of the audit.
func (e *ending) tell(ctx context.Context, tell Telling) error {
	deliveries, err := tell(e.audit, *e.audit.Report)
	if err != nil {
		return err
	}
	for _, d := range deliveries {
		if err := insertDelivery(ctx, e.q, e.audit.AuditID, e.audit.Trace, d); err != nil {
			return err
		}
	}
	return nil
}

// insertDelivery queues a delivery, unless there is one of its key.
func insertDelivery(ctx context.Context, q *db.Queries, id uuid.UUID, trace map[string]string, d Delivery) error {
	inserted, err := q.InsertDelivery(ctx, db.InsertDeliveryParams{
		DeliveryKey: d.Key, JobID: id, Medium: d.Medium, Channel: d.Channel, Payload: plain(d.Payload),
	})
	if err != nil || inserted == 0 {
		return err
	}
	return q.InsertOutbox(ctx, db.InsertOutboxParams{
		Queue: NotificationsQueue, GroupID: d.Channel, DedupID: d.Key,
		Body: encode(map[string]string{"delivery_key": d.Key}), Attributes: encode(orEmpty(trace)),
	})
}

// PruneAudits forgets what ended audits worked with.
func (s *Store) PruneAudits(ctx context.Context, keep time.Duration) error {
	return wrap(s.q.PruneAudits(ctx, keep), "prune audits")
}

// FleetCount is how many teams or findings there are of some sort.
type FleetCount struct {
	Status    string // of the teams, or of the findings
	Kind, Age string // of the findings
	N         int64
}

// CountFleet counts teams by sync status, and findings that are not resolved by kind, status and age.
func (s *Store) CountFleet(ctx context.Context) (teams, findings []FleetCount, err error) {
	byStatus, err := s.q.CountTeamsByStatus(ctx)
	if err != nil {
		return nil, nil, wrap(err, "count teams")
	}
	for _, row := range byStatus {
		teams = append(teams, FleetCount{Status: row.SyncStatus, N: row.Teams})
	}
	byAge, err := s.q.CountFindingsByAge(ctx)
	if err != nil {
		return nil, nil, wrap(err, "count findings")
	}
	for _, row := range byAge {
		findings = append(findings, FleetCount{Status: row.Status, Kind: row.Kind, Age: row.Age, N: row.Findings})
	}
	return teams, findings, nil
}
