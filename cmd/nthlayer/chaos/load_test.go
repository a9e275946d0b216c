package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/testkit/checker"
)

const (
	owners      = 8
	thinking    = 400 * time.Millisecond // at most, between two turns of an owner
	acceptTry   = 5 * time.Second
	acceptAgain = 200 * time.Millisecond
	lookEvery   = 200 * time.Millisecond
	endWithin   = 3 * time.Minute // patience, and time to notice
)

// load is owners who all the time drift their teams as people do, have them reconciled, and look what came of it. A team
// has one owner, and the owner does one thing at a time: what is on PagerDuty at the end of a run is the run's doing.
// Auditors have all of them compared meanwhile.
type load struct {
	rig *rig
	web *http.Client
	all sync.WaitGroup

	mu      sync.Mutex
	moved   *sync.Cond
	resting bool
	ended   bool
	busy    int
	trouble []string // what owners could not do
}

func newLoad(t *testing.T, r *rig) *load {
	l := &load{rig: r, web: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * owners}}, resting: true}
	l.moved = sync.NewCond(&l.mu)
	ctx, leave := context.WithCancel(context.WithoutCancel(t.Context()))
	for i := range auditors {
		l.all.Go(func() { l.audit(ctx, rand.New(rand.NewPCG(r.seed, uint64(owners+i+1)))) })
	}
	for i := range owners {
		l.all.Go(func() {
			o := &owner{load: l, random: rand.New(rand.NewPCG(r.seed, uint64(i+1)))}
			for team := i; team < loadTeams; team += owners {
				o.teams = append(o.teams, tag(team))
			}
			for l.begin() {
				if err := o.turn(ctx, o.teams[o.random.IntN(len(o.teams))]); err != nil {
					l.complain(err)
				}
				l.done()
				pause(ctx, time.Duration(o.random.Int64N(int64(thinking))))
			}
		})
	}
	t.Cleanup(func() {
		l.mu.Lock()
		l.ended = true
		l.moved.Broadcast()
		l.mu.Unlock()
		leave()
		l.all.Wait()
		l.web.CloseIdleConnections()
	})
	return l
}

func (l *load) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.resting && !l.ended {
		l.moved.Wait()
	}
	l.busy++
	return !l.ended
}

func (l *load) done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy--
	l.moved.Broadcast()
}

func (l *load) complain(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trouble = append(l.trouble, err.Error())
}

func (l *load) work() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resting = false
	l.moved.Broadcast()
}

// rest waits until every owner has seen the end of the run that it waits for.
func (l *load) rest(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.resting = true; l.busy > 0; {
		l.moved.Wait() // each turn has its own deadline
	}
	for _, what := range l.trouble {
		t.Error(what)
	}
	l.trouble = nil
}

type owner struct {
	load   *load
	teams  []string
	random *rand.Rand
}

// turn is one drift, one run and one look.
func (o *owner) turn(ctx context.Context, team string) error {
	if err := o.drift(ctx, team); err != nil {
		return fmt.Errorf("drift %s: %w", team, err)
	}
	_, err := o.reconcile(ctx, team, o.steer)
	return err
}

// undisturbed lets a run be.
func undisturbed(context.Context, string, string) error { return nil }

// reconcile has the team reconciled, does something to the run, and looks.
func (o *owner) reconcile(ctx context.Context, team string, disturb func(ctx context.Context, team, job string) error) (job string, err error) {
	r := o.load.rig
	key := fmt.Sprintf("%s-%016x", team, o.random.Uint64())
	job, err = o.accept(ctx, team, key)
	if err != nil {
		return "", fmt.Errorf("have %s reconciled: %w", team, err)
	}
	if o.random.IntN(8) == 0 { // a client that does not know that it was answered
		if _, err := o.accept(ctx, team, key); err != nil {
			return job, fmt.Errorf("ask again for %s: %w", team, err)
		}
	}
	if err := disturb(ctx, team, job); err != nil {
		return job, fmt.Errorf("steer the run of %s: %w", team, err)
	}
	if err := o.end(ctx, job); err != nil {
		return job, fmt.Errorf("team %s: %w", team, err)
	}
	look, err := r.sources.Look(ctx, job, team)
	if err != nil {
		return job, err
	}
	r.mu.Lock()
	r.looks = append(r.looks, look)
	r.mu.Unlock()
	return job, nil
}

