package queue_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/queue"
)

// backend is an SQS implementation under the contract.
type backend struct {
	client *queue.Client
	raw    *awssqs.Client
	// whole: it has move tasks, the system attribute AWSTraceHeader, and refuses handles that are none. fauxqs has not.
	whole bool
}

// TestContract_Simulator and TestContract_Fauxqs run one suite against two implementations of SQS, of which nobody here
// wrote the second: what both do is what SQS does, as far as that can be known without AWS.
func TestContract_Simulator(t *testing.T) {
	_, endpoint := startSimulator(t)
	contract(t, newBackend(t, endpoint, true))
}

func TestContract_Fauxqs(t *testing.T) {
	contract(t, newBackend(t, startFauxqs(t), false))
}

func contract(t *testing.T, b backend) {
	for name, test := range map[string]func(*testing.T, backend){
		"Send_Receive_CarriesEverything":                contractRoundTrip,
		"Ensure_CreatesQueuesWithRedrive_Twice":         contractEnsure,
		"Group_KeepsOrder_AndIsLockedInFlight":          contractGroupLock,
		"Groups_DoNotHoldEachOtherBack":                 contractGroupsIndependent,
		"SameDedupID_IsAcceptedAndDropped":              contractDedup,
		"ContentBasedDeduplication_DropsEqualBodies":    contractContentDedup,
		"Visibility_EndsAndMessageComesBack":            contractVisibility,
		"Visibility_Zero_MakesVisibleAtOnce":            contractVisibilityZero,
		"LongPoll_WakesOnSend":                          contractLongPoll,
		"TooManyReceives_GoToDeadLetterQueue":           contractRedrive,
		"StandardQueue_DelaySeconds_HidesAtFirst":       contractDelay,
		"Batch_FailsInPart":                             contractPartialBatch,
		"Batch_Malformed_IsRefusedWhole":                contractBatchErrors,
		"Errors_AreTyped":                               contractErrors,
		"Attributes_BinaryAndNumber_SurviveTheChecksum": contractAttributes,
		"Purge_And_DeleteQueue":                         contractPurgeDelete,
		"Producer_MissingQueue_IsNotFound":              contractMissingQueue,
		"Producer_MoreThanABatch_AllArrive":             contractManyMessages,
		"DeadLetters_MoveBack":                          contractMoveTask,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, b) })
	}
}

// fifo creates a FIFO queue with a name of its own and these attributes beside.
func (b backend) fifo(t *testing.T, attributes map[string]string) (name string, url *string) {
	t.Helper()
	name = "q-" + uuid.NewString() + ".fifo"
	all := map[string]string{"FifoQueue": "true"}
	for k, v := range attributes {
		all[k] = v
	}
	out, err := b.raw.CreateQueue(t.Context(), &awssqs.CreateQueueInput{QueueName: &name, Attributes: all})
	require.NoError(t, err)
	return name, out.QueueUrl
}

func (b backend) send(t *testing.T, messages ...queue.Message) {
	t.Helper()
	sent, err := queue.NewProducer(b.client).Send(t.Context(), messages)
	require.NoError(t, err)
	for i := range sent {
		require.True(t, sent[i])
	}
}

