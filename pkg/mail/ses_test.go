package mail_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

func TestSES_Errors_SayWhatToDo(t *testing.T) {
	s, fake, _ := newSES(t)
	for code, c := range map[string]struct {
		status int
		kind   fault.Kind
		wait   time.Duration
	}{
		"TooManyRequestsException":           {http.StatusTooManyRequests, fault.Throttled, 5 * time.Second},
		"LimitExceededException":             {http.StatusBadRequest, fault.Throttled, 15 * time.Minute},
		"SendingPausedException":             {http.StatusBadRequest, fault.Precondition, 0},
		"AccountSuspendedException":          {http.StatusBadRequest, fault.Precondition, 0},
		"MailFromDomainNotVerifiedException": {http.StatusBadRequest, fault.Precondition, 0},
		"AccessDeniedException":              {http.StatusForbidden, fault.Precondition, 0},
		"InternalFailure":                    {http.StatusInternalServerError, fault.Unavailable, 0},
	} {
		fake.refuse(c.status, code, "because")
		_, err := s.Send(t.Context(), message())
		f, ok := fault.As(err)
		require.True(t, ok, code)
		require.Equal(t, c.kind, f.Kind, code)
		require.Equal(t, c.wait, f.RetryAfter, code)
	}
	require.Empty(t, fake.received, "the SDK itself repeats nothing")
}

// An answer of success that cannot be read is none of failure.
func TestSES_AnswerCannotBeRead_IsUnsure(t *testing.T) {
	s, fake, _ := newSES(t)
	fake.next = func(w http.ResponseWriter, take func()) {
		take()
		_, _ = w.Write([]byte(`{"MessageId":`))
	}
	_, err := s.Send(t.Context(), message())
	require.Equal(t, fault.Deadline, fault.KindOf(err))
}
