package sqs

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
