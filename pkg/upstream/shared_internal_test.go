package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
)

// PagerDuty's quota, and the least of it that a fleet with enough to do must use.
const (
	quota  = 960
	mostOf = quota * 95 / 100
)

// fleet is a number of processes that share a credential and keep calling, on the virtual clock of a synctest bubble,
// which the Redis server follows. What is sent is noted.
type fleet struct {
	t         *testing.T
	server    *miniredis.Miniredis
	processes []*Shared
	logs      strings.Builder // of the first process
	began     time.Time
	calls     sync.WaitGroup

	mu     sync.Mutex
	sent   []time.Time
	behind time.Duration // how far the server's clock is behind
	away   bool          // nobody reaches the server
}

// simulate runs scenario on n processes. The server stands outside of the bubble: a bubble's time stands still while
// somebody in it waits for the network.
func simulate(t *testing.T, n int, scenario func(t *testing.T, f *fleet)) {
	server := miniredis.RunT(t)
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{t: t, server: server, began: time.Now()}
		for i := range n {
			out := slog.New(slog.DiscardHandler)
			if i == 0 {
				out = slog.New(slog.NewTextHandler(&f.logs, nil))
			}
			f.processes = append(f.processes, f.process("key", out))
		}
		scenario(t, f)
	})
}

func (f *fleet) process(credential string, log *slog.Logger) *Shared {
	client := redis.NewClient(&redis.Options{Addr: f.server.Addr(), MaxRetries: -1, PoolSize: 100})
	client.AddHook(f)
	f.t.Cleanup(func() { _ = client.Close() })
	return NewShared(client, SharedConfig{
		Platform: "pagerduty", Credentials: config.Fixed(config.NewSecret(credential)), PerMinute: quota, Log: log,
	})
}

// The protections of the script against a bucket that is lost, and what is there without them.
const (
	missingIsEmpty, missingIsFull = "tat = now + urgent + interval", "tat = now"
	remembered, forgotten         = "now + seen", "now"
)

// replace changes every process's script.
func (f *fleet) replace(oldnew ...string) {
	for i := 0; i < len(oldnew); i += 2 {
		require.Contains(f.t, gcra, oldnew[i])
	}
	for _, p := range f.processes {
		p.script = redis.NewScript(strings.NewReplacer(oldnew...).Replace(gcra))
	}
}

func (f *fleet) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *fleet) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (f *fleet) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		f.mu.Lock()
		f.server.SetTime(time.Now().Add(-f.behind))
		away := f.away
		f.mu.Unlock()
		if away {
			return errors.New("no Redis")
		}
		return next(ctx, cmd)
	}
}

func (f *fleet) setAway(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
}

// saturate has each process call with so many callers for d.
func (f *fleet) saturate(d time.Duration, callers int, p Priority) {
	ctx, cancel := context.WithTimeout(WithPriority(f.t.Context(), p), d)
	context.AfterFunc(f.t.Context(), cancel)
	for _, process := range f.processes {
		for range callers {
			f.calls.Go(func() {
				for f.call(ctx, process) {
				}
			})
		}
	}
}

func (f *fleet) call(ctx context.Context, process *Shared) bool {
	if process.Wait(ctx) != nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, time.Now())
	return true
}

