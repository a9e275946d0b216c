package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// A caller's trace goes through the gateway, the outbox, SQS, the worker, the outbox and SQS again to the notifier,
// whether it comes as W3C or as X-Ray writes it.
func TestTrace_IsOneFromHTTPToSlack(t *testing.T) {
	r := start(t, generated(t), 1)
	id, users := r.pagerTeam("acme/team-00")
	for header, value := range map[string]string{
		"traceparent":     "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
		"X-Amzn-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272794;Parent=53995c3f42cd8ad8;Sampled=1",
	} {
		r.pd("DELETE", "/teams/"+id+"/users/"+users[0], "") // something to do, and so to tell
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.info.REST+"/v1/teams/reconcile", strings.NewReader(`{"team_id":"team-00"}`))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+r.info.Token)
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set(header, value)
		answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		require.NoError(t, err)
		var accepted struct {
			JobID string `json:"job_id"`
		}
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&accepted))
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusAccepted, answer.StatusCode)
		_, err = r.client.Wait(t.Context(), accepted.JobID)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return r.told(accepted.JobID) }, 30*time.Second, 20*time.Millisecond)

		trace := "5759e988bd862e3fe1be46a99427279" + map[string]string{"traceparent": "3", "X-Amzn-Trace-Id": "4"}[header]
		for service, message := range map[string]string{"gateway": "rpc", "reconcile-worker": "run ended", "notifier": "posted"} {
			line := r.logLine(service, message, accepted.JobID)
			require.Equal(t, trace, line["trace_id"], "%s by %s", header, service)
			require.Equal(t, "team-00", line["team_id"], service)
		}
	}
}

// told reports whether the run's delivery is done.
func (r *rig) told(jobID string) bool {
	for d, err := range r.client.ListDeliveries(r.t.Context(), &nthlayerv1.ListDeliveriesRequest{Status: "delivered"}) {
		require.NoError(r.t, err)
		if strings.Contains(d.GetDeliveryKey(), jobID) {
			return true
		}
	}
	return false
}

// logLine finds what a service logged of a run.
func (r *rig) logLine(service, message, jobID string) map[string]any {
	r.t.Helper()
	content, err := os.ReadFile(r.system.Service(service).Log())
	require.NoError(r.t, err)
	for text := range strings.Lines(string(content)) {
		var line map[string]any
		if json.Unmarshal([]byte(text), &line) == nil && line["msg"] == message && line["job_id"] == jobID {
			return line
		}
	}
	require.FailNow(r.t, "no such line", "%s did not log %q of %s", service, message, jobID)
	return nil
}
