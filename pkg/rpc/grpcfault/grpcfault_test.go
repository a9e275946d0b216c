package grpcfault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
)

func TestFault_ThroughStatusAndBack_IsTheSameWithoutItsCause(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sent := fault.New(fault.Kind(rapid.IntRange(0, int(fault.Canceled)).Draw(t, "kind")), rapid.StringMatching(`[a-z ]{1,20}`).Draw(t, "text"), errors.New("cause 10.0.0.7"))
		if rapid.Bool().Draw(t, "reason") {
			sent.Reason = "TEAM_ARCHIVED"
		}
		sent.RetryAfter = time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "retry"))
		for range rapid.IntRange(0, 3).Draw(t, "violations") {
			sent.Violations = append(sent.Violations, fault.Violation{Field: "f", Description: "d"})
		}
		s := grpcfault.ToStatus(fmt.Errorf("load team: %w", sent))
		require.NotContains(t, s.String(), "10.0.0.7")
		require.NotContains(t, s.String(), "load team")

		got, ok := fault.As(grpcfault.FromError(s.Err()))
		require.True(t, ok)
		require.Equal(t, sent.Kind, got.Kind)
		require.Equal(t, sent.Text, got.Text)
		require.Equal(t, sent.RetryAfter, got.RetryAfter)
		require.Equal(t, sent.Violations, got.Violations)
		require.Equal(t, fault.ReasonOf(sent), fault.ReasonOf(got))
	})
}

func TestToStatus_PlainErrors_SayNothingOfTheirCause(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code codes.Code
	}{
		{errors.New("pq: password authentication failed"), codes.Internal},
		{fmt.Errorf("query: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
		{status.Error(codes.Internal, "pq: password"), codes.Internal},
		{status.Error(codes.NotFound, "unknown service"), codes.NotFound},
	} {
		s := grpcfault.ToStatus(tc.err)
		require.Equal(t, tc.code, s.Code())
		require.NotContains(t, s.String(), "pq:")
	}
	require.Nil(t, grpcfault.ToStatus(nil))
	require.NoError(t, grpcfault.ToStatus(nil).Err())
	require.NoError(t, grpcfault.FromError(nil))
}

func TestFromError_StatusesOfTheNetwork_KeepAddressesInTheCause(t *testing.T) {
	err := grpcfault.FromError(status.Error(codes.Unavailable, "dial tcp 10.0.0.7:443: connection refused"))
	f, ok := fault.As(err)
	require.True(t, ok)
	require.Equal(t, fault.Unavailable, f.Kind)
	require.NotContains(t, f.Text, "10.0.0.7")
	require.Contains(t, err.Error(), "10.0.0.7", "for the log")
	require.True(t, fault.Passing(err))
	require.False(t, fault.Passing(grpcfault.FromError(status.Error(codes.ResourceExhausted, "grpc: received message larger than max (2 vs. 1)"))))
}

func TestToStatus_TextThatIsNotUTF8_StillArrives(t *testing.T) {
	s := grpcfault.ToStatus(fault.Field("name\xff", "bad \xff"))
	require.Len(t, s.Details(), 2)
}