// receive takes up to ten messages and hides them for hide seconds (0: the queue's own time).
func (b backend) receive(t *testing.T, url *string, hide, wait int32) []types.Message {
	t.Helper()
	out, err := b.raw.ReceiveMessage(t.Context(), &awssqs.ReceiveMessageInput{
		QueueUrl: url, MaxNumberOfMessages: 10, VisibilityTimeout: hide, WaitTimeSeconds: wait,
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	require.NoError(t, err)
	return out.Messages
}

func (b backend) delete(t *testing.T, url *string, m types.Message) {
	t.Helper()
	_, err := b.raw.DeleteMessage(t.Context(), &awssqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: m.ReceiptHandle})
	require.NoError(t, err)
}

// takeAll receives and deletes n messages. How many of a group one receive brings is the implementation's choice.
func (b backend) takeAll(t *testing.T, url *string, n int) (got []string) {
	t.Helper()
	for len(got) < n {
		batch := b.receive(t, url, 30, 1)
		require.NotEmpty(t, batch, "got only %v", got)
		for _, m := range batch {
			b.delete(t, url, m)
		}
		got = append(got, bodies(batch)...)
	}
	return got
}

func text(queueName, group, body string) queue.Message {
	return queue.Message{Queue: queueName, Group: group, Dedup: uuid.NewString(), Body: []byte(body)}
}

func bodies(messages []types.Message) []string {
	out := []string{}
	for _, m := range messages {
		out = append(out, *m.Body)
	}
	return out
}

func contractRoundTrip(t *testing.T, b backend) {
	name, url := b.fifo(t, nil)
	before := time.Now().Add(-time.Second)
	b.send(t, queue.Message{
		Queue: name, Group: "team-1", Dedup: "d-1", Body: []byte(`{"job_id":"é"}`),
		Attributes: map[string]string{"traceparent": "00-1-2-01", "X-Amzn-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793"},
	})
	got := b.receive(t, url, 30, 1)
	require.Len(t, got, 1)
	m := got[0]
	require.Equal(t, `{"job_id":"é"}`, *m.Body)
	require.Equal(t, "00-1-2-01", *m.MessageAttributes["traceparent"].StringValue)
	require.Equal(t, "team-1", m.Attributes["MessageGroupId"])
	require.Equal(t, "d-1", m.Attributes["MessageDeduplicationId"])
	require.Equal(t, "1", m.Attributes["ApproximateReceiveCount"])
	if b.whole {
		require.Equal(t, "Root=1-5759e988-bd862e3fe1be46a994272793", m.Attributes["AWSTraceHeader"])
	}
	require.NotEmpty(t, m.Attributes["SequenceNumber"])
	var sent int64
	require.NoError(t, json.Unmarshal([]byte(m.Attributes["SentTimestamp"]), &sent))
	require.WithinRange(t, time.UnixMilli(sent), before, time.Now().Add(time.Second))
	b.delete(t, url, m)
	require.Empty(t, b.receive(t, url, 30, 0))
}

func contractEnsure(t *testing.T, b backend) {
	name := "ensured-" + uuid.NewString() + ".fifo"
	for range 2 {
		require.NoError(t, b.client.Ensure(t.Context(), queue.Layout{MaxReceives: 7}, name))
	}
	url, err := b.raw.GetQueueUrl(t.Context(), &awssqs.GetQueueUrlInput{QueueName: &name})
	require.NoError(t, err)
	got, err := b.raw.GetQueueAttributes(t.Context(), &awssqs.GetQueueAttributesInput{
		QueueUrl: url.QueueUrl, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll}})
	require.NoError(t, err)
	require.Contains(t, got.Attributes["RedrivePolicy"], queue.DeadLetter(name))
	require.Equal(t, "perMessageGroupId", got.Attributes["FifoThroughputLimit"])
	depth, err := b.client.Depth(t.Context(), name)
	require.NoError(t, err)
	require.Equal(t, queue.Depth{}, depth)
}

func contractGroupLock(t *testing.T, b backend) {
	name, url := b.fifo(t, nil)
	b.send(t, text(name, "g", "1"))
	first := b.receive(t, url, 30, 1)
	require.Equal(t, []string{"1"}, bodies(first))
	b.send(t, text(name, "g", "2"), text(name, "g", "3"))
	require.Empty(t, b.receive(t, url, 30, 0), "the group has a message in flight")
	b.delete(t, url, first[0])
	require.Equal(t, []string{"2", "3"}, b.takeAll(t, url, 2))
}

func contractGroupsIndependent(t *testing.T, b backend) {
	name, url := b.fifo(t, nil)
	b.send(t, text(name, "a", "a1"))
	require.Len(t, b.receive(t, url, 30, 1), 1)
	b.send(t, text(name, "a", "a2"), text(name, "b", "b1"))
	require.Equal(t, []string{"b1"}, bodies(b.receive(t, url, 30, 1)))
}

