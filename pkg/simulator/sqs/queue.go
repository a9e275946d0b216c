package sqs

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// queue is one queue's state: pure, so every method that depends on time takes it. The caller locks.
//
// All messages stand in one list in their order of arrival. A receive walks it from the front and passes over what is
// invisible and, in a FIFO queue, over every message of a group that has one in flight.
type queue struct {
	name     string
	settings settings
	created  time.Time
	modified time.Time
	tags     map[string]string

	messages *list.List // of *message
	byID     map[string]*list.Element
	flying   map[*message]struct{} // candidates for being in flight; those whose time is over are dropped at a look
	dedup    window
	sequence uint64

	// withoutGroupLock switches the FIFO lock off. Only the control test sets it, to show that the lock does the work.
	withoutGroupLock bool
}

func newQueue(name string, s settings, now time.Time) *queue {
	q := &queue{name: name, settings: s, created: now, modified: now, tags: make(map[string]string)}
	q.forget()
	return q
}

// forget loses all messages and the deduplication memory; the queue itself stays.
func (q *queue) forget() {
	q.messages = list.New()
	q.byID = make(map[string]*list.Element)
	q.flying = make(map[*message]struct{})
	q.dedup = window{}
}

// send takes m in. For a message already accepted in the last five minutes it gives the first one's id and sequence and
// keeps nothing. delay < 0 means the queue's own.
func (q *queue) send(now time.Time, m *message, delay time.Duration) (id string, sequence uint64, err *apiError) {
	if err := m.check(); err != nil {
		return "", 0, err
	}
	if n := m.size(); n > q.settings.maxBytes {
		return "", 0, invalidParameter("One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", q.settings.maxBytes)
	}
	if m.group != "" && !groupOrDedup.MatchString(m.group) {
		return "", 0, invalidParameter("Value %s for parameter MessageGroupId is invalid. Reason: MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.", m.group)
	}
	if !q.settings.fifo && m.dedup != "" {
		return "", 0, invalidParameter("The request includes a parameter that is not valid for this queue type. Reason: MessageDeduplicationId.")
	}
	if delay < 0 {
		delay = q.settings.delay
	} else if q.settings.fifo && delay > 0 {
		return "", 0, invalidParameter("Value %d for parameter DelaySeconds is invalid. Reason: The request include parameter that is not valid for this queue type.", int(delay.Seconds()))
	}
	if q.settings.fifo {
		key, err := q.dedupKey(m)
		if err != nil {
			return "", 0, err
		}
		if first, ok := q.dedup.find(now, key); ok {
			return first.id, first.sequence, nil
		}
		q.number(m)
		q.dedup.add(key, accepted{m.id, m.sequence, now})
	}
	m.sentAt, m.visibleAt = now, now.Add(delay)
	q.push(m)
	return m.id, m.sequence, nil
}

