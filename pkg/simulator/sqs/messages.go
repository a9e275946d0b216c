package sqs

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

type sendIn struct {
	QueueUrl                string
	ID                      string `json:"Id"` // in a batch
	MessageBody             string
	DelaySeconds            *int
	MessageAttributes       map[string]attributeValue
	MessageSystemAttributes map[string]attributeValue
	MessageGroupId          string
	MessageDeduplicationId  string
}

type sendOut struct {
	ID                           string `json:"Id,omitempty"`
	MessageId                    string
	MD5OfMessageBody             string
	MD5OfMessageAttributes       string `json:",omitempty"`
	MD5OfMessageSystemAttributes string `json:",omitempty"`
	SequenceNumber               string `json:",omitempty"`
}

func (s *Server) sendMessage(c call, now time.Time, in sendIn) (sendOut, *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err != nil {
		return sendOut{}, err
	}
	out, err := q.accept(now, in, c.fault.Duplicate)
	if err != nil {
		return sendOut{}, err
	}
	q.stir()
	return out, nil
}

// accept sends one message, or two of it, and renders the answer.
func (h *hosted) accept(now time.Time, in sendIn, twice bool) (sendOut, *apiError) {
	delay := time.Duration(-1)
	if in.DelaySeconds != nil {
		if *in.DelaySeconds < 0 || *in.DelaySeconds > 900 {
			return sendOut{}, invalidParameter("Value %d for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.", *in.DelaySeconds)
		}
		delay = time.Duration(*in.DelaySeconds) * time.Second
	}
	id, sequence, err := h.send(now, &message{
		id: newID(), body: in.MessageBody, attributes: in.MessageAttributes,
		trace: in.MessageSystemAttributes["AWSTraceHeader"].StringValue,
		group: in.MessageGroupId, dedup: in.MessageDeduplicationId,
	}, delay)
	if err != nil {
		return sendOut{}, err
	}
	if twice {
		h.double(now, id)
	}
	out := sendOut{
		ID: in.ID, MessageId: id, MD5OfMessageBody: md5Hex(in.MessageBody),
		MD5OfMessageAttributes:       attributesMD5(in.MessageAttributes),
		MD5OfMessageSystemAttributes: attributesMD5(in.MessageSystemAttributes),
	}
	if h.settings.fifo {
		out.SequenceNumber = sequenceText(sequence)
	}
	return out, nil
}

// sequenceText has 20 digits, so that numbers sort as texts do.
func sequenceText(n uint64) string {
	text := strconv.FormatUint(n, 10)
	return strings.Repeat("0", max(0, 20-len(text))) + text
}

type batchIn[E any] struct {
	QueueUrl string
	Entries  []E
}

type batchFailure struct {
	ID          string `json:"Id"`
	SenderFault bool
	Code        string
	Message     string
}

type batchOut[R any] struct {
	Successful []R            `json:",omitempty"`
	Failed     []batchFailure `json:",omitempty"`
}

type idOut struct {
	ID string `json:"Id"`
}

var batchID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

func checkBatch(ids []string) *apiError {
	switch {
	case len(ids) == 0:
		return errEmptyBatchRequest
	case len(ids) > 10:
		return tooManyEntries(len(ids))
	}
	seen := make(map[string]bool)
	for _, id := range ids {
		if !batchID.MatchString(id) {
			return errInvalidBatchEntryID
		}
		if seen[id] {
			return errBatchEntryIDsNotDistinct
		}
		seen[id] = true
	}
	return nil
}

// eachEntry runs f over a batch and sorts the results; an entry that fails does not hold the others back.
func eachEntry[E, R any](c call, entries []E, id func(E) string, f func(E) (R, *apiError)) (batchOut[R], *apiError) {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = id(e)
	}
	if err := checkBatch(ids); err != nil {
		return batchOut[R]{}, err
	}
	var out batchOut[R]
	for i, e := range entries {
		var r R
		err := injected(500)
		if !slices.Contains(c.fault.FailEntries, i) {
			r, err = f(e)
		}
		if err != nil {
			code := err.queryCode
			if !err.senderFault() {
				code = "InternalError"
			}
			out.Failed = append(out.Failed, batchFailure{ids[i], err.senderFault(), code, err.message})
			continue
		}
		out.Successful = append(out.Successful, r)
	}
	return out, nil
}

func (s *Server) sendMessageBatch(c call, now time.Time, in batchIn[sendIn]) (batchOut[sendOut], *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err != nil {
		return batchOut[sendOut]{}, err
	}
	total := 0
	for _, e := range in.Entries {
		total += (&message{body: e.MessageBody, attributes: e.MessageAttributes}).size()
	}
	if total > maxMessageBytes {
		return batchOut[sendOut]{}, batchTooLong(total)
	}
	out, err := eachEntry(c, in.Entries, func(e sendIn) string { return e.ID },
		func(e sendIn) (sendOut, *apiError) { return q.accept(now, e, c.fault.Duplicate) })
	q.stir()
	return out, err
}

type receiveIn struct {
	QueueUrl                    string
	AttributeNames              []string
	MessageSystemAttributeNames []string
	MessageAttributeNames       []string
	MaxNumberOfMessages         *int
	VisibilityTimeout           *int
	WaitTimeSeconds             *int
}

type receivedMessage struct {
	MessageId              string
	ReceiptHandle          string
	Body                   string
	MD5OfBody              string
	Attributes             map[string]string         `json:",omitempty"`
	MessageAttributes      map[string]attributeValue `json:",omitempty"`
	MD5OfMessageAttributes string                    `json:",omitempty"`
}

type receiveOut struct {
	Messages []receivedMessage `json:",omitempty"`
}