func contractDedup(t *testing.T, b backend) {
	name, url := b.fifo(t, nil)
	m := text(name, "g", "1")
	b.send(t, m)
	again := m
	again.Body = []byte("2")
	b.send(t, again)
	got := b.receive(t, url, 30, 1)
	require.Equal(t, []string{"1"}, bodies(got))
	b.delete(t, url, got[0])
	b.send(t, again) // the id is remembered beyond the message's life
	require.Empty(t, b.receive(t, url, 30, 0))
}

func contractContentDedup(t *testing.T, b backend) {
	name, url := b.fifo(t, map[string]string{"ContentBasedDeduplication": "true"})
	for _, body := range []string{"x", "x", "y"} {
		b.send(t, queue.Message{Queue: name, Group: "g", Body: []byte(body)})
	}
	require.Equal(t, []string{"x", "y"}, b.takeAll(t, url, 2))
}

func contractVisibility(t *testing.T, b backend) {
	name, url := b.fifo(t, nil)
	b.send(t, text(name, "g", "1"))
	first := b.receive(t, url, 1, 1)
	require.Len(t, first, 1)
	second := b.receive(t, url, 30, 5) // the long poll waits for the visibility to end
	require.Equal(t, []string{"1"}, bodies(second))
	require.Equal(t, "2", second[0].Attributes["ApproximateReceiveCount"])
}

func contractVisibilityZero(t *testing.T, b backend) {
	name, url := b.fifo(t, nil)
	b.send(t, text(name, "g", "1"))
	first := b.receive(t, url, 30, 1)
	require.Len(t, first, 1)
	_, err := b.raw.ChangeMessageVisibility(t.Context(), &awssqs.ChangeMessageVisibilityInput{
		QueueUrl: url, ReceiptHandle: first[0].ReceiptHandle, VisibilityTimeout: 0})
	require.NoError(t, err)
	require.Len(t, b.receive(t, url, 30, 0), 1)
}

func contractLongPoll(t *testing.T, b backend) {
	name, url := b.fifo(t, nil)
	got := make(chan []string, 1)
	began := time.Now()
	go func() {
		out, err := b.raw.ReceiveMessage(t.Context(), &awssqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 20})
		if err != nil {
			got <- []string{err.Error()}
			return
		}
		got <- bodies(out.Messages)
	}()
	b.send(t, text(name, "g", "1"))
	require.Equal(t, []string{"1"}, <-got)
	require.Less(t, time.Since(began), 10*time.Second)
}

func contractRedrive(t *testing.T, b backend) {
	name := "poison-" + uuid.NewString() + ".fifo"
	require.NoError(t, b.client.Ensure(t.Context(), queue.Layout{MaxReceives: 2}, name))
	url, err := b.raw.GetQueueUrl(t.Context(), &awssqs.GetQueueUrlInput{QueueName: &name})
	require.NoError(t, err)
	b.send(t, text(name, "g", "poison"))
	for range 2 {
		got := b.receive(t, url.QueueUrl, 1, 5)
		require.Equal(t, []string{"poison"}, bodies(got))
		_, err := b.raw.ChangeMessageVisibility(t.Context(), &awssqs.ChangeMessageVisibilityInput{
			QueueUrl: url.QueueUrl, ReceiptHandle: got[0].ReceiptHandle, VisibilityTimeout: 0})
		require.NoError(t, err)
	}
	require.Empty(t, b.receive(t, url.QueueUrl, 30, 0))
	dead, err := b.raw.GetQueueUrl(t.Context(), &awssqs.GetQueueUrlInput{QueueName: aws.String(queue.DeadLetter(name))})
	require.NoError(t, err)
	got := b.receive(t, dead.QueueUrl, 30, 1)
	require.Equal(t, []string{"poison"}, bodies(got))
	require.Equal(t, "g", got[0].Attributes["MessageGroupId"])
}

