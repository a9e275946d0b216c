package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/store"
)

func TestDeadLetters_RunGivenUp_IsShownAndLivesAgain(t *testing.T) {
	s, db := open(t)
	id := dead(t, s, "payments", "PAGERDUTY_UNAVAILABLE")
	require.Equal(t, store.DeadLettered, status(t, s, id))
	require.Equal(t, store.RunDeadLettered, lastEvent(t, s, id).Kind)
	letters, err := s.DeadLetters(t.Context(), store.DeadLetterFilter{Status: store.LetterDead, Limit: 10})
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, id, letters[0].ID)
	require.Equal(t, "it did not work", letters[0].Error)
	n, err := s.CountDead(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, n)

	exec(t, db, "DELETE FROM outbox")
	raised, err := s.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	require.Len(t, raised, 1)
	again, err := s.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	require.Empty(t, again, "a repeated request finds nothing more to do")
	require.Equal(t, 1, count(t, db, "SELECT count(*) FROM outbox"))
	require.Equal(t, store.RunRequeued, lastEvent(t, s, id).Kind)

	c := claim(t, s, id)
	require.Equal(t, 1, c.Run.Attempt, "all its attempts")
	require.Equal(t, 2, c.Run.Lives)
	require.Equal(t, 2, c.Run.Round)
	snapshot, err := c.Load(t.Context())
	require.NoError(t, err)
	require.Nil(t, snapshot, "the plan is made anew")
	letter, err := s.DeadLetter(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, store.LetterRequeued, letter.Status)
	require.Equal(t, "bob", letter.SettledBy)

	require.NoError(t, c.Finish(t.Context(), store.Ending{Status: store.DeadLettered, ErrorReason: "AGAIN", ErrorMessage: "no"}))
	letter, err = s.DeadLetter(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, store.LetterDead, letter.Status)
	require.Equal(t, "AGAIN", letter.Reason)
}

func TestDeadLetters_ByFilter_OnlyThose(t *testing.T) {
	s, _ := open(t)
	a, b, c := dead(t, s, "a", "X"), dead(t, s, "b", "X"), dead(t, s, "c", "Y")
	raised, err := s.Requeue(t.Context(), store.Which{Reason: "X"}, "bob")
	require.NoError(t, err)
	require.Len(t, raised, 2)
	require.Equal(t, []string{store.Queued, store.Queued, store.DeadLettered}, []string{status(t, s, a), status(t, s, b), status(t, s, c)})

	past := time.Now().Add(-time.Hour)
	raised, err = s.Requeue(t.Context(), store.Which{All: true, DiedBefore: &past}, "bob")
	require.NoError(t, err)
	require.Empty(t, raised, "it died after the question")

	gone, err := s.Discard(t.Context(), store.Which{TeamID: "c"}, "eve")
	require.NoError(t, err)
	require.Len(t, gone, 1)
	require.Equal(t, store.Failed, status(t, s, c))
	raised, err = s.Requeue(t.Context(), store.Which{All: true}, "bob")
	require.NoError(t, err)
	require.Empty(t, raised, "what was discarded stays so")
}

func TestDeadLetters_Message_IsKeptOnceWhateverItHolds(t *testing.T) {
	s, _ := open(t)
	body := "\xff\x00" + strings.Repeat("é", 20_000)
	m := queue.Received{ID: "m1", Body: []byte(body), ReceiveCount: 3}
	cause := fault.New(fault.Invalid, "unreadable", nil).WithReason("MESSAGE_UNREADABLE")
	for range 2 {
		require.NoError(t, s.Bury(t.Context(), store.ReconcileQueue, m, cause))
	}
	letters, err := s.DeadLetters(t.Context(), store.DeadLetterFilter{Limit: 10})
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, store.MessageLetter, letters[0].Kind)
	require.True(t, strings.HasPrefix(letters[0].Body, "\uFFFD\uFFFDé"))
	require.LessOrEqual(t, len(letters[0].Body), 16<<10)
	raised, err := s.Requeue(t.Context(), store.Which{ID: letters[0].ID}, "bob")
	require.NoError(t, err)
	require.Empty(t, raised, "sent again it would be the same")
	gone, err := s.Discard(t.Context(), store.Which{ID: letters[0].ID}, "bob")
	require.NoError(t, err)
	require.Len(t, gone, 1)
}

func TestDeadLetters_Pages_ShowEachOnce(t *testing.T) {
	s, db := open(t)
	for i := range 7 {
		require.NoError(t, s.Bury(t.Context(), "q", queue.Received{ID: fmt.Sprint(i)}, fault.New(fault.Invalid, "x", nil)))
	}
	exec(t, db, "UPDATE dead_letters SET died_at = '2026-01-01' WHERE message_id IN ('1', '2', '3')") // at the same moment
	seen := map[string]bool{}
	filter := store.DeadLetterFilter{Limit: 2}
	for {
		page, err := s.DeadLetters(t.Context(), filter)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, l := range page {
			require.False(t, seen[l.MessageID])
			seen[l.MessageID] = true
			filter.AfterDiedAt, filter.AfterID = l.DiedAt, l.ID
		}
	}
	require.Len(t, seen, 7)
}

func TestRequeue_CancelWasOvertaken_IsForgotten(t *testing.T) {
	s, _ := open(t)
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	_, err := s.Cancel(t.Context(), id, "bob", "")
	require.NoError(t, err)
	require.NoError(t, c.Finish(t.Context(), store.Ending{Status: store.DeadLettered, ErrorReason: "X", Sync: ownership.Unknown}))
	letters, err := s.Requeue(t.Context(), store.Which{ID: id}, "bob")
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Empty(t, claim(t, s, id).Run.CanceledBy)
	_, err = s.Requeue(t.Context(), store.Which{}, "bob")
	require.True(t, fault.Is(err, fault.Invalid), "nothing chosen is not everything")
}
