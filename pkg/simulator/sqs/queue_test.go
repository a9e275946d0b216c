package sqs

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func fifoQueue(t require.TestingT) *queue {
	s, err := newSettings("q.fifo", nil, map[string]string{"FifoQueue": "true"})
	require.Nil(t, err)
	return newQueue("q.fifo", s, time.Unix(0, 0))
}

// overlaps says whether two messages of one group, sent apart, are in flight at the same time.
func overlaps(t *testing.T, withoutLock bool) bool {
	now := time.Unix(1000, 0)
	q := fifoQueue(t)
	q.withoutGroupLock = withoutLock
	flying := 0
	for i := range 2 {
		_, _, err := q.send(now, &message{id: newID(), body: "x", group: "g", dedup: fmt.Sprint(i)}, -1)
		require.Nil(t, err)
		flying += len(q.receive(now, 1, time.Minute, nil))
	}
	return flying > 1
}

func TestGroupLock_OneInFlight_HoldsTheNextBack(t *testing.T) {
	require.False(t, overlaps(t, false))
}

// The control of the test above: without the lock the same steps overlap.
func TestControl_WithoutGroupLock_MessagesOfAGroupOverlap(t *testing.T) {
	require.True(t, overlaps(t, true))
}

// Whatever happens, a group's messages are delivered in order, no receive brings a group that is in flight already, and
// in the end everything was deleted once.
func TestFIFO_AnyHistory_KeepsOrderAndLock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1000, 0)
		q := fifoQueue(t)
		sent, done := make(map[string]int), make(map[string]int)
		flying := make(map[*message]string) // with the handle
		check := func() {
			for m, handle := range flying {
				if !m.inFlight(now) || m.receipt(q.name) != handle {
					delete(flying, m)
				}
			}
		}
		step := func(action int) {
			check()
			switch action {
			case 0:
				g := fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "group"))
				_, _, err := q.send(now, &message{id: newID(), body: fmt.Sprint(sent[g]), group: g, dedup: newID()}, -1)
				require.Nil(t, err)
				sent[g]++
			case 1:
				locked := make(map[string]bool)
				for m := range flying {
					locked[m.group] = true
				}
				next := make(map[string]int)
				for _, m := range q.receive(now, 10, 30*time.Second, nil) {
					require.False(t, locked[m.group])
					require.Equal(t, fmt.Sprint(done[m.group]+next[m.group]), m.body)
					next[m.group]++
					flying[m] = m.receipt(q.name)
				}
			case 2, 3:
				var first *message // delete or release the oldest in flight
				for m := range flying {
					if first == nil || m.sequence < first.sequence {
						first = m
					}
				}
				if first == nil {
					return
				}
				if action == 2 {
					require.Nil(t, q.delete(now, flying[first]))
					delete(flying, first)
					done[first.group]++
					return
				}
				for m, handle := range flying { // as the consumer does: who gives one back gives back those behind it
					if m.group == first.group {
						require.Nil(t, q.changeVisibility(now, handle, 0))
						delete(flying, m)
					}
				}
			case 4:
				now = now.Add(10 * time.Second)
			}
		}
		for _, action := range rapid.SliceOfN(rapid.IntRange(0, 4), 1, 80).Draw(t, "actions") {
			step(action)
		}
		for q.messages.Len() > 0 {
			check()
			if len(flying) == 0 {
				step(1)
			}
			step(2)
		}
		require.Equal(t, sent, done)
	})
}

func TestDedup_AfterFiveMinutes_IsAcceptedAgain(t *testing.T) {
	now, q := time.Unix(1000, 0), fifoQueue(t)
	send := func() string {
		id, _, err := q.send(now, &message{id: newID(), body: "x", group: "g", dedup: "d"}, -1)
		require.Nil(t, err)
		return id
	}
	first := send()
	now = now.Add(dedupWindow - time.Second)
	require.Equal(t, first, send())
	now = now.Add(time.Second)
	require.NotEqual(t, first, send())
	require.Equal(t, 2, q.messages.Len())
}

func TestMoveTask_Rate_MovesAsTimePasses_AndCanBeCancelled(t *testing.T) {
	s := New(Options{Now: func() time.Time { return time.Unix(1000, 0) }})
	defer s.Close()
	now := s.clock()
	_, err := s.createQueue(call{}, now, createQueueIn{QueueName: "dlq"})
	require.Nil(t, err)
	_, err = s.createQueue(call{}, now, createQueueIn{QueueName: "q", Attributes: map[string]string{
		"RedrivePolicy": `{"deadLetterTargetArn":"` + arnOf("dlq") + `","maxReceiveCount":"1"}`}})
	require.Nil(t, err)
	for range 10 {
		s.queues["dlq"].push(&message{id: newID(), body: "x", deadFrom: arnOf("q"), sentAt: now, visibleAt: now})
	}
	task, err := s.startMessageMoveTask(call{}, now, startTaskIn{SourceArn: arnOf("dlq"), MaxNumberOfMessagesPerSecond: 1})
	require.Nil(t, err)
	_, err = s.startMessageMoveTask(call{}, now, startTaskIn{SourceArn: arnOf("dlq")})
	require.NotNil(t, err, "one task a queue")
	s.Advance(4 * time.Second)
	require.Equal(t, 5, s.State().Queues["q"].Visible)
	out, err := s.cancelMessageMoveTask(call{}, s.clock(), task)
	require.Nil(t, err)
	require.Equal(t, 5, out.ApproximateNumberOfMessagesMoved)
	s.Advance(time.Minute)
	require.Equal(t, 5, s.State().Queues["dlq"].Visible)
}

// FuzzProtocol: no body makes any action panic, and every answer is a success or a client's error.
func FuzzProtocol(f *testing.F) {
	for _, body := range []string{``, `{}`, `null`, `[]`, `{"QueueUrl":"http://h/0/q.fifo","MaxNumberOfMessages":10}`,
		`{"QueueUrl":"q","Entries":[{"Id":"1","ReceiptHandle":"AA","MessageBody":"x"}]}`,
		`{"QueueName":"a.fifo","Attributes":{"FifoQueue":"true","RedrivePolicy":"{\"maxReceiveCount\":1}"}}`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		s := New(Options{ReceiveFloor: -1})
		s.Close() // long polls answer at once
		for name := range actions() {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.Header.Set("X-Amz-Target", targetPrefix+name)
			s.ServeHTTP(w, r)
			if w.Code != http.StatusOK && (w.Code < 400 || w.Code >= 500) {
				t.Fatalf("%s answered %d", name, w.Code)
			}
		}
	})
}