func contractDelay(t *testing.T, b backend) {
	name := "standard-" + uuid.NewString()
	q, err := b.raw.CreateQueue(t.Context(), &awssqs.CreateQueueInput{QueueName: &name})
	require.NoError(t, err)
	_, err = b.raw.SendMessage(t.Context(), &awssqs.SendMessageInput{QueueUrl: q.QueueUrl, MessageBody: aws.String("later"), DelaySeconds: 1})
	require.NoError(t, err)
	require.Empty(t, b.receive(t, q.QueueUrl, 30, 0))
	require.Equal(t, []string{"later"}, bodies(b.receive(t, q.QueueUrl, 30, 5)))
}

func contractPartialBatch(t *testing.T, b backend) {
	name, url := b.fifo(t, nil)
	bad := text(name, "g", "bad \x01 character")
	sent, err := queue.NewProducer(b.client).Send(t.Context(), []queue.Message{text(name, "g", "1"), bad, text(name, "g", "3")})
	require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
	require.Equal(t, []bool{true, false, true}, sent)
	require.Equal(t, []string{"1", "3"}, b.takeAll(t, url, 2))
}

func contractBatchErrors(t *testing.T, b backend) {
	_, url := b.fifo(t, map[string]string{"ContentBasedDeduplication": "true"})
	entry := func(id string, size int) types.SendMessageBatchRequestEntry {
		return types.SendMessageBatchRequestEntry{Id: &id, MessageBody: aws.String(strings.Repeat("x", size)), MessageGroupId: aws.String("g")}
	}
	batch := func(entries ...types.SendMessageBatchRequestEntry) error {
		_, err := b.raw.SendMessageBatch(t.Context(), &awssqs.SendMessageBatchInput{QueueUrl: url, Entries: entries})
		return err
	}
	eleven := make([]types.SendMessageBatchRequestEntry, 11)
	for i := range eleven {
		eleven[i] = entry(fmt.Sprint(i), 1)
	}
	var distinct *types.BatchEntryIdsNotDistinct
	var many *types.TooManyEntriesInBatchRequest
	var long *types.BatchRequestTooLong
	var none *types.EmptyBatchRequest
	require.ErrorAs(t, batch(entry("1", 1), entry("1", 1)), &distinct)
	require.ErrorAs(t, batch(eleven...), &many)
	require.ErrorAs(t, batch(entry("1", 600<<10), entry("2", 600<<10)), &long)
	require.ErrorAs(t, batch(eleven[:0]...), &none)
	require.Empty(t, b.receive(t, url, 30, 0))
}

func contractErrors(t *testing.T, b backend) {
	ctx := t.Context()
	name, url := b.fifo(t, nil)
	_, err := b.raw.GetQueueUrl(ctx, &awssqs.GetQueueUrlInput{QueueName: aws.String("nowhere.fifo")})
	var missing *types.QueueDoesNotExist
	require.ErrorAs(t, err, &missing)

	_, err = b.raw.DeleteMessage(ctx, &awssqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: aws.String("no handle")})
	if b.whole {
		var handle *types.ReceiptHandleIsInvalid
		require.ErrorAs(t, err, &handle)
	}

	b.send(t, text(name, "g", "1"))
	got := b.receive(t, url, 30, 1)
	change := &awssqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: got[0].ReceiptHandle, VisibilityTimeout: 0}
	_, err = b.raw.ChangeMessageVisibility(ctx, change)
	require.NoError(t, err)
	_, err = b.raw.ChangeMessageVisibility(ctx, change)
	var notInFlight *types.MessageNotInflight
	require.ErrorAs(t, err, &notInFlight)

	for name, in := range map[string]*awssqs.SendMessageInput{
		"no group":    {QueueUrl: url, MessageBody: aws.String("x"), MessageDeduplicationId: aws.String("d")},
		"no dedup id": {QueueUrl: url, MessageBody: aws.String("x"), MessageGroupId: aws.String("g")},
		"too long":    {QueueUrl: url, MessageBody: aws.String(strings.Repeat("x", 1<<20+1)), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d")},
	} {
		_, err = b.raw.SendMessage(ctx, in)
		var api smithy.APIError
		require.ErrorAs(t, err, &api, name)
		require.Regexp(t, "(InvalidParameterValue|MissingParameter)$", api.ErrorCode(), name)
	}
}

