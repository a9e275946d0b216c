package work_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/services/reconcile-worker/internal/work"
)

// FuzzHandle: a message is taken for the job that it names, and for no other; one that names none is kept, never dropped.
// The job's team is in the hands of another worker for an hour: whoever asks for the job is told so.
func FuzzHandle(f *testing.F) {
	db, err := store.Open(f.Context(), config.NewSecret(testkit.Postgres(f)), store.Options{})
	require.NoError(f, err)
	f.Cleanup(db.Close)
	jobID, _, err := db.Accept(f.Context(), store.NewRun{Principal: "ann", RequestHash: []byte("x"), TeamID: "payments"})
	require.NoError(f, err)
	_, err = db.Claim(f.Context(), jobID, store.Terms{Owner: "another worker", Lease: time.Hour})
	require.NoError(f, err)
	quiet := slog.New(slog.DiscardHandler)
	// Without a flow: a job that were begun would panic.
	w := work.New(db, nil, db.NewEventLog(quiet), db.NewControlHub(quiet), func() {}, quiet, work.Options{
		Terms: store.Terms{Owner: "this worker", Lease: time.Minute}, MaxAttempts: 3,
	})

	id := jobID.String()
	for _, body := range []string{
		``, `null`, `[]`, `"` + id + `"`, `{"job_id":"` + id + `"}`, `{"job_id":"` + strings.ToUpper(id) + `"}`, `{"job_id":"urn:uuid:` + id + `"}`,
		`{"job_id":"` + id[1:] + `"}`, `{"job_id":["` + id + `"]}`, `{"job_id":"` + uuid.NewString() + `"}`, `{"job_id":1}`, `{"job_id":""}`,
		`{"job_id":"` + uuid.NewString() + `","JOB_ID":"` + id + `"}`, `{"job_id":"` + id + `"} x`, `{"team_id":"payments"}`,
		`{}`, `{"job_id":"00000000-0000-0000-0000-000000000000"}`, "\x00", "\xff",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		messageID := uuid.NewString()
		err := w.Handle(t.Context(), queue.Received{ID: messageID, Body: body})
		if fault.ReasonOf(err) == "TEAM_BUSY" {
			require.Contains(t, jobs(body), jobID)
			return
		}
		require.NoError(t, err)
		require.NotEqual(t, []uuid.UUID{jobID}, jobs(body))
		letters, err := db.DeadLetters(t.Context(), store.DeadLetterFilter{Limit: 1})
		require.NoError(t, err)
		require.Equal(t, messageID, letters[0].MessageID)
	})
}

// jobs are the ids that stand in a JSON object as job_id, in any spelling of the name.
func jobs(body []byte) (found []uuid.UUID) {
	var object map[string]any
	if json.Unmarshal(body, &object) != nil {
		return nil
	}
	for key, value := range object {
		text, _ := value.(string)
		if id, err := uuid.Parse(text); err == nil && strings.EqualFold(key, "job_id") {
			found = append(found, id)
		}
	}
	return found
}