// steer does now and then what people do to a run that is under way: they cancel it, or pause its team and think better of
// it.
func (o *owner) steer(ctx context.Context, team, job string) error {
	switch o.random.IntN(20) {
	case 0:
		pause(ctx, time.Duration(o.random.Int64N(int64(200*time.Millisecond))))
		o.load.rig.note("run canceled")
		err := o.ask(ctx, "/v1/runs/"+job+":cancel", map[string]string{"reason": "a person's mind changed"}, http.StatusBadRequest) // it has ended already
		o.load.rig.untilShown(ctx)
		return err
	case 1:
		o.load.rig.note("team paused")
		if err := o.ask(ctx, "/v1/teams/"+team+":pause", map[string]string{"reason": "an incident", "duration": "3600s"}); err != nil {
			return err
		}
		pause(ctx, time.Duration(o.random.Int64N(int64(time.Second))))
		o.load.rig.untilShown(ctx)
		return o.ask(ctx, "/v1/teams/"+team+":resume", map[string]string{})
	}
	return nil
}

// untilShown waits for as long as reads may lag. A run that was stopped between two changes does not look whether they show,
// and a plan made before they do would have them once more: without an effect, but in the trail.
func (r *rig) untilShown(ctx context.Context) {
	if stale := r.pagerduty.Control().Limits().StaleMS; stale > 0 {
		pause(ctx, time.Duration(stale)*time.Millisecond+50*time.Millisecond)
	}
}

// ask makes a request until one answers 200 or as else may be.
func (o *owner) ask(ctx context.Context, path string, body any, orElse ...int) error {
	return o.insist(ctx, "a gateway takes "+path, func(ctx context.Context, gateway int) error {
		var answer json.RawMessage
		status, err := o.load.call(ctx, gateway, http.MethodPost, path, "", body, &answer)
		if err == nil && (status == http.StatusOK || slices.Contains(orElse, status)) {
			return nil
		}
		return fmt.Errorf("answered %d: %w", status, err)
	})
}

// accept asks until one answers 202. The key stays the same.
func (o *owner) accept(ctx context.Context, team, key string) (job string, err error) {
	err = o.insist(ctx, "a gateway accepts", func(ctx context.Context, gateway int) (err error) {
		job, err = o.load.post(ctx, gateway, team, key)
		return err
	})
	return job, err
}

// insist tries, now with this gateway and now with that, until it has worked once.
func (o *owner) insist(ctx context.Context, what string, try func(ctx context.Context, gateway int) error) error {
	ctx, cancel := context.WithTimeout(ctx, endWithin)
	defer cancel()
	at := o.random.IntN(len(gateways))
	return until(ctx, what, func(ctx context.Context) (bool, error) {
		at++
		trying, cancel := context.WithTimeout(ctx, acceptTry)
		defer cancel()
		err := try(trying, at%len(gateways))
		if err != nil {
			pause(ctx, acceptAgain/2+time.Duration(o.random.Int64N(int64(acceptAgain))))
		}
		return err == nil, err
	})
}

// post asks one gateway once, and notes what it accepted.
func (l *load) post(ctx context.Context, gateway int, team, key string) (job string, err error) {
	ctx, cancel := context.WithTimeout(ctx, acceptTry)
	defer cancel()
	var answer struct {
		JobID string `json:"job_id"`
	}
	status, err := l.call(ctx, gateway, http.MethodPost, "/v1/teams/reconcile", key, map[string]string{"team_id": team}, &answer)
	switch {
	case err != nil:
		return "", err
	case status != http.StatusAccepted:
		return "", fmt.Errorf("answered %d", status)
	}
	l.rig.mu.Lock()
	defer l.rig.mu.Unlock()
	l.rig.accepted = append(l.rig.accepted, checker.Accepted{Key: key, JobID: answer.JobID})
	return answer.JobID, nil
}

func (l *load) call(ctx context.Context, gateway int, method, path, key string, body, into any) (status int, err error) {
	content, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	info := l.rig.system.Info()
	req, err := http.NewRequestWithContext(ctx, method, info.Gateways[gateway].REST+path, bytes.NewReader(content))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+info.Token)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := l.web.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode < 300 {
		err = json.Unmarshal(answer, into)
	}
	return resp.StatusCode, err
}

// end waits until the run has ended, as a gateway tells it.
func (o *owner) end(ctx context.Context, job string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, endWithin, fmt.Errorf("job %s did not end within %s", job, endWithin))
	defer cancel()
	at, raised := o.random.IntN(len(gateways)), 0
	for {
		var run struct{ Status string }
		asking, cancel := context.WithTimeout(ctx, acceptTry)
		at++
		status, err := o.load.call(asking, at%len(gateways), http.MethodGet, "/v1/runs/"+job, "", nil, &run)
		cancel()
		switch {
		case err != nil || status != http.StatusOK || run.Status == "queued" || run.Status == "running":
		case run.Status == "dead_lettered" && raised < 3: // whoever looks raises it
			raised++
			o.load.rig.note("run requeued")
			if err := o.ask(ctx, "/v1/dead-letters/"+job+":requeue", map[string]string{}); err != nil {
				return err
			}
		default:
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		pause(ctx, lookEvery)
	}
}

