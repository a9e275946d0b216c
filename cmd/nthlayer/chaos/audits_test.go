package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/testkit/checker"
)

const (
	auditors     = 3 // each has one audit under way
	considering  = 3 * time.Second
	everyMinute  = "every-minute"
	auditsWithin = 2 * time.Minute
	lostPart     = "part of an audit lost"
)

// schedule has everything audited each minute, and Slack told.
func (r *rig) schedule(t *testing.T) {
	t.Helper()
	o := &owner{load: r.load, random: rand.New(rand.NewPCG(r.seed, 1<<33))}
	require.NoError(t, o.ask(t.Context(), "/v1/schedules", map[string]any{
		"schedule_id": everyMinute, "settings": map[string]any{"cron": "* * * * *", "notify": "always", "slack_channel": "C0OWNERSHIP"},
	}))
}

// audit has one audit made after the other. That one is under way keeps nobody from resting: it is judged in the end.
func (l *load) audit(ctx context.Context, random *rand.Rand) {
	o := &owner{load: l, random: random}
	for l.begin() {
		id, err := o.startAudit(ctx)
		if err != nil {
			l.complain(err)
		}
		l.done()
		if err == nil {
			o.follow(ctx, id)
		}
		pause(ctx, time.Duration(random.Int64N(int64(considering))))
	}
}

// startAudit asks for an audit of some kind, or for the schedule's now, and thinks better of some.
func (o *owner) startAudit(ctx context.Context) (id string, err error) {
	r := o.load.rig
	if o.random.IntN(10) == 0 {
		r.note("schedule triggered")
		err = o.insist(ctx, "a gateway triggers the schedule", func(ctx context.Context, gateway int) (err error) {
			id, err = o.load.postAudit(ctx, gateway, "/v1/schedules/"+everyMinute+":trigger", "", struct{}{})
			return err
		})
		return id, err
	}
	key, request := fmt.Sprintf("audit-%016x", o.random.Uint64()), map[string]any{"mode": []string{"auto", "full", "incremental"}[o.random.IntN(3)]}
	switch o.random.IntN(4) {
	case 0:
		request["scope"] = map[string][]string{"include": {"team-1*", "team-?5"}}
	case 1:
		request["scope"] = map[string][]string{"exclude": {"team-0?", "*4"}}
	}
	id, err = o.acceptAudit(ctx, key, request)
	if err == nil && o.random.IntN(4) == 0 { // a client that does not know that it was answered
		_, err = o.acceptAudit(ctx, key, request)
	}
	if err == nil && o.random.IntN(6) == 0 {
		pause(ctx, time.Duration(o.random.Int64N(int64(500*time.Millisecond))))
		r.note("audit canceled")
		err = o.ask(ctx, "/v1/audits/"+id+":cancel", struct{}{}, http.StatusBadRequest) // it has ended already
	}
	return id, err
}

// acceptAudit asks until one answers 202. The key stays the same.
func (o *owner) acceptAudit(ctx context.Context, key string, request any) (id string, err error) {
	err = o.insist(ctx, "a gateway accepts an audit", func(ctx context.Context, gateway int) (err error) {
		id, err = o.load.postAudit(ctx, gateway, "/v1/audits", key, request)
		return err
	})
	return id, err
}

// postAudit asks one gateway once, and notes what it accepted.
func (l *load) postAudit(ctx context.Context, gateway int, path, key string, request any) (id string, err error) {
	var answer struct {
		AuditID string `json:"audit_id"`
	}
	status, err := l.call(ctx, gateway, http.MethodPost, path, key, request, &answer)
	if err != nil {
		return "", err
	}
	if status >= http.StatusMultipleChoices {
		return "", fmt.Errorf("answered %d", status)
	}
	l.rig.mu.Lock()
	defer l.rig.mu.Unlock()
	l.rig.audits = append(l.rig.audits, checker.Accepted{Key: key, JobID: answer.AuditID})
	return answer.AuditID, nil
}

// follow waits until an audit has ended, as a gateway tells it; empty: it has not.
func (o *owner) follow(ctx context.Context, id string) (status string) {
	for at := o.random.IntN(len(gateways)); ctx.Err() == nil; at++ {
		var audit struct{ Status string }
		asking, cancel := context.WithTimeout(ctx, acceptTry)
		answered, err := o.load.call(asking, at%len(gateways), http.MethodGet, "/v1/audits/"+id, "", nil, &audit)
		cancel()
		if err == nil && answered == http.StatusOK && audit.Status != "queued" && audit.Status != "running" {
			return audit.Status
		}
		pause(ctx, lookEvery)
	}
	return ""
}