func (s *Server) receiveMessage(c call, in receiveIn) (receiveOut, *apiError) {
	limit := 1
	if in.MaxNumberOfMessages != nil {
		limit = *in.MaxNumberOfMessages
	}
	if limit < 1 || limit > 10 {
		return receiveOut{}, invalidParameter("Value %d for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.", limit)
	}
	hide, err := seconds("VisibilityTimeout", in.VisibilityTimeout, bounds["VisibilityTimeout"].high)
	if err != nil {
		return receiveOut{}, err
	}
	wait, err := seconds("WaitTimeSeconds", in.WaitTimeSeconds, bounds["ReceiveMessageWaitTimeSeconds"].high)
	if err != nil {
		return receiveOut{}, err
	}
	if c.fault.ExpireMS > 0 {
		early := time.Duration(c.fault.ExpireMS) * time.Millisecond
		hide = &early
	}
	got, q, err := s.receive(c.ctx, in.QueueUrl, limit, hide, wait, c.fault.Reorder)
	if err != nil {
		return receiveOut{}, err
	}
	names := slices.Concat(in.AttributeNames, in.MessageSystemAttributeNames)
	var out receiveOut
	for _, m := range got {
		chosen := chooseAttributes(m.attributes, in.MessageAttributeNames)
		out.Messages = append(out.Messages, receivedMessage{
			MessageId: m.id, ReceiptHandle: m.receipt(q.name), Body: m.body, MD5OfBody: md5Hex(m.body),
			Attributes: m.systemAttributes(names), MessageAttributes: chosen, MD5OfMessageAttributes: attributesMD5(chosen),
		})
	}
	return out, nil
}

func seconds(name string, given *int, high int) (*time.Duration, *apiError) {
	if given == nil {
		return nil, nil
	}
	if *given < 0 || *given > high {
		return nil, invalidParameter("Value %d for parameter %s is invalid. Reason: Must be >= 0 and <= %d, if provided.", *given, name, high)
	}
	d := time.Duration(*given) * time.Second
	return &d, nil
}

func (m *message) systemAttributes(names []string) map[string]string {
	all := map[string]string{
		"SenderId":                         account,
		"SentTimestamp":                    strconv.FormatInt(m.sentAt.UnixMilli(), 10),
		"ApproximateReceiveCount":          strconv.Itoa(m.receives),
		"ApproximateFirstReceiveTimestamp": strconv.FormatInt(m.firstReceived.UnixMilli(), 10),
	}
	if m.sequence > 0 {
		all["SequenceNumber"] = sequenceText(m.sequence)
	}
	for k, v := range map[string]string{
		"MessageGroupId": m.group, "MessageDeduplicationId": m.dedup,
		"AWSTraceHeader": m.trace, "DeadLetterQueueSourceArn": m.deadFrom,
	} {
		if v != "" {
			all[k] = v
		}
	}
	if slices.Contains(names, "All") {
		return all
	}
	out := make(map[string]string)
	for _, k := range names {
		if v, ok := all[k]; ok {
			out[k] = v
		}
	}
	return out
}

// chooseAttributes understands names, "All", ".*" and prefixes ("trace.*").
func chooseAttributes(all map[string]attributeValue, names []string) map[string]attributeValue {
	out := make(map[string]attributeValue)
	for k, v := range all {
		for _, name := range names {
			prefix, wild := strings.CutSuffix(name, ".*")
			if name == "All" || name == k || wild && strings.HasPrefix(k, prefix) {
				out[k] = v
				break
			}
		}
	}
	return out
}

type receiptIn struct {
	QueueUrl          string
	ID                string `json:"Id"` // in a batch
	ReceiptHandle     string
	VisibilityTimeout *int
}

func (e receiptIn) id() string { return e.ID }

func (s *Server) deleteMessage(_ call, now time.Time, in receiptIn) (empty, *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err != nil {
		return empty{}, err
	}
	err = q.delete(now, in.ReceiptHandle)
	q.stir() // a FIFO group may be free now
	return empty{}, err
}

func (s *Server) deleteMessageBatch(c call, now time.Time, in batchIn[receiptIn]) (batchOut[idOut], *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err != nil {
		return batchOut[idOut]{}, err
	}
	out, err := eachEntry(c, in.Entries, receiptIn.id, func(e receiptIn) (idOut, *apiError) {
		return idOut{e.ID}, q.delete(now, e.ReceiptHandle)
	})
	q.stir()
	return out, err
}

func (s *Server) changeMessageVisibility(_ call, now time.Time, in receiptIn) (empty, *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err != nil {
		return empty{}, err
	}
	if in.VisibilityTimeout == nil {
		return empty{}, missingParameter("VisibilityTimeout")
	}
	return empty{}, q.change(now, in)
}

func (s *Server) changeMessageVisibilityBatch(c call, now time.Time, in batchIn[receiptIn]) (batchOut[idOut], *apiError) {
	q, err := s.queueAt(in.QueueUrl)
	if err != nil {
		return batchOut[idOut]{}, err
	}
	return eachEntry(c, in.Entries, receiptIn.id, func(e receiptIn) (idOut, *apiError) {
		return idOut{e.ID}, q.change(now, e)
	})
}

// change is lenient about a missing timeout: clients leave a zero out of batch entries.
func (h *hosted) change(now time.Time, e receiptIn) *apiError {
	d, err := seconds("VisibilityTimeout", e.VisibilityTimeout, bounds["VisibilityTimeout"].high)
	if err != nil {
		return err
	}
	defer h.stir()
	return h.changeVisibility(now, e.ReceiptHandle, orDefault(d, 0))
}
