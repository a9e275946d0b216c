package sqs

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestControl_FaultsStateAndCalls(t *testing.T) {
	s := New(Options{})
	defer s.Close()
	do := func(method, path, target, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("X-Amz-Target", target)
		s.ServeHTTP(w, r)
		return w
	}
	require.Equal(t, 200, do("POST", "/", "AmazonSQS.CreateQueue", `{"QueueName":"q"}`).Code)
	send := func() *httptest.ResponseRecorder {
		return do("POST", "/", "AmazonSQS.SendMessage", `{"QueueUrl":"http://h/0/q","MessageBody":"x"}`)
	}
	require.Equal(t, 204, do("POST", "/_control/faults", "", `[{"action":"SendMessage","times":2,"status":500}]`).Code)
	for _, want := range []int{500, 500, 200} {
		w := send()
		require.Equal(t, want, w.Code)
		if want == 500 {
			require.Equal(t, "InternalFailure;Receiver", w.Header().Get("x-amzn-query-error"))
		}
	}
	require.Contains(t, do("GET", "/_control/state", "", "").Body.String(), `"q":{"visible":1,`)
	require.Contains(t, do("GET", "/_control/calls", "", "").Body.String(), `"SendMessage":3`)

	require.Equal(t, 204, do("DELETE", "/_control/state", "", "").Code)
	require.Contains(t, do("GET", "/_control/state", "", "").Body.String(), `"q":{"visible":0,`)

	require.Equal(t, 204, do("POST", "/_control/faults", "", `[{"action":"*","times":-1,"status":503}]`).Code)
	require.Equal(t, 503, send().Code)
	require.Equal(t, 204, do("DELETE", "/_control/faults", "", "").Code)
	require.Equal(t, 200, send().Code)

	require.Equal(t, 204, do("POST", "/_control/faults", "", `[{"action":"SendMessage","lose_answer":true}]`).Code)
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { send() })
	require.Equal(t, 2, s.State().Queues["q"].Visible, "the message was taken, the answer lost")

	for name, bad := range map[string]string{
		"unknown field": `[{"acton":"SendMessage"}]`, "not an error": `[{"action":"*","status":200}]`, "not JSON": `x`,
		"twice what": `[{"action":"*","duplicate":true}]`, "no order to break": `[{"action":"SendMessage","reorder":true}]`,
		"in the past": `[{"action":"ReceiveMessage","expire_ms":-1}]`,
	} {
		require.Equal(t, 400, do("POST", "/_control/faults", "", bad).Code, name)
	}
	require.Equal(t, 400, do("POST", "/_control/clock", "", `{"advance_ms":-1}`).Code)
}

func TestProtocol_Errors_CarryShapeAndQueryCode(t *testing.T) {
	s := New(Options{})
	defer s.Close()
	for target, want := range map[string][2]string{
		"AmazonSQS.GetQueueUrl": {"com.amazonaws.sqs#QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue;Sender"},
		"AmazonSQS.Nothing":     {"com.amazon.coral.service#UnknownOperationException", "InvalidAction;Sender"},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/", strings.NewReader(`{"QueueName":"none"}`))
		r.Header.Set("X-Amz-Target", target)
		s.ServeHTTP(w, r)
		require.Equal(t, 400, w.Code)
		require.Contains(t, w.Body.String(), want[0])
		require.Equal(t, want[1], w.Header().Get("x-amzn-query-error"))
	}
}

func TestFaults_DuplicateReorderExpire_BreakWhatSQSPromises(t *testing.T) {
	s := New(Options{ReceiveFloor: -1})
	defer s.Close()
	do := func(target, body string) string {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("X-Amz-Target", "AmazonSQS."+target)
		s.ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code, w.Body.String())
		return w.Body.String()
	}
	bodies := func() (got []string) {
		var answer receiveOut
		require.NoError(t, json.Unmarshal([]byte(do("ReceiveMessage", `{"QueueUrl":"http://h/0/q.fifo","MaxNumberOfMessages":10,"WaitTimeSeconds":0}`)), &answer))
		for _, m := range answer.Messages {
			got = append(got, m.Body)
		}
		return got
	}
	send := func(body string) {
		do("SendMessage", `{"QueueUrl":"http://h/0/q.fifo","MessageGroupId":"g","MessageBody":"`+body+`","MessageDeduplicationId":"`+body+`"}`)
	}
	do("CreateQueue", `{"QueueName":"q.fifo","Attributes":{"FifoQueue":"true"}}`)
	s.Inject(Fault{Action: "SendMessage", Duplicate: true})
	send("a")
	send("b")
	require.Equal(t, 3, s.State().Queues["q.fifo"].Visible)

	s.Inject(Fault{Action: "ReceiveMessage", ExpireMS: 10})
	require.Equal(t, []string{"a", "a", "b"}, bodies())
	require.Empty(t, bodies(), "in flight")
	s.Advance(10 * time.Millisecond)
	require.Equal(t, []string{"a", "a", "b"}, bodies(), "visible again, long before the 30 s that the queue gives")

	send("c")
	require.Empty(t, bodies(), "the group is locked")
	s.Inject(Fault{Action: "ReceiveMessage", Reorder: true})
	require.Equal(t, []string{"c"}, bodies())
	s.Advance(time.Minute)
	s.Inject(Fault{Action: "ReceiveMessage", Reorder: true})
	require.Equal(t, []string{"c", "b", "a", "a"}, bodies())

	s.Inject(Fault{Action: "*", Times: -1, Status: 500})
	s.ClearFaults()
	require.Empty(t, bodies())
}
