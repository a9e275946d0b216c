package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
)

func TestCancel_NeverBegun_EndsAtOnce(t *testing.T) {
	s, _ := open(t)
	id := accept(t, s, "payments")
	run, err := s.Cancel(t.Context(), id, "bob", "not needed")
	require.NoError(t, err)
	require.Equal(t, store.Canceled, run.Status)
	require.NotNil(t, run.FinishedAt)
	require.Equal(t, "canceled by bob: not needed", run.ErrorMessage)
	require.Equal(t, store.RunCanceled, lastEvent(t, s, id).Kind)
	_, err = s.Claim(t.Context(), id, terms("w"))
	require.Equal(t, "RUN_ENDED", fault.ReasonOf(err))
	again, err := s.Cancel(t.Context(), id, "eve", "me too")
	require.NoError(t, err)
	require.Equal(t, "bob", again.CanceledBy, "asking twice is asking once")
}

func TestCancel_BeingWorkedOn_IsToldToWhoWorks(t *testing.T) {
	s, db := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	asked, err := c.Renew(t.Context())
	require.NoError(t, err)
	require.Zero(t, asked)
	run, err := s.Cancel(t.Context(), id, "bob", "")
	require.NoError(t, err)
	require.Equal(t, store.Running, run.Status)
	asked, err = c.Renew(t.Context())
	require.NoError(t, err)
	require.Equal(t, "bob", asked.CanceledBy)

	// One that was deferred is brought back to be ended.
	other := accept(t, s, "search")
	require.NoError(t, claim(t, s, other).Defer(t.Context(), store.Postponement{Delay: time.Hour}))
	exec(t, db, "DELETE FROM outbox")
	_, err = s.Cancel(t.Context(), other, "bob", "")
	require.NoError(t, err)
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM outbox WHERE available_at <= now()"))
	require.Equal(t, "bob", claim(t, s, other).Run.CanceledBy)
}

func TestCancel_Ended_IsRefused(t *testing.T) {
	s, _ := open(t)
	id := accept(t, s, "payments")
	require.NoError(t, claim(t, s, id).Finish(t.Context(), store.Ending{Status: store.Succeeded}))
	_, err := s.Cancel(t.Context(), id, "bob", "")
	require.Equal(t, "RUN_ENDED", fault.ReasonOf(err))
	_, err = s.Cancel(t.Context(), uuid.New(), "bob", "")
	require.Equal(t, fault.NotFound, fault.KindOf(err))
}

func TestDefer_Canceled_IsDueAtOnce(t *testing.T) {
	s, _ := open(t)
	c := claim(t, s, accept(t, s, "payments"))
	run, err := s.Cancel(t.Context(), c.Run.JobID, "bob", "")
	require.NoError(t, err)
	require.Equal(t, store.Running, run.Status)
	require.NoError(t, c.Defer(t.Context(), store.Postponement{Delay: 24 * time.Hour, Reason: "X"}))
	require.Equal(t, "bob", claim(t, s, c.Run.JobID).Run.CanceledBy, "whoever takes it up ends it")
}
