package audits_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	pagerdutysim "github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/simulator/sqs"
	"github.com/nthlayer/nthlayer/pkg/store"
)

// statuses counts the audit's teams by what came of them; "": nothing yet.
func (r *rig) statuses(id uuid.UUID) map[string]int {
	r.t.Helper()
	rows, err := r.db.Query(r.t.Context(), "SELECT coalesce(status, ''), count(*) FROM audit_teams WHERE audit_id = $1 GROUP BY 1", id)
	require.NoError(r.t, err)
	defer rows.Close()
	counts := map[string]int{}
	for rows.Next() {
		var status string
		var n int
		require.NoError(r.t, rows.Scan(&status, &n))
		counts[status] = n
	}
	return counts
}

func TestTeams_OneTeamFails_OthersAreComparedAndItIsUnknownInTheEnd(t *testing.T) {
	r := start(t, fleet(40))
	sick := r.quiet()[0]
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET /teams/" + r.targets()[sick] + "/members", Status: 500}))
	id := r.request(full)
	a := r.finish(id)
	require.Nil(t, a.FinishedAt, "it is tried again")
	require.Equal(t, map[string]int{"in_sync": 29, "out_of_sync": 10, "": 1}, r.statuses(id))
	require.Equal(t, expected(r.org), slices.Sorted(slices.Values(slices.Concat(r.findings(""), orphans(r.org)))))

	r.forgetCalls()
	r.due()
	a = r.finish(id)
	require.Nil(t, a.FinishedAt)
	require.Equal(t, 2, r.calls()[memberReads], "the one that is left, and its repetition")
	r.impatient()
	r.due()
	a = r.finish(id)
	require.Equal(t, audit.Incomplete, a.Status)
	require.Equal(t, 1, a.Report.Counts.Unread)
	require.Equal(t, 1, a.Report.Counts.Unknown)
	require.Equal(t, "PAGERDUTY_UNAVAILABLE", a.Report.Unread[0].Reason)
	team, err := r.Team(t.Context(), sick)
	require.NoError(t, err)
	require.EqualValues(t, "unknown", team.SyncStatus)
	require.Empty(t, orphansAmong(r.findings("")), "what could not be read may stand for anything")

	// Control: when it answers again, the next audit is whole.
	r.pagerduty.Control().ClearFaults()
	require.Equal(t, audit.Succeeded, r.whole(full).Status)
	require.Equal(t, expected(r.org), r.findings(""))
}

func orphans(o *org.Org) []string { return orphansAmong(expected(o)) }

func orphansAmong(findings []string) []string {
	return slices.DeleteFunc(slices.Clone(findings), func(f string) bool { return !strings.Contains(f, "orphan_team") })
}

func TestTeams_TargetGoesAwayInTheMiddle_WhatWasDoneIsKeptAndNothingIsResolved(t *testing.T) {
	r := start(t, fleet(40))
	r.whole(nil)
	before := r.findings(store.FindingOpen)
	id := r.request(full)
	r.step() // the snapshot
	require.Equal(t, store.PhaseTeams, r.audit(id).Phase)
	r.on("GET", "/members", func(n int) {
		if n == 11 {
			require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET *", Status: 503}))
		}
	})
	r.forgetCalls()
	for _, m := range r.messages() {
		require.NoError(t, r.worker.Handle(t.Context(), m))
	}
	r.off()
	statuses := r.statuses(id)
	done := 40 - statuses[""]
	require.GreaterOrEqual(t, done, 10)
	require.Less(t, done, 25, "after three in a row the part is put back")
	require.LessOrEqual(t, r.calls()[memberReads], 10+2*2*3, "two parts, three teams each, tried twice each")
	require.Nil(t, r.finish(id).FinishedAt)
	require.Equal(t, before, r.findings(store.FindingOpen))

	r.due()
	require.Nil(t, r.finish(id).FinishedAt, "patience is not over")
	require.Equal(t, statuses, r.statuses(id))
	r.impatient()
	r.due()
	a := r.finish(id)
	require.Equal(t, audit.Incomplete, a.Status)
	require.Equal(t, statuses[""], a.Report.Counts.Unread)
	require.Equal(t, before, r.findings(store.FindingOpen), "what was found of unread teams stays")
	require.Zero(t, a.Report.Counts.Resolved)

	r.pagerduty.Control().ClearFaults()
	a = r.whole(full)
	require.Equal(t, audit.Succeeded, a.Status)
	require.Equal(t, before, r.findings(store.FindingOpen))
	require.Zero(t, a.Report.Counts.New)
}