// most is the largest number of calls in any minute, wherever it begins.
func (f *fleet) most() int {
	most, first := 0, 0
	for last := range f.sent {
		for f.sent[last].Sub(f.sent[first]) >= time.Minute {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// minute is the number of calls in the nth minute.
func (f *fleet) minute(n int) (count int) {
	for _, at := range f.sent {
		if since := at.Sub(f.began); since >= time.Duration(n)*time.Minute && since < time.Duration(n+1)*time.Minute {
			count++
		}
	}
	return count
}

func TestShared_FourProcessesInSaturation_UseTheQuotaAndNeverMore(t *testing.T) {
	simulate(t, 4, func(t *testing.T, f *fleet) {
		require.True(t, f.call(t.Context(), f.processes[0]))
		time.Sleep(5 * time.Second) // the burst is full
		f.began = time.Now()
		const minutes = 4
		f.saturate(minutes*time.Minute, 3, Interactive)
		f.calls.Wait()
		for n := range minutes {
			require.GreaterOrEqual(t, f.minute(n), mostOf, "minute %d", n)
		}
		require.LessOrEqual(t, f.most(), quota)
		t.Logf("%d calls in %d minutes: %.2f %% of the quota; %d in the fullest minute",
			len(f.sent), minutes, 100*float64(len(f.sent))/(minutes*quota), f.most())
	})
}

func TestControl_ABucketEach_ExceedsTheQuota(t *testing.T) {
	simulate(t, 0, func(t *testing.T, f *fleet) {
		for _, own := range []string{"a", "b"} {
			f.processes = append(f.processes, f.process(own, slog.New(slog.DiscardHandler)))
		}
		f.saturate(time.Minute, 3, Interactive)
		f.calls.Wait()
		require.Greater(t, f.most(), quota)
	})
}

func TestShared_BulkAlone_UsesTheQuota(t *testing.T) {
	simulate(t, 4, func(t *testing.T, f *fleet) {
		f.saturate(2*time.Minute, 3, Bulk)
		f.calls.Wait()
		require.GreaterOrEqual(t, f.minute(0), mostOf)
		require.GreaterOrEqual(t, f.minute(1), mostOf)
		require.LessOrEqual(t, f.most(), quota)
	})
}

// person calls once a second for two minutes while a fleet audit of the given priority takes what it gets, and says how
// long the longest wait was.
func person(t *testing.T, audit Priority) (longest time.Duration) {
	simulate(t, 4, func(t *testing.T, f *fleet) {
		f.saturate(2*time.Minute, 20, audit)
		for range 100 {
			time.Sleep(time.Second)
			began := time.Now()
			require.True(t, f.call(t.Context(), f.processes[0]))
			longest = max(longest, time.Since(began))
		}
		f.calls.Wait()
		for n := range 2 {
			require.GreaterOrEqual(t, f.minute(n), mostOf, "the audit gets the rest of minute %d", n)
		}
		require.LessOrEqual(t, f.most(), quota)
	})
	return longest
}

func TestShared_FleetAudit_DoesNotKeepAPersonWaiting(t *testing.T) {
	longest := person(t, Bulk)
	require.Less(t, longest, 100*time.Millisecond)
	t.Logf("longest wait %s", longest)
}

func TestControl_WithoutPriority_AFleetAuditKeepsAPersonWaiting(t *testing.T) {
	longest := person(t, Interactive)
	require.Greater(t, longest, 2*time.Second)
	t.Logf("longest wait %s", longest)
}

func TestShared_InteractiveBurst_FindsItsShareWhileBulkSaturates(t *testing.T) {
	simulate(t, 4, func(t *testing.T, f *fleet) {
		f.saturate(20*time.Second, 3, Bulk)
		time.Sleep(10*time.Second + time.Millisecond)
		began, plan := time.Now(), divide(quota)
		for range plan.burst - plan.bulk - 1 {
			require.True(t, f.call(t.Context(), f.processes[1]))
		}
		require.Zero(t, time.Since(began))
		f.calls.Wait()
	})
}

// flushed is the fullest minute of a fleet in saturation whose Redis loses everything three times a minute.
func flushed(t *testing.T, adjust func(*fleet)) (most int) {
	simulate(t, 4, func(_ *testing.T, f *fleet) {
		adjust(f)
		f.saturate(90*time.Second, 2, Interactive)
		for range 4 {
			time.Sleep(20 * time.Second)
			f.server.FlushAll()
		}
		f.calls.Wait()
		most = f.most()
	})
	return most
}

func TestShared_RedisFlushed_GivesNoSecondBurst(t *testing.T) {
	require.LessOrEqual(t, flushed(t, func(*fleet) {}), quota)
}

func TestShared_RedisFlushedAndNobodyRemembers_GivesNoSecondBurst(t *testing.T) {
	require.LessOrEqual(t, flushed(t, func(f *fleet) { f.replace(remembered, forgotten) }), quota)
}

func TestControl_MissingBucketTakenForAFullOne_FlushExceedsTheQuota(t *testing.T) {
	require.Greater(t, flushed(t, func(f *fleet) { f.replace(missingIsEmpty, missingIsFull, remembered, forgotten) }), quota)
}

// promoted is the fullest minute of a fleet in saturation whose Redis goes back to what it knew a while ago, three times
// a minute, as a replica does that takes over without the last writes.
func promoted(t *testing.T, adjust func(*fleet)) (most int) {
	simulate(t, 4, func(t *testing.T, f *fleet) {
		adjust(f)
		f.saturate(90*time.Second, 2, Interactive)
		for range 4 {
			time.Sleep(10 * time.Second)
			key := f.server.Keys()[0]
			old, err := f.server.Get(key)
			require.NoError(t, err)
			time.Sleep(10 * time.Second)
			require.NoError(t, f.server.Set(key, old))
		}
		f.calls.Wait()
		most = f.most()
	})
	return most
}

func TestShared_ReplicaWithoutTheLastWritesTakesOver_GivesNoSecondBurst(t *testing.T) {
	require.LessOrEqual(t, promoted(t, func(*fleet) {}), quota)
}

func TestControl_NobodyRemembers_AReplicaThatTakesOverGivesASecondBurst(t *testing.T) {
	require.Greater(t, promoted(t, func(f *fleet) { f.replace(remembered, forgotten) }), quota)
}

func TestShared_ServerWithAnotherClockTakesOver_HoldsNobodyUp(t *testing.T) {
	for name, behind := range map[string]time.Duration{"behind": 2 * time.Hour, "slightly behind": 10 * time.Minute, "ahead": -2 * time.Hour} {
		for _, kept := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, bucket kept: %t", name, kept), func(t *testing.T) {
				simulate(t, 2, func(t *testing.T, f *fleet) {
					f.saturate(time.Minute, 2, Interactive)
					time.Sleep(20 * time.Second)
					synctest.Wait()
					f.mu.Lock()
					f.behind = behind
					f.mu.Unlock()
					if !kept {
						f.server.FlushAll()
					}
					f.calls.Wait()
					require.GreaterOrEqual(t, f.minute(0), mostOf)
					require.LessOrEqual(t, f.most(), quota)
				})
			})
		}
	}
}

