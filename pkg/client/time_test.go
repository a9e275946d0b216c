package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/nthlayer/nthlayer/pkg/fault"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// failing makes calls that always fail in one way, and gives when they were made.
func failing(ctx context.Context, chance float64, failure error) (tries []time.Duration, err error) {
	begun := time.Now()
	r := retry{sleep: sleep, random: func() float64 { return chance }}
	err = r.unary(ctx, nthlayerv1.TeamService_GetTeam_FullMethodName, nil, nil, nil,
		func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
			tries = append(tries, time.Since(begun))
			return failure
		})
	return tries, err
}

func TestRetry_Waits_DoubleAndAreShortenedByChance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := fault.New(fault.Unavailable, "away", nil)
		tries, err := failing(t.Context(), 0, away)
		require.ErrorIs(t, err, away)
		require.Equal(t, []time.Duration{0, 200 * time.Millisecond, 600 * time.Millisecond, 1400 * time.Millisecond, 3 * time.Second}, tries)
		tries, _ = failing(t.Context(), 0.5, away)
		require.Equal(t, []time.Duration{0, 150 * time.Millisecond, 450 * time.Millisecond, 1050 * time.Millisecond, 2250 * time.Millisecond}, tries)
	})
}

func TestRetry_ServerSaysWhen_IsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries, _ := failing(t.Context(), 0, fault.New(fault.Throttled, "slow down", nil).WithRetryAfter(7*time.Second))
		require.Equal(t, []time.Duration{0, 7 * time.Second, 14 * time.Second, 21 * time.Second, 28 * time.Second}, tries)
		tries, _ = failing(t.Context(), 0, fault.New(fault.Throttled, "slow down", nil).WithRetryAfter(time.Millisecond))
		require.Equal(t, 3*time.Second, tries[4], "not sooner than by itself")
	})
}

func TestRetry_DeadlineBeforeTheNextTry_IsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		tries, err := failing(ctx, 0, fault.New(fault.Unavailable, "away", nil))
		require.True(t, fault.Is(err, fault.Unavailable))
		require.Len(t, tries, 3)
		require.Equal(t, 600*time.Millisecond, time.Since(begun), "the fourth would come at 1.4 s")
	})
}

func TestRetry_CallerGoesAwayWhileItWaits_EndsAtOnceWithWhatWentWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := failing(ctx, 0, fault.New(fault.Throttled, "slow down", nil).WithRetryAfter(time.Hour))
		require.True(t, fault.Is(err, fault.Throttled))
		require.Equal(t, time.Second, time.Since(begun))

		tries, err := failing(t.Context(), 0, errors.New("no fault, and so not passing"))
		require.Error(t, err)
		require.Len(t, tries, 1)
	})
}