func contractAttributes(t *testing.T, b backend) {
	_, url := b.fifo(t, nil)
	out, err := b.raw.SendMessage(t.Context(), &awssqs.SendMessageInput{
		QueueUrl: url, MessageBody: aws.String("x"), MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d"),
		MessageAttributes: map[string]types.MessageAttributeValue{
			"text":   {DataType: aws.String("String"), StringValue: aws.String("ü")},
			"number": {DataType: aws.String("Number.int"), StringValue: aws.String("42")},
			"bytes":  {DataType: aws.String("Binary"), BinaryValue: []byte{0, 1, 255}},
		},
	})
	require.NoError(t, err)
	got := b.receive(t, url, 30, 1)
	require.Equal(t, []byte{0, 1, 255}, got[0].MessageAttributes["bytes"].BinaryValue)
	require.Equal(t, "Number.int", *got[0].MessageAttributes["number"].DataType)
	require.Equal(t, out.MD5OfMessageAttributes, got[0].MD5OfMessageAttributes)
	// The digest of these three by the algorithm of the developer guide, worked out with Python's hashlib.
	require.Equal(t, "67d51a1f1641ba23a38c514ae9d6626f", *out.MD5OfMessageAttributes)
}

func contractPurgeDelete(t *testing.T, b backend) {
	name, url := b.fifo(t, nil)
	b.send(t, text(name, "g", "1"))
	_, err := b.raw.PurgeQueue(t.Context(), &awssqs.PurgeQueueInput{QueueUrl: url})
	require.NoError(t, err)
	require.Empty(t, b.receive(t, url, 30, 0))
	_, err = b.raw.DeleteQueue(t.Context(), &awssqs.DeleteQueueInput{QueueUrl: url})
	require.NoError(t, err)
	_, err = b.raw.ReceiveMessage(t.Context(), &awssqs.ReceiveMessageInput{QueueUrl: url})
	var missing *types.QueueDoesNotExist
	require.ErrorAs(t, err, &missing)
}

func contractMissingQueue(t *testing.T, b backend) {
	sent, err := queue.NewProducer(b.client).Send(t.Context(), []queue.Message{text("nowhere.fifo", "g", "1")})
	require.Equal(t, []bool{false}, sent)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

func contractManyMessages(t *testing.T, b backend) {
	name, url := b.fifo(t, nil)
	var messages []queue.Message
	for i := range 25 {
		messages = append(messages, text(name, "g", fmt.Sprint(i)))
	}
	b.send(t, messages...)
	got := b.takeAll(t, url, 25)
	for i := range 25 {
		require.Equal(t, fmt.Sprint(i), got[i])
	}
}

func contractMoveTask(t *testing.T, b backend) {
	if !b.whole {
		t.Skip("fauxqs does not implement StartMessageMoveTask; the simulator runs this test")
	}
	name := "moved-" + uuid.NewString() + ".fifo"
	require.NoError(t, b.client.Ensure(t.Context(), queue.Layout{MaxReceives: 1}, name))
	url, err := b.raw.GetQueueUrl(t.Context(), &awssqs.GetQueueUrlInput{QueueName: &name})
	require.NoError(t, err)
	b.send(t, text(name, "g", "1"), text(name, "h", "2"))
	for _, m := range b.receive(t, url.QueueUrl, 30, 1) {
		_, err := b.raw.ChangeMessageVisibility(t.Context(), &awssqs.ChangeMessageVisibilityInput{
			QueueUrl: url.QueueUrl, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0})
		require.NoError(t, err)
	}
	require.Empty(t, b.receive(t, url.QueueUrl, 30, 0))
	require.NoError(t, b.client.Redrive(t.Context(), name))
	back := b.receive(t, url.QueueUrl, 30, 1)
	require.ElementsMatch(t, []string{"1", "2"}, bodies(back))
	require.Equal(t, "1", back[0].Attributes["ApproximateReceiveCount"], "a redriven message is a new one")
}