// schedulerGoes ends and freezes the one process that hands teams out, ends audits and ticks.
func schedulerGoes(t *testing.T, r *rig) {
	r.load.work()
	for range 3 {
		pause(t.Context(), 500*time.Millisecond)
		r.kill(t, scheduler)
	}
	pause(t.Context(), 500*time.Millisecond)
	r.freeze(t.Context(), scheduler, lease)
	r.terminate(t, scheduler)
}

// frozenAuditing freezes a worker while it reads a team for an audit, until somebody else has done its part. When it wakes
// up it must not count its teams once more.
func frozenAuditing(t *testing.T, r *rig) {
	r.load.work()
	ctx := within(t, time.Minute)
	team := tag(60)
	state, _ := r.observed(team)
	o := &owner{load: r.load, random: rand.New(rand.NewPCG(r.random64(), 0))}
	h := r.gates.hold(http.MethodGet, "/teams/"+state.ID+"/members", false)
	id, err := o.acceptAudit(ctx, fmt.Sprintf("frozen-%016x", o.random.Uint64()), map[string]any{
		"mode": "full", "scope": map[string][]string{"include": {"team-6*"}},
	})
	require.NoError(t, err)
	worker, err := h.await(ctx) // for this audit or another one
	require.NoError(t, err)
	before, err := r.said(worker, "", lostPart)
	require.NoError(t, err)
	r.note("SIGSTOP worker")
	require.NoError(t, r.system.Service(worker).Signal(syscall.SIGSTOP))
	h.letGo()
	status := o.follow(ctx, id)
	pause(ctx, lease)
	require.NoError(t, until(ctx, "the frozen worker's part is another's", r.holds(`SELECT NOT EXISTS (
		SELECT FROM audit_jobs JOIN audits USING (audit_id)
		WHERE done_at IS NULL AND finished_at IS NULL AND until > to_timestamp(0) AND until < now())`)))
	require.NoError(t, r.system.Service(worker).Signal(syscall.SIGCONT))
	require.Equal(t, "succeeded", status)
	require.NoError(t, until(ctx, worker+" says "+lostPart, func(context.Context) (bool, error) {
		n, err := r.said(worker, "", lostPart)
		return n > before, err
	}))
}

// auditOnceMore has people change teams when all is calm, and audits them: by increments, which must know as much as the
// full read after them.
func (r *rig) auditOnceMore(t *testing.T) {
	t.Helper()
	ctx := within(t, auditsWithin)
	o := &owner{load: r.load, random: rand.New(rand.NewPCG(r.random64(), 0))}
	require.NoError(t, o.ask(ctx, "/v1/schedules/"+everyMinute+":pause", map[string]string{"reason": "nobody is to come between"}))
	r.awaitAudits(t)
	for i := range 20 {
		require.NoError(t, o.drift(ctx, tag(i)))
	}
	r.prepare(t, tag(60))
	for _, mode := range []string{"incremental", "full"} {
		id, err := o.acceptAudit(ctx, fmt.Sprintf("last-%016x", o.random.Uint64()), map[string]any{"mode": mode})
		require.NoError(t, err)
		require.Equal(t, "succeeded", o.follow(ctx, id), "audit %s", id)
		r.lastAudit = id
	}
}

// awaitAudits waits until no audit is under way.
func (r *rig) awaitAudits(t *testing.T) {
	t.Helper()
	err := until(within(t, auditsWithin), "no audit is under way", func(ctx context.Context) (bool, error) {
		err := r.query(ctx, func(conn *pgx.Conn) error {
			rows, err := conn.Query(ctx, `SELECT to_json(audits)::text || ' ' || coalesce((
					SELECT json_agg(audit_jobs) FROM audit_jobs WHERE audit_jobs.audit_id = audits.audit_id AND done_at IS NULL)::text, 'no part')
				FROM audits WHERE finished_at IS NULL`)
			if err != nil {
				return err
			}
			left, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("%d audits are left, as %s", len(left), left[0])
			}
			return err
		})
		if err != nil {
			err = errors.Join(err, r.age(ctx))
		}
		return err == nil, err
	})
	if err != nil {
		t.Error(err)
	}
}