// The source's troubles: each way in which it does not tell the whole truth.
func TestSnapshot_SourceInTrouble_NothingIsBelievedNorResolved(t *testing.T) {
	empty := func(o *org.Org) *org.Org {
		c := *o
		c.Teams = slices.Clone(o.Teams)
		for i := range c.Teams {
			c.Teams[i].Maintainers, c.Teams[i].Members = []string{}, []string{}
		}
		return &c
	}
	shrunken := func(o *org.Org) *org.Org {
		c := *o
		c.Teams = o.Teams[:len(o.Teams)*7/10]
		return &c
	}
	for name, tc := range map[string]struct {
		fault   *control.Fault
		org     func(*org.Org) *org.Org
		passing bool // it is tried again before it is given up
		reason  string
	}{
		"down":                    {&control.Fault{Match: "GET *", Status: 500}, nil, true, "CORTEX_UNAVAILABLE"},
		"cut short on the way":    {&control.Fault{Match: "GET *", Truncate: 2000}, nil, true, "CORTEX_UNAVAILABLE"},
		"fewer than it announces": {&control.Fault{Match: "GET *", Body: json.RawMessage(`{"entities":[],"total":40,"page":0,"totalPages":1}`)}, nil, true, "SOURCE_INCOMPLETE"},
		"no total":                {&control.Fault{Match: "GET *", Body: json.RawMessage(`{"entities":[]}`)}, nil, true, "SOURCE_INCOMPLETE"},
		"refuses the key":         {&control.Fault{Match: "GET *", Status: 401}, nil, false, "SOURCE_CREDENTIAL_REFUSED"},
		"fewer teams":             {nil, shrunken, false, "SOURCE_SHRUNKEN"},
		"nobody in any team":      {nil, empty, false, "SOURCE_SHRUNKEN"},
		"no teams at all":         {nil, func(*org.Org) *org.Org { return &org.Org{} }, false, "SOURCE_SHRUNKEN"},
	} {
		t.Run(name, func(t *testing.T) {
			r := known(t, 40)
			before := r.findings("")
			if tc.fault != nil {
				require.NoError(t, r.cortex.Control().Inject(*tc.fault))
			} else {
				require.NoError(t, r.cortex.LoadOrg(tc.org(r.org)))
			}
			id := r.request(full)
			a := r.finish(id)
			if tc.passing {
				require.Nil(t, a.FinishedAt, "it is tried again")
				r.impatient()
				r.due()
				a = r.finish(id)
			}
			require.Equal(t, audit.Failed, a.Status)
			require.Equal(t, tc.reason, a.ErrorReason)
			require.Equal(t, 40, a.Report.Counts.Unknown)
			require.Zero(t, a.Report.Counts.New+a.Report.Counts.Resolved)
			require.Equal(t, before, r.findings(""))
			require.Equal(t, 40, r.count("SELECT count(*) FROM teams WHERE sync_status = 'unknown' AND NOT archived"))
			require.Zero(t, r.calls()[memberReads])

			// Control: the source back as it was, all is well.
			r.cortex.Control().ClearFaults()
			require.NoError(t, r.cortex.LoadOrg(r.org))
			require.Equal(t, audit.Succeeded, r.whole(full).Status)
			require.Equal(t, before, r.findings(""))
		})
	}
}

