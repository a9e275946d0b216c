package deliver_test

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
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/services/notifier/internal/deliver"
)

// FuzzHandle: a message is taken for the delivery that it names, and for no other; one that names none ends among the dead
// letters. The delivery is in the hands of somebody who takes an hour: whoever asks for it is
// told so.
func FuzzHandle(f *testing.F) {
	db, err := store.Open(f.Context(), config.NewSecret(testkit.Postgres(f)), store.Options{})
	require.NoError(f, err)
	f.Cleanup(db.Close)
	key := heldDelivery(f, db)
	d := deliver.New(db, nil, slog.New(slog.DiscardHandler), deliver.Options{Settled: time.Hour})
	for _, body := range []string{
		``, `{}`, `null`, `[]`, `"` + key + `"`, `{"delivery_key":"` + key + `"}`, `{"delivery_key":""}`, `{"delivery_key":["` + key + `"]}`,
		`{"delivery_key":"` + key + `#1"}`, `{"delivery_key":"x\u0000"}`, `{"delivery_key":"x","DELIVERY_KEY":"` + key + `"}`, `{"delivery_key":"` + key + `"} x`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		messageID := uuid.NewString()
		err := d.Handle(t.Context(), queue.Received{ID: messageID, Body: body})
		named := texts(body, "delivery_key")
		if fault.ReasonOf(err) == "DELIVERY_BUSY" {
			require.Contains(t, named, key)
			return
		}
		require.NoError(t, err)
		require.NotEqual(t, []string{key}, named)
		letters, err := db.DeadLetters(t.Context(), store.DeadLetterFilter{Limit: 1})
		require.NoError(t, err)
		require.Equal(t, messageID, letters[0].MessageID)
	})
}

// texts are the strings that stand in a JSON object under a name, in any spelling of it.
func texts(body []byte, name string) (found []string) {
	var object map[string]any
	if json.Unmarshal(body, &object) != nil {
		return nil
	}
	for key, value := range object {
		if text, ok := value.(string); ok && text != "" && strings.EqualFold(key, name) {
			found = append(found, text)
		}
	}
	return found
}

func heldDelivery(f *testing.F, db *store.Store) (key string) {
	jobID, _, err := db.Accept(f.Context(), store.NewRun{Principal: "ann", RequestHash: []byte("x"), TeamID: "payments"})
	require.NoError(f, err)
	claim, err := db.Claim(f.Context(), jobID, store.Terms{Owner: "worker", Lease: time.Minute})
	require.NoError(f, err)
	key = notice.Key(jobID.String(), "slack", channel)
	require.NoError(f, claim.Finish(f.Context(), store.Ending{
		Status: store.Succeeded, Sync: ownership.InSync,
		Tell: []store.Delivery{{Key: key, Medium: "slack", Channel: channel, Payload: []byte(`{}`)}},
	}))
	_, err = db.BeginDelivery(f.Context(), key, time.Hour)
	require.NoError(f, err)
	return key
}
