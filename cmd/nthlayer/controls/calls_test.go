package controls

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/seam"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const requests = 20

// Same key, same job: a request that is made twenty times at once under one key is one run.
func TestPromise_SameKeySameJob(t *testing.T) {
	answered, runs := repeated(t)
	require.Len(t, answered, 1)
	require.Equal(t, 1, runs)
}

func TestControl_WithoutKey_EachRepeatIsAnotherRun(t *testing.T) {
	answered, runs := repeated(t, seam.Key)
	require.Len(t, answered, requests)
	require.Equal(t, requests, runs)
}

// repeated tells how often each job was answered with, and how many runs there are.
func repeated(t *testing.T, off ...string) (answered map[string]int, runs int) {
	r := start(t, setup{org: organisation(1), off: off})
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answered = map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range requests {
		all.Go(func() {
			job, err := r.post(web, "the-same-key", tag(0))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			answered[job]++
		})
	}
	all.Wait()
	for _, err := range r.client.ListRuns(t.Context(), &nthlayerv1.ListRunsRequest{TeamId: tag(0)}) {
		require.NoError(t, err)
		runs++
	}
	return answered, runs
}

// post asks for a run over REST.
func (r *rig) post(web *http.Client, key, team string) (job string, err error) {
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.info.REST+"/v1/teams/reconcile", strings.NewReader(`{"team_id":"`+team+`"}`))
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+r.info.Token)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	answer, err := web.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var accepted struct {
		JobID string `json:"job_id"`
	}
	if err = json.NewDecoder(answer.Body).Decode(&accepted); err == nil && answer.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("HTTP %d", answer.StatusCode)
	}
	return accepted.JobID, err
}

// Quota is respected: two workers have more to ask of PagerDuty than it allows in a minute. It never has to refuse, for at
// no time has it been asked more than what is due and a small burst.
func TestPromise_QuotaIsRespected(t *testing.T) {
	calls := crowd(t)
	for i, c := range calls {
		require.NotEqual(t, http.StatusTooManyRequests, c.Status)
		require.LessOrEqual(t, i, due(c.Time.Sub(calls[0].Time))+burst)
	}
	require.GreaterOrEqual(t, len(calls), due(watchFor)/2, "and it is used")
}

func TestControl_WithoutQuota_PagerDutyRefuses(t *testing.T) {
	calls := crowd(t, seam.Quota)
	require.Greater(t, len(calls), perMinute)
	last := calls[len(calls)-1]
	require.Equal(t, http.StatusTooManyRequests, last.Status)
	require.Less(t, last.Time.Sub(calls[0].Time), time.Minute)
}

const (
	perMinute = 120
	burst     = 4                // pkg/upstream allows two; the others are for calls that the network pushes together
	watchFor  = 12 * time.Second // without a limit the quota of a minute is used up in one
)

func due(d time.Duration) int { return int(d * perMinute / time.Minute) }

// crowd accepts runs that need far more than the quota of a minute, and gives what PagerDuty was asked until it refused,
// or for so long.
func crowd(t *testing.T, off ...string) (calls []control.Call) {
	const teams = 80
	r := start(t, setup{org: organisation(teams), workers: 2, off: off, env: []string{fmt.Sprint("NTHLAYER_PAGERDUTY_PER_MINUTE=", perMinute)}})
	r.pagerduty.Control().SetLimits(control.Limits{PerMinute: perMinute})
	for i := range teams {
		r.accept(tag(i))
	}
	within(t, watchFor, func() bool {
		calls = r.pagerduty.Control().Calls().Calls
		return len(calls) > 0 && calls[len(calls)-1].Status == http.StatusTooManyRequests
	})
	r.takeDown(worker) // they would wait for the quota before they stop
	r.takeDown(secondWorker)
	return calls
}
