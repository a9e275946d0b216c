package sqs

import (
	"encoding/base64"
	"slices"
	"time"
)

const (
	taskRunning   = "RUNNING"
	taskCompleted = "COMPLETED"
	taskCancelled = "CANCELLED"
	taskFailed    = "FAILED"
)

// moveTask moves the messages of a dead-letter queue back where they died, or to destination. Nothing runs behind it:
// settle works out how many messages the task must have moved by now and moves them, before anything else happens.
type moveTask struct {
	handle      string
	source      string // ARN
	destination string // ARN, or empty: each message goes to the queue it died in
	perSecond   int    // 0: as fast as possible
	started     time.Time
	toMove      int
	moved       int
	status      string
	failure     string
}

// due is how many messages the task should have moved by now.
func (t *moveTask) due(now time.Time) int {
	if t.perSecond == 0 {
		return t.toMove
	}
	return min(t.toMove, 1+int(now.Sub(t.started).Seconds()*float64(t.perSecond)))
}

// settle brings all running tasks up to now.
func (s *Server) settle(now time.Time) {
	for _, t := range s.tasks {
		for t.status == taskRunning && t.moved < t.due(now) {
			s.step(t, now)
		}
		if t.status == taskRunning && t.moved >= t.toMove {
			t.status = taskCompleted
		}
	}
}

// step moves one message.
func (s *Server) step(t *moveTask, now time.Time) {
	source, ok := s.queues[nameOf(t.source)]
	if !ok {
		t.status, t.failure = taskFailed, "AWS.SimpleQueueService.NonExistentQueue"
		return
	}
	m, ok := source.takeVisible(now)
	if !ok {
		t.status = taskCompleted // the rest was deleted or is in flight
		return
	}
	to := t.destination
	if to == "" {
		to = m.deadFrom
	}
	target, ok := s.queues[nameOf(to)]
	if !ok {
		source.push(m)
		t.status, t.failure = taskFailed, "CouldNotDetermineMessageSource"
		return
	}
	// A redriven message is a new one: new id, new time, nothing received yet (SQS developer guide, "DLQ redrive").
	m.id, m.sentAt, m.receives, m.firstReceived, m.deadFrom = newID(), now, 0, time.Time{}, ""
	target.adopt(now, m)
	target.stir()
	t.moved++
}

// nextMove is when a running task moves its next message.
func (s *Server) nextMove(now time.Time) (at time.Time, ok bool) {
	for _, t := range s.tasks {
		if t.status != taskRunning || t.perSecond == 0 {
			continue
		}
		next := t.started.Add(time.Duration(t.moved) * time.Second / time.Duration(t.perSecond))
		if next = later(next, now.Add(time.Millisecond)); !ok || next.Before(at) {
			at, ok = next, true
		}
	}
	return at, ok
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

type startTaskIn struct {
	SourceArn                    string
	DestinationArn               string
	MaxNumberOfMessagesPerSecond int
}

type taskHandle struct{ TaskHandle string }

func (s *Server) startMessageMoveTask(_ call, now time.Time, in startTaskIn) (taskHandle, *apiError) {
	source, ok := s.queues[nameOf(in.SourceArn)]
	if !ok {
		return taskHandle{}, errResourceNotFound
	}
	if n := in.MaxNumberOfMessagesPerSecond; n < 0 || n > 500 {
		return taskHandle{}, invalidParameter("Value %d for parameter MaxNumberOfMessagesPerSecond is invalid. Reason: Must be between 1 and 500, if provided.", n)
	}
	isDeadLetterQueue := false
	for _, q := range s.queues {
		isDeadLetterQueue = isDeadLetterQueue || q.diesInto(source)
	}
	if !isDeadLetterQueue {
		return taskHandle{}, invalidParameter("Source queue must be configured as a Dead Letter Queue.")
	}
	if in.DestinationArn != "" {
		target, ok := s.queues[nameOf(in.DestinationArn)]
		if !ok {
			return taskHandle{}, errResourceNotFound
		}
		if target.settings.fifo != source.settings.fifo {
			return taskHandle{}, invalidParameter("Source and destination queues must be of the same type.")
		}
	}
	for _, t := range s.tasks {
		if t.status == taskRunning && nameOf(t.source) == source.name {
			return taskHandle{}, unsupported("There is already a task running. Only one active task is allowed for a source queue arn at a given time.")
		}
	}
	visible, _, _ := source.counts(now)
	t := &moveTask{
		handle: base64.StdEncoding.EncodeToString([]byte(`{"taskId":"` + newID() + `","sourceArn":"` + in.SourceArn + `"}`)),
		source: in.SourceArn, destination: in.DestinationArn, perSecond: in.MaxNumberOfMessagesPerSecond,
		started: now, toMove: visible, status: taskRunning,
	}
	s.tasks = append(s.tasks, t)
	s.settle(now)
	for _, q := range s.queues {
		q.stir() // who waits must now reckon with the task
	}
	return taskHandle{t.handle}, nil
}

type listTasksIn struct {
	SourceArn  string
	MaxResults int
}

type taskEntry struct {
	TaskHandle                        string `json:",omitempty"` // only while it can be cancelled
	Status                            string
	SourceArn                         string
	DestinationArn                    string `json:",omitempty"`
	MaxNumberOfMessagesPerSecond      int    `json:",omitempty"`
	ApproximateNumberOfMessagesMoved  int
	ApproximateNumberOfMessagesToMove int
	FailureReason                     string `json:",omitempty"`
	StartedTimestamp                  int64
}

type listTasksOut struct{ Results []taskEntry }

// listMessageMoveTasks gives the latest first.
func (s *Server) listMessageMoveTasks(_ call, _ time.Time, in listTasksIn) (listTasksOut, *apiError) {
	if _, ok := s.queues[nameOf(in.SourceArn)]; !ok {
		return listTasksOut{}, errResourceNotFound
	}
	limit := max(1, in.MaxResults)
	if limit > 10 {
		return listTasksOut{}, invalidParameter("Value %d for parameter MaxResults is invalid. Reason: Must be between 1 and 10.", limit)
	}
	out := listTasksOut{Results: []taskEntry{}}
	for _, t := range slices.Backward(s.tasks) {
		if nameOf(t.source) != nameOf(in.SourceArn) || len(out.Results) == limit {
			continue
		}
		entry := taskEntry{
			Status: t.status, SourceArn: t.source, DestinationArn: t.destination,
			MaxNumberOfMessagesPerSecond: t.perSecond, ApproximateNumberOfMessagesMoved: t.moved,
			ApproximateNumberOfMessagesToMove: t.toMove, FailureReason: t.failure, StartedTimestamp: t.started.UnixMilli(),
		}
		if t.status == taskRunning {
			entry.TaskHandle = t.handle
		}
		out.Results = append(out.Results, entry)
	}
	return out, nil
}

type cancelTaskOut struct{ ApproximateNumberOfMessagesMoved int }

func (s *Server) cancelMessageMoveTask(_ call, _ time.Time, in taskHandle) (cancelTaskOut, *apiError) {
	for _, t := range s.tasks {
		if t.handle != in.TaskHandle {
			continue
		}
		if t.status != taskRunning {
			return cancelTaskOut{}, unsupported("Task is not running, so it cannot be cancelled. Its status is " + t.status + ".")
		}
		t.status = taskCancelled
		return cancelTaskOut{t.moved}, nil
	}
	return cancelTaskOut{}, modelled("ResourceNotFoundException", "ResourceNotFoundException", "Task does not exist.")
}
