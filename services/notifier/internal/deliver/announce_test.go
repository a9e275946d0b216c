package deliver

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAnnouncer_DatabaseAwayForAWhile_GoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, pokes := 0, 0
		ctx, stop := context.WithCancel(t.Context())
		a := &Announcer{SilentFor: 15 * time.Minute,
			Announce: func(context.Context, time.Duration) (int, error) {
				switch calls++; calls {
				case 1:
					return 0, errors.New("away")
				case 2:
					return 0, nil
				case 3:
					return 5, nil
				default:
					stop()
					return 0, ctx.Err()
				}
			},
			Poke: func() { pokes++ },
			Log:  slog.New(slog.DiscardHandler),
		}
		begin := time.Now()
		require.NoError(t, a.Run(ctx))
		require.Equal(t, 1, pokes, "only for what was announced")
		require.Equal(t, 4*announceEvery, time.Since(begin))
	})
}