// drift does to a team what people do.
func (o *owner) drift(ctx context.Context, team string) error {
	t, users := o.load.rig.observed(team)
	if t.ID == "" {
		return nil // a run that failed has not made it again: the next one shall
	}
	member := func() string { return t.Members[o.random.IntN(len(t.Members))].UserID }
	put := func(user, role string) error {
		return o.load.rig.act(ctx, http.MethodPut, "/teams/"+t.ID+"/users/"+user, `{"role":"`+role+`"}`)
	}
	leave := func() error {
		if len(t.Members) == 0 {
			return nil
		}
		return o.load.rig.act(ctx, http.MethodDelete, "/teams/"+t.ID+"/users/"+member(), "")
	}
	role := func() error {
		if len(t.Members) == 0 {
			return nil
		}
		return put(member(), []string{"manager", "responder", "observer"}[o.random.IntN(3)])
	}
	stranger := func() error { // never more than a run may remove without asking
		declared := o.load.rig.declared(team)
		for _, m := range t.Members {
			if !declared[m.Email] {
				return nil
			}
		}
		for {
			if u := users[o.random.IntN(len(users))]; !declared[u.Email] {
				return put(u.ID, "responder")
			}
		}
	}
	update := func(field string) error {
		return o.load.rig.act(ctx, http.MethodPut, "/teams/"+t.ID, fmt.Sprintf(`{"team":{%q:"by hand %d"}}`, field, o.random.IntN(1000)))
	}
	var what []func() error
	switch n := o.random.IntN(20); {
	case n < 4: // nothing
	case n < 8:
		what = append(what, leave, role)
	case n < 11:
		what = append(what, role)
	case n < 14:
		what = append(what, stranger, leave)
	case n < 17:
		what = append(what, stranger, role, leave, leave)
	case n < 18:
		what = append(what, func() error { return update("name") }, role)
	case n < 19:
		what = append(what, func() error { return update("description") })
	default:
		what = append(what, func() error { return o.load.rig.act(ctx, http.MethodDelete, "/teams/"+t.ID, "") })
	}
	before := o.load.rig.pagerduty.Control().Limits().StaleMS
	for _, do := range what {
		if err := do(); err != nil {
			return err
		}
	}
	// A read that does not show the drift yet would find nothing to do, and be right.
	if stale := max(before, o.load.rig.pagerduty.Control().Limits().StaleMS); stale > 0 && len(what) > 0 {
		pause(ctx, time.Duration(stale)*time.Millisecond+50*time.Millisecond)
	}
	return nil
}

// observed is a team on PagerDuty, found by the id that it had or by its name, and everybody who has an account.
func (r *rig) observed(team string) (pagerduty.TeamState, []pagerduty.UserState) {
	state, ok := r.pagerduty.State().(pagerduty.State)
	if !ok {
		panic("the state of PagerDuty has another type")
	}
	var found pagerduty.TeamState
	for _, t := range state.Teams {
		if t.Name == "acme/"+team || found.ID == "" && r.teams[t.ID] == team {
			found = t
		}
	}
	return found, state.Users
}

// declared is who belongs in a team by Cortex.
func (r *rig) declared(team string) map[string]bool {
	var n int
	_, _ = fmt.Sscanf(team, "team-%d", &n)
	all := map[string]bool{}
	for _, i := range []int{n, n + 1, n + 2, n + 3, n + 30} {
		all[handle(i)+"@example.org"] = true
	}
	return all
}

// act does something on PagerDuty as a person. Faults are for workers, so it works at once; 404 is what somebody meets
// who removes a member twice.
func (r *rig) act(ctx context.Context, method, path, body string) error {
	req := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Token token="+byHand)
	req.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	r.person.ServeHTTP(answer, req)
	if answer.Code >= 300 && answer.Code != http.StatusNotFound {
		return fmt.Errorf("%s %s: %d %s", method, path, answer.Code, answer.Body)
	}
	return nil
}

// job is a run of a team as the database has it.
type job struct {
	id, team, status, reason string
	attempt                  int
}

// reconcileAll has teams reconciled at the same time and gives what came of each.
func (r *rig) reconcileAll(t *testing.T, teams ...string) map[string]job {
	t.Helper()
	ctx := within(t, endWithin)
	jobs := map[string]string{}
	var mu sync.Mutex
	var all sync.WaitGroup
	slots := make(chan struct{}, 2*owners)
	for i, team := range teams {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			o := &owner{load: r.load, random: rand.New(rand.NewPCG(r.random64(), uint64(i)))}
			id, err := o.reconcile(ctx, team, undisturbed)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			jobs[team] = id
		})
	}
	all.Wait()
	done := map[string]job{}
	for team, id := range jobs {
		done[team] = r.job(t, id)
	}
	return done
}

func (r *rig) random64() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.random.Uint64()
}

func sorted(m map[string]int) []string {
	var out []string
	for k, n := range m {
		out = append(out, fmt.Sprintf("%s %d", k, n))
	}
	slices.Sort(out)
	return out
}