// dedupKey fills in the content's digest where the queue does so, and gives the key under which m is remembered.
func (q *queue) dedupKey(m *message) (string, *apiError) {
	if m.group == "" {
		return "", missingParameter("MessageGroupId")
	}
	if m.dedup == "" {
		if !q.settings.contentDedup {
			return "", invalidParameter("The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
		}
		sum := sha256.Sum256([]byte(m.body)) // the body alone, not the attributes: SQS developer guide
		m.dedup = hex.EncodeToString(sum[:])
	}
	if !groupOrDedup.MatchString(m.dedup) {
		return "", invalidParameter("Value %s for parameter MessageDeduplicationId is invalid. Reason: MessageDeduplicationId can only include alphanumeric and punctuation characters. 1 to 128 in length.", m.dedup)
	}
	if q.settings.dedupByGroup {
		return m.group + "\x00" + m.dedup, nil
	}
	return m.dedup, nil
}

func (q *queue) number(m *message) { q.sequence++; m.sequence = q.sequence }

// push puts m at the end of the queue.
func (q *queue) push(m *message) { q.byID[m.id] = q.messages.PushBack(m) }

// double is an injected fault: it puts a second message like the one with this id at the end, past the deduplication.
func (q *queue) double(now time.Time, id string) {
	e, ok := q.byID[id]
	if !ok {
		return // deduplicated: the first is gone already
	}
	m := e.Value.(*message)
	again := &message{
		id: newID(), body: m.body, attributes: m.attributes, trace: m.trace, group: m.group, dedup: m.dedup, sentAt: now, visibleAt: m.visibleAt,
	}
	if q.settings.fifo {
		q.number(again)
	}
	q.push(again)
}

// adopt takes a message that comes from another queue: from a dead source, or back from a dead-letter queue. A FIFO
// queue gives it a new sequence number and time of arrival, a standard queue keeps its time.
func (q *queue) adopt(now time.Time, m *message) {
	if q.settings.fifo {
		q.number(m)
		m.sentAt = now
	}
	m.visibleAt = now
	q.push(m)
}

// receive hands out up to limit messages and hides them for hide. Messages that were received too often go to dead.
// As in SQS, one receive may hand out several messages of a group, in order; a later receive waits for all of them.
func (q *queue) receive(now time.Time, limit int, hide time.Duration, dead func(*message)) []*message {
	locked := q.lockedGroups(now)
	return q.hand(now, limit, hide, dead, q.messages.Front(), (*list.Element).Next, locked)
}

// receiveDisordered is an injected fault: the newest come first, and no group is locked.
func (q *queue) receiveDisordered(now time.Time, limit int, hide time.Duration, dead func(*message)) []*message {
	return q.hand(now, limit, hide, dead, q.messages.Back(), (*list.Element).Prev, nil)
}

// hand walks the list and hands out what may be; without locked, groups are none of its business.
func (q *queue) hand(
	now time.Time, limit int, hide time.Duration, dead func(*message), e *list.Element, next func(*list.Element) *list.Element, locked map[string]bool,
) []*message {
	var out []*message
	for e != nil && len(out) < limit {
		m, here := e.Value.(*message), e
		e = next(e)
		if m.visibleAt.After(now) {
			if locked != nil {
				q.lock(locked, m) // a delayed message holds its followers back, too
			}
			continue
		}
		if locked[m.group] {
			continue
		}
		if now.Sub(m.sentAt) >= q.settings.retention {
			q.remove(here)
			continue
		}
		if r := q.settings.redrive; r != nil && m.receives >= r.maxReceives {
			q.remove(here)
			dead(m)
			continue
		}
		m.receives++
		if m.receives == 1 {
			m.firstReceived = now
		}
		m.visibleAt = now.Add(hide)
		q.flying[m] = struct{}{}
		out = append(out, m)
	}
	return out
}

// lockedGroups are the FIFO groups with a message in flight.
func (q *queue) lockedGroups(now time.Time) map[string]bool {
	locked := make(map[string]bool)
	for m := range q.flying {
		if !m.inFlight(now) {
			delete(q.flying, m)
			continue
		}
		q.lock(locked, m)
	}
	return locked
}

func (q *queue) lock(locked map[string]bool, m *message) {
	if q.settings.fifo && !q.withoutGroupLock {
		locked[m.group] = true
	}
}

func (q *queue) remove(e *list.Element) {
	m := q.messages.Remove(e).(*message)
	delete(q.byID, m.id)
	delete(q.flying, m)
}

// delete removes the message a handle stands for. One that is gone already is no error. A handle that is not the latest
// does nothing in a standard queue and is refused in a FIFO queue, where a handle also ends with its visibility.
func (q *queue) delete(now time.Time, handle string) *apiError {
	id, receive, ok := parseReceipt(q.name, handle)
	if !ok {
		return errReceiptHandleIsInvalid
	}
	e, ok := q.byID[id]
	if !ok {
		return nil
	}
	m := e.Value.(*message)
	latest := m.receives == receive
	if q.settings.fifo && !(latest && m.inFlight(now)) {
		return expiredReceipt(handle)
	}
	if latest {
		q.remove(e)
	}
	return nil
}

// changeVisibility hides a message in flight for d from now; 0 makes it visible at once.
func (q *queue) changeVisibility(now time.Time, handle string, d time.Duration) *apiError {
	id, receive, ok := parseReceipt(q.name, handle)
	if !ok {
		return errReceiptHandleIsInvalid
	}
	e, ok := q.byID[id]
	if !ok {
		return unavailableForChange(handle)
	}
	m := e.Value.(*message)
	switch {
	case !m.inFlight(now):
		return errMessageNotInflight
	case m.receives != receive:
		return unavailableForChange(handle)
	}
	m.visibleAt = now.Add(d)
	return nil
}

// counts are the three numbers of GetQueueAttributes.
func (q *queue) counts(now time.Time) (visible, inFlight, delayed int) {
	for e := q.messages.Front(); e != nil; e = e.Next() {
		switch m := e.Value.(*message); {
		case !m.visibleAt.After(now):
			visible++
		case m.inFlight(now):
			inFlight++
		default:
			delayed++
		}
	}
	return visible, inFlight, delayed
}

// nextVisible is the first moment after now at which a message becomes visible by itself; ok is false if none will.
func (q *queue) nextVisible(now time.Time) (at time.Time, ok bool) {
	for e := q.messages.Front(); e != nil; e = e.Next() {
		if m := e.Value.(*message); m.visibleAt.After(now) && (!ok || m.visibleAt.Before(at)) {
			at, ok = m.visibleAt, true
		}
	}
	return at, ok
}

// takeVisible removes the first visible message, whatever its group does: for move tasks.
func (q *queue) takeVisible(now time.Time) (*message, bool) {
	for e := q.messages.Front(); e != nil; e = e.Next() {
		if m := e.Value.(*message); !m.visibleAt.After(now) {
			q.remove(e)
			return m, true
		}
	}
	return nil, false
}