func throttledFor(seconds string) http.Header {
	h := http.Header{}
	h.Set("ratelimit-reset", seconds)
	return h
}

func TestShared_OneIsToldToPause_AllPause(t *testing.T) {
	simulate(t, 4, func(t *testing.T, f *fleet) {
		f.saturate(time.Minute, 3, Interactive)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		f.processes[2].Observe(t.Context(), throttledFor("15"), true)
		told := time.Now()
		f.calls.Wait()
		resumed := f.sent[slices.IndexFunc(f.sent, told.Before)]
		require.GreaterOrEqual(t, resumed.Sub(told), 15*time.Second)
		require.Less(t, resumed.Sub(told), 16*time.Second)
		after := slices.IndexFunc(f.sent, resumed.Add(time.Second).Before) - slices.Index(f.sent, resumed)
		require.LessOrEqual(t, after, quota/60, "they come back at the steady rate, not with a burst")
	})
}

// The control: a pause that is kept to oneself stops nobody else.
func TestControl_PauseNotTold_OthersGoOn(t *testing.T) {
	simulate(t, 4, func(t *testing.T, f *fleet) {
		f.saturate(time.Minute, 3, Interactive)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		told := time.Now()
		f.processes[2].share.Observe(t.Context(), throttledFor("15"), true)
		f.processes[2].pace.resume()
		f.calls.Wait()
		require.Less(t, f.sent[slices.IndexFunc(f.sent, told.Before)].Sub(told), time.Second)
	})
}

func TestShared_Pause_IsSeenByTheOthersAndBoundedToAnHour(t *testing.T) {
	simulate(t, 2, func(t *testing.T, f *fleet) {
		a, b := f.processes[0], f.processes[1]
		require.True(t, f.call(t.Context(), b))
		require.Zero(t, b.Quota().PausedUntil)
		a.Observe(t.Context(), throttledFor("40"), true)
		require.Equal(t, time.Now().Add(40*time.Second), a.Quota().PausedUntil)

		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Error(t, b.Wait(short))
		require.WithinDuration(t, time.Now().Add(40*time.Second), b.Quota().PausedUntil, time.Second)
		require.Zero(t, b.Quota().Remaining)

		a.pace.until = time.Now().Add(10 * time.Hour) // no header does this
		_, _ = a.ask(t.Context(), Interactive, 0)
		a.pace.resume()
		wait, ok := b.ask(t.Context(), Interactive, 1)
		require.True(t, ok)
		require.LessOrEqual(t, wait, time.Hour)
	})
}