func TestSnapshot_SourceShrunkenAndAccepted_IsTheNewMeasure(t *testing.T) {
	r := known(t, 40)
	smaller := *r.org
	smaller.Teams = r.org.Teams[:28]
	linked := r.org.Teams[39].Tag
	r.exec("INSERT INTO links (team_id, source, target, target_id) VALUES ($1, 'cortex', 'pagerduty', $2)", linked, r.targets()[linked])
	require.NoError(t, r.cortex.LoadOrg(&smaller))
	require.Equal(t, "SOURCE_SHRUNKEN", r.whole(full).ErrorReason)
	a := r.whole(func(request *store.AuditRequest) { request.AcceptShrunken = true })
	require.Equal(t, audit.Succeeded, a.Status, a.Summary)
	require.Equal(t, 29, a.Report.Counts.Teams, "and the one that a target team still stands for")
	require.Contains(t, r.findings(store.FindingOpen), linked+" team_vanished team:"+linked)
	a = r.whole(full)
	require.Equal(t, audit.Succeeded, a.Status, "what was accepted once is the measure from then on")

	few := smaller
	few.Teams = smaller.Teams[:24]
	require.NoError(t, r.cortex.LoadOrg(&few))
	require.Equal(t, audit.Succeeded, r.whole(full).Status, "a few teams less are a day's work")
}

func TestSnapshot_TargetAway_IsTriedAgainAndThenGivenUp(t *testing.T) {
	for _, match := range []string{"GET /teams", "GET /users", "GET /escalation_policies", "GET /schedules", "GET /audit/records"} {
		t.Run(match, func(t *testing.T) {
			r := known(t, 8)
			before := r.findings("")
			require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: match, Status: 500}))
			id := r.request(full)
			require.Nil(t, r.finish(id).FinishedAt)
			r.due()
			require.Nil(t, r.finish(id).FinishedAt)
			r.impatient()
			r.due()
			a := r.finish(id)
			require.Equal(t, audit.Failed, a.Status)
			require.Equal(t, "PAGERDUTY_UNAVAILABLE", a.ErrorReason)
			require.Equal(t, before, r.findings(""))

			// Control: it comes back while somebody is still patient.
			id = r.request(full)
			require.Nil(t, r.finish(id).FinishedAt)
			r.pagerduty.Control().ClearFaults()
			r.due()
			require.Equal(t, audit.Succeeded, r.finish(id).Status)
			require.Equal(t, before, r.findings(""))
		})
	}
}

// What changed while an audit failed is still read by the next one.
func TestSnapshot_FailedAfterTheRecords_TheNextStillReadsWhatChanged(t *testing.T) {
	r := known(t, 40)
	changed := r.three(theirs)
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET /schedules", Status: 401}))
	require.Equal(t, audit.Failed, r.whole(nil).Status)
	r.pagerduty.Control().ClearFaults()
	r.forgotten() // nothing is told twice
	r.forgetCalls()
	a := r.whole(nil)
	require.Equal(t, audit.Incremental, a.Read)
	require.Equal(t, 3, r.calls()[memberReads])
	require.Subset(t, r.findings(store.FindingOpen), changed)
}

func TestHandle_CanceledInTheMiddle_WritesNothingMore(t *testing.T) {
	r := start(t, fleet(40))
	id := r.request(full)
	r.step()
	require.Equal(t, store.PhaseTeams, r.audit(id).Phase)
	r.on("GET", "/members", func(n int) {
		if n == 5 {
			_, err := r.CancelAudit(context.Background(), id, "bob")
			require.NoError(t, err)
		}
	})
	for _, m := range r.messages() {
		require.NoError(t, r.worker.Handle(t.Context(), m))
	}
	r.off()
	require.Equal(t, map[string]int{"": 40}, r.statuses(id))
	a := r.finish(id)
	require.Equal(t, audit.Canceled, a.Status)
	require.Equal(t, "AUDIT_CANCELED", a.ErrorReason)
	require.Empty(t, r.findings(""))
	require.Empty(t, r.messages(), "nothing is announced any more")
	require.NoError(t, r.worker.Handle(t.Context(), message(id, 1)), "a late message is no error")
}

