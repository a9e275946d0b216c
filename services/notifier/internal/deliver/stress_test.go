package deliver

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAnnouncer_StartedAndStoppedManyTimes_EndsAlsoInTheMiddleOfALook(t *testing.T) {
	for round := range 200 {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			a := &Announcer{SilentFor: 15 * time.Minute,
				Announce: func(ctx context.Context, _ time.Duration) (int, error) {
					<-ctx.Done() // a database that does not answer
					return 0, ctx.Err()
				},
				Poke: func() { require.Fail(t, "nothing was announced") },
				Log:  slog.New(slog.DiscardHandler),
			}
			ended := make(chan error, 1)
			go func() { ended <- a.Run(ctx) }()
			time.Sleep(time.Duration(round) * time.Second)
			begun := time.Now()
			stop()
			require.NoError(t, <-ended)
			require.Zero(t, time.Since(begun))
		})
	}
}