func TestShared_RedisFlushedInAPause_ThePauseHolds(t *testing.T) {
	simulate(t, 2, func(t *testing.T, f *fleet) {
		a, b := f.processes[0], f.processes[1]
		a.Observe(t.Context(), throttledFor("40"), true)
		_, ok := b.ask(t.Context(), Interactive, 0) // it sees the pause, which nobody told it
		require.True(t, ok)
		f.server.FlushAll()
		began := time.Now()
		require.True(t, f.call(t.Context(), b))
		require.InDelta(t, 40*time.Second, time.Since(began), float64(time.Second))
	})
}

func TestShared_PlatformLowersItsLimit_FleetFollows(t *testing.T) {
	simulate(t, 4, func(t *testing.T, f *fleet) {
		f.saturate(3*time.Minute, 2, Interactive)
		time.Sleep(30 * time.Second)
		lower := http.Header{}
		lower.Set("ratelimit-limit", "480")
		for _, p := range f.processes {
			p.Observe(t.Context(), lower, false)
		}
		lowered := time.Now()
		f.calls.Wait()
		f.sent = f.sent[slices.IndexFunc(f.sent, lowered.Before):]
		require.LessOrEqual(t, f.most(), 480)
		require.GreaterOrEqual(t, f.minute(1), 480*95/100)
		require.Equal(t, 480, f.processes[0].Quota().Limit)
	})
}

func TestShared_RedisComesAndGoes_QuotaHoldsAndItIsSaidOnce(t *testing.T) {
	simulate(t, 4, func(t *testing.T, f *fleet) {
		f.saturate(3*time.Minute, 2, Interactive)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Equal(t, LimiterShared, f.processes[0].Quota().Limiter)
		f.setAway(true)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Equal(t, LimiterOwnShare, f.processes[0].Quota().Limiter)
		require.Equal(t, 1, strings.Count(f.logs.String(), "cannot reach Redis"))
		f.setAway(false)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Equal(t, LimiterShared, f.processes[0].Quota().Limiter)
		require.Equal(t, 1, strings.Count(f.logs.String(), "reaches Redis again"))
		f.setAway(true)
		time.Sleep(time.Minute)
		f.setAway(false)
		f.calls.Wait()
		require.LessOrEqual(t, f.most(), quota)
		require.GreaterOrEqual(t, f.minute(1), quota*90/100, "shares of four are nearly the whole")
	})
}

func TestShared_NewCredential_HasItsOwnBucketAndNoPause(t *testing.T) {
	simulate(t, 1, func(t *testing.T, f *fleet) {
		p := f.processes[0]
		rotating := &rotation{}
		rotating.set("old")
		p.credentials = rotating
		require.True(t, f.call(t.Context(), p))
		p.Observe(t.Context(), throttledFor("50"), true)
		rotating.set("new")
		began := time.Now()
		require.True(t, f.call(t.Context(), p))
		require.Less(t, time.Since(began), time.Second)
		require.Len(t, f.server.Keys(), 2)
		for _, key := range f.server.Keys() {
			require.NotRegexp(t, "old|new", key, "only a hash of the credential is stored")
		}
	})
}

type rotation struct {
	mu      sync.Mutex
	current config.Secret
}

func (r *rotation) set(value string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = config.NewSecret(value)
}

func (r *rotation) Current() config.Secret {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

func (r *rotation) Refetch(context.Context) error { return nil }

func TestDivide_AnyLimit_LeavesRoomAndWastesLittle(t *testing.T) {
	for limit := 1; limit <= 20_000; limit++ {
		plan := divide(limit)
		rate := float64(time.Minute) / float64(plan.interval)
		worst := plan.burst + int((time.Minute-1)/plan.interval) // in any minute, wherever it begins
		require.LessOrEqual(t, worst, max(limit-limit/100-1, 1), "limit %d", limit)
		require.LessOrEqual(t, plan.bulk, plan.burst)
		if limit >= 100 {
			require.GreaterOrEqual(t, rate, 0.96*float64(limit), "limit %d", limit)
		}
		if limit >= 20 {
			require.Greater(t, plan.burst, plan.bulk, "limit %d", limit)
		}
	}
}