// A cancellation stops a part that takes long, and not only its end.
func TestHandle_CanceledWhileATeamIsRead_StopsAtTheNextSignOfLife(t *testing.T) {
	r := start(t, fleet(40))
	r.opts.Lease = 300 * time.Millisecond
	r.worker = r.make(r.opts)
	id := r.request(full)
	r.step()
	asked := make(chan struct{})
	var reads atomic.Int64
	r.on("GET", "/members", func(n int) {
		if reads.Store(int64(n)); n == 1 {
			close(asked)
		}
	})
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET /teams/*/members", DelayMS: 1500, Times: 1}))
	handled := make(chan error, 1)
	m := r.messages()[0]
	go func() { handled <- r.worker.Handle(context.Background(), m) }()
	<-asked
	_, err := r.CancelAudit(t.Context(), id, "bob")
	require.NoError(t, err)
	require.NoError(t, <-handled)
	require.EqualValues(t, 1, reads.Load())
}

func TestHandle_WorkerStopped_WhatWasDoneIsKeptAndAnotherGoesOn(t *testing.T) {
	r := start(t, fleet(40))
	id := r.request(full)
	r.step()
	ctx, stop := context.WithCancel(t.Context())
	r.on("GET", "/members", func(n int) {
		if n == 8 {
			stop()
		}
	})
	r.forgetCalls()
	parts := r.messages()
	require.Len(t, parts, 2)
	require.NoError(t, r.worker.Handle(ctx, parts[0]))
	require.Error(t, r.worker.Handle(ctx, parts[1]), "it stays in the queue")
	r.off()
	statuses := r.statuses(id)
	require.GreaterOrEqual(t, 40-statuses[""], 7)
	require.Less(t, 40-statuses[""], 25)
	require.Zero(t, r.count("SELECT count(*) FROM audit_jobs WHERE failing_since IS NOT NULL"), "that is nobody's failure")
	other := r.opts
	other.Owner = "another worker"
	r.worker = r.make(other)
	require.NoError(t, r.worker.Handle(t.Context(), parts[1]))
	a := r.finish(id)
	require.Equal(t, audit.Succeeded, a.Status, "the parts were put back at once")
	require.Equal(t, expected(r.org), r.findings(""))
	require.LessOrEqual(t, r.calls()[memberReads], len(r.targets())+1, "one read was cut off")
	require.Equal(t, 40, a.TeamsDone)
}

func TestHandle_StoppedDuringTheSnapshot_AnotherTakesItAnew(t *testing.T) {
	for _, ends := range []string{"/audit/records", "/teams", "/users", "/escalation_policies", "/schedules"} {
		t.Run(ends, func(t *testing.T) {
			r := start(t, fleet(8))
			id := r.request(full)
			ctx, stop := context.WithCancel(t.Context())
			r.on("GET", ends, func(int) { stop() })
			for _, m := range r.messages() {
				require.NoError(t, r.worker.Handle(ctx, m))
			}
			r.off()
			require.Equal(t, store.PhaseSnapshot, r.audit(id).Phase)
			require.Equal(t, audit.Succeeded, r.finish(id).Status)
			require.Equal(t, expected(r.org), r.findings(""))
		})
	}
}

// A consumer that drains is not kept waiting for the rest of a part.
func TestHandle_ConsumerDrains_ThePartIsGivenBackAfterTheTeamAtHand(t *testing.T) {
	r := start(t, fleet(20))
	server := sqs.New(sqs.Options{})
	endpoint := httptest.NewServer(server)
	t.Cleanup(func() { server.Close(); endpoint.Close() })
	client, err := queue.Open(t.Context(), queue.Config{Endpoint: endpoint.URL})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	require.NoError(t, client.Ensure(t.Context(), queue.Layout{}, "audit.fifo"))
	id := r.request(full)
	r.step()
	part := r.messages()[0]
	_, err = queue.NewProducer(client).Send(t.Context(), []queue.Message{{Queue: "audit.fifo", Group: part.Group, Dedup: "1", Body: part.Body}})
	require.NoError(t, err)

	ctx, stop := context.WithCancel(t.Context())
	draining := make(chan struct{})
	r.on("GET", "/members", func(n int) {
		if n == 3 {
			stop()
			<-draining
		}
	})
	consumer := queue.NewConsumer(client, "audit.fifo", func(ctx context.Context, m queue.Received) error {
		go func() { // the signal that a handler gets
			for {
				if _, yes := queue.StopsAt(ctx); yes {
					close(draining)
					return
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Millisecond):
				}
			}
		}()
		return r.worker.Handle(ctx, m)
	}, slog.New(slog.DiscardHandler), queue.ConsumerOptions{Concurrency: 1})
	require.NoError(t, consumer.Run(ctx))
	r.off()
	require.Equal(t, 3, r.calls()[memberReads], "the third was finished, the fourth not begun")
	require.Positive(t, r.statuses(id)["in_sync"])
	require.Positive(t, r.statuses(id)[""])
	require.Equal(t, audit.Succeeded, r.finish(id).Status)
	require.Equal(t, expected(r.org), r.findings(""))
}

func TestHandle_DeliveredTwiceAtOnce_OneWorks(t *testing.T) {
	r := start(t, fleet(20))
	id := r.request(full)
	r.step()
	part := r.messages()[0]
	workers := []func(context.Context, queue.Received) error{r.worker.Handle, r.make(r.opts).Handle, r.make(r.opts).Handle}
	release := make(chan struct{})
	r.on("GET", "/members", func(n int) {
		if n == 1 {
			<-release
		}
	})
	errs := make(chan error, len(workers))
	var all sync.WaitGroup
	for _, handle := range workers {
		all.Go(func() { errs <- handle(context.Background(), part) })
	}
	for range len(workers) - 1 {
		require.Equal(t, fault.Conflict, fault.KindOf(<-errs), "they come back later")
	}
	close(release)
	all.Wait()
	require.NoError(t, <-errs)
	require.Equal(t, len(r.targets()), r.calls()[memberReads])
	require.Equal(t, 20, r.audit(id).TeamsDone)
	require.NoError(t, r.worker.Handle(t.Context(), part), "done already: the message has done its duty")
	require.Equal(t, len(r.targets()), r.calls()[memberReads])
}

func TestHandle_WorkerVanished_ThePartIsDoneByAnotherAndItsLateWordsAreRefused(t *testing.T) {
	r := start(t, fleet(20))
	id := r.request(full)
	r.step()
	part := r.messages()[0]
	slow := r.opts
	slow.Owner = "frozen worker"
	frozen, asked, release := r.make(slow), make(chan struct{}), make(chan struct{})
	r.on("GET", "/members", func(n int) {
		if n == 1 {
			close(asked)
			<-release
		}
	})
	handled := make(chan error, 1)
	go func() { handled <- frozen.Handle(context.Background(), part) }()
	<-asked
	r.exec("UPDATE audit_jobs SET until = now() - interval '1 second' WHERE done_at IS NULL") // its lease is over
	require.NoError(t, r.worker.Handle(t.Context(), part))
	require.Equal(t, 20, r.audit(id).TeamsDone)
	after := r.findings("")
	close(release)
	require.NoError(t, <-handled)
	require.Equal(t, after, r.findings(""))
	require.Equal(t, 20, r.audit(id).TeamsDone)
	require.Equal(t, audit.Succeeded, r.finish(id).Status)
}

func TestHandle_UnreadableMessage_IsBuried(t *testing.T) {
	r := start(t, fleet(4))
	bodies := []string{"", "nonsense", "{}", `{"audit_id":"` + uuid.NewString() + `"}`, `{"job_no":1}`, `{"audit_id":"x","job_no":1}`, `[]`}
	for _, body := range bodies {
		require.NoError(t, r.worker.Handle(t.Context(), queue.Received{ID: "m" + body, Queue: "audit.fifo", Body: []byte(body)}), body)
	}
	require.NoError(t, r.worker.Handle(t.Context(), message(uuid.New(), 0)), "no such audit")
	letters, err := r.DeadLetters(t.Context(), store.DeadLetterFilter{Limit: 100})
	require.NoError(t, err)
	require.Len(t, letters, len(bodies)+1)
	for _, l := range letters {
		require.Equal(t, store.AuditQueue, l.Queue)
		require.Contains(t, []string{"MESSAGE_UNREADABLE", "AUDIT_NOT_FOUND"}, l.Reason)
	}
	require.NoError(t, r.worker.HandleDead(t.Context(), queue.Received{ID: "dead", Queue: "audit-dlq.fifo", Body: []byte("nonsense")}))
	require.NoError(t, r.worker.HandleDead(t.Context(), message(r.request(nil), 0)))
	letters, err = r.DeadLetters(t.Context(), store.DeadLetterFilter{Limit: 100})
	require.NoError(t, err)
	require.Len(t, letters, len(bodies)+2, "what names an audit is announced again, and no dead letter")
}

// A part that came too early waits for its time.
func TestHandle_NotDue_DoesNothing(t *testing.T) {
	r := start(t, fleet(4))
	id := r.request(nil)
	r.exec("UPDATE audit_jobs SET available_at = now() + interval '1 hour'")
	require.NoError(t, r.worker.Handle(t.Context(), message(id, 0)))
	require.Equal(t, audit.Queued, r.audit(id).Status)
	require.Empty(t, r.calls())
}

// A run that mends a team while the audit is at it knows better: what was read before is not written down.
func TestTeams_RunMendsATeamMeanwhile_WhatItSawCounts(t *testing.T) {
	r := start(t, fleet(20))
	tag := r.quiet()[0]
	target := r.targets()[tag]
	userID, email, role := r.unheld(tag)
	r.by(ours, "DELETE", "/teams/"+target+"/users/"+userID, "")
	id := r.request(full)
	r.step()
	claim := r.run(tag)
	wasRead, mended := false, false
	r.mu.Lock()
	r.before = func(req *http.Request) {
		switch {
		case strings.HasSuffix(req.URL.Path, target+"/members"):
			wasRead = true
		case wasRead && !mended:
			mended = true
			r.by(ours, "PUT", "/teams/"+target+"/users/"+userID, `{"role":"`+role+`"}`)
			members := r.observed(target)
			require.NoError(t, claim.Finish(context.Background(), store.Ending{
				Status: store.Succeeded, Sync: ownership.InSync, Seen: &members,
			}))
		}
	}
	r.mu.Unlock()
	a := r.finish(id)
	r.off()
	require.True(t, mended)
	require.Equal(t, audit.Succeeded, a.Status)
	require.Equal(t, expected(r.org), r.findings(""))
	require.NotContains(t, r.findings(""), tag+" add_member person:"+email)
	require.Equal(t, 20, a.TeamsDone)
}

// observed is a team as the simulator holds it, asked without a request.
func (r *rig) observed(target string) (o ownership.Observed) {
	for _, t := range r.pagerduty.State().(pagerdutysim.State).Teams {
		if t.ID == target {
			o = ownership.Observed{TargetID: t.ID, Name: t.Name, Description: t.Description}
			for _, m := range t.Members {
				o.Members = append(o.Members, ownership.ObservedMember{
					User: ownership.User{ID: m.UserID, Email: m.Email, Base: "user"}, Role: ownership.Role(m.Role),
				})
			}
		}
	}
	return o
}

func TestTeams_QuotaUsedUp_ThePartWaitsAsLongAsItIsTold(t *testing.T) {
	r := start(t, fleet(20))
	id := r.request(full)
	r.step()
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{
		Match: "GET /teams/*/members", Status: 429, Headers: map[string]string{"Ratelimit-Reset": "20", "Ratelimit-Remaining": "0"}, Times: 1,
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // the transport itself would wait
	defer cancel()
	require.NoError(t, r.worker.Handle(ctx, r.messages()[0]))
	require.Equal(t, 20, r.statuses(id)[""])
	require.Empty(t, r.messages(), "it is not due yet")
	r.due()
	require.Equal(t, audit.Succeeded, r.finish(id).Status)
}

func TestSnapshot_PutBack_ItsCallsCount(t *testing.T) {
	r := start(t, fleet(8))
	require.NoError(t, r.pagerduty.Control().Inject(control.Fault{Match: "GET /schedules", Status: 500, Times: 2}))
	id := r.request(full)
	require.Nil(t, r.finish(id).FinishedAt)
	r.due()
	a := r.finish(id)
	require.Equal(t, audit.Succeeded, a.Status)
	require.Equal(t, r.pagerduty.Control().Calls().Total, a.PagerDutyCalls)
	require.Equal(t, r.cortex.Control().Calls().Total, a.CortexCalls)
}
