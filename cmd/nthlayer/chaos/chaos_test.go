package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/pkg/testkit/checker"
)

const (
	timeVariable = "NTHLAYER_CHAOS_TIME"
	seedVariable = "NTHLAYER_CHAOS_SEED"

	longFrom   = 6 * time.Minute  // with so much time the scenarios that take long run too
	randomAt   = 20 * time.Second // faults at random go on for this long, although there is no time
	keepForEnd = 50 * time.Second // of the time, for the end: everybody is told and everything is checked
)

func TestMain(m *testing.M) { testkit.Main(m) }

// TestChaos is the suite. Its parts share one system, so that what one of them broke shows in the next.
func TestChaos(t *testing.T) {
	if os.Getenv(timeVariable) == "" {
		t.Skipf("takes minutes: `make chaos` and `make chaos-short` run it, by setting %s", timeVariable)
	}
	length, err := time.ParseDuration(os.Getenv(timeVariable))
	require.NoError(t, err, timeVariable)
	seed := rand.Uint64N(1_000_000)
	if text := os.Getenv(seedVariable); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, seedVariable)
	}
	t.Logf("seed %d: %s=%d runs the same faults again", seed, seedVariable, seed)
	r := start(t, seed)
	until := time.Now().Add(length - keepForEnd)
	for _, s := range scenarios {
		if s.long && length < longFrom {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			begun := time.Now()
			defer func() { t.Logf("took %s", time.Since(begun).Round(100*time.Millisecond)) }()
			defer r.settle(t) // also when the scenario itself failed
			s.hurt(t, r)
		})
	}
	t.Run("faults at random", func(t *testing.T) {
		defer r.settle(t)
		atRandom(t, r, max(time.Until(until), randomAt))
	})
	t.Run("and in the end all is well", func(t *testing.T) { r.finish(t) })
}

// finish reconciles every team once more, audits what people then change, waits until everybody is told, and has everything
// judged.
func (r *rig) finish(t *testing.T) {
	var teams []string
	for i := range allTeams {
		teams = append(teams, tag(i))
	}
	for team, j := range r.reconcileAll(t, teams...) {
		require.Equal(t, "succeeded", j.status, "%s: %+v", team, j)
	}
	r.awaitQuiet(t)
	r.auditOnceMore(t)
	r.awaitTold(t)
	t.Log(r.summary(r.judge(t, false)))
}

func (r *rig) summary(report checker.Report) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var text strings.Builder
	line := func(name, value string) { fmt.Fprintf(&text, "\n  %-16s %s", name, value) }
	line("seed", strconv.FormatUint(r.seed, 10))
	line("accepted", fmt.Sprintf("%d answers of 202, %d claims, %d comparisons", report.Figures["accepted"], report.Figures["claims"], report.Figures["looks"]))
	for _, name := range []string{
		"runs", "reason", "effects", "findings", "audits", "audits' reads", "audits' work", "audits' findings", "deliveries", "calls", "fault",
	} {
		line(name, report.Group(name))
	}
	line("messages", strconv.Itoa(report.Figures["messages"]))
	line("hurt", strings.Join(sorted(r.hurt), ", "))
	line("exceptions", strings.Join(sorted(report.Exceptions), ", "))
	line("violations", strconv.Itoa(len(r.reported)))
	return text.String()
}

// atRandom does one thing after the other to a system at work. The seed decides what and for how long; what it meets there
// differs from time to time, as it does in life.
func atRandom(t *testing.T, r *rig, d time.Duration) {
	ctx := t.Context()
	random := rand.New(rand.NewPCG(r.seed, 1<<32))
	any := func(names []string) string { return names[random.IntN(len(names))] }
	some := func(from, to time.Duration) time.Duration { return from + time.Duration(random.Int64N(int64(to-from))) }
	keys := func() (platform, queue []string) {
		for k := range platformFaults {
			platform = append(platform, k)
		}
		for k := range queueFaults {
			queue = append(queue, k)
		}
		slices.Sort(platform)
		slices.Sort(queue)
		return platform, queue
	}
	platform, queue := keys()
	freeze := func(name string, d time.Duration) { r.freeze(ctx, name, d) }
	deeds := []struct {
		weight int
		do     func()
	}{
		{5, func() { r.kill(t, any(workers)) }},
		{3, func() { r.kill(t, any(gateways)) }},
		{2, func() { r.kill(t, any(notifiers)) }},
		{3, func() { r.kill(t, scheduler) }},
		{2, func() { r.terminate(t, any(slices.Concat(workers, gateways, notifiers, []string{scheduler}))) }},
		{4, func() { freeze(any(workers), some(lease/2, 2*lease)) }},
		{1, func() { freeze(any(slices.Concat(gateways, notifiers)), some(lease/2, lease)) }},
		{2, func() { freeze(scheduler, some(lease/2, 2*lease)) }},
		{1, func() { r.restartDatabase(t, false, some(0+1, time.Second)) }},
		{2, func() { r.restartDatabase(t, true, some(0+1, time.Second)) }},
		{1, func() { r.note("Redis flushed"); r.redis.flush() }},
		{1, func() { r.note("Redis down"); require.NoError(t, r.redis.down(ctx, some(time.Second, 3*time.Second))) }},
		{2, func() { r.loseQueue(t, some(1, time.Second)) }},
		{6, func() { r.hurtQueue(any(queue), 1+random.IntN(8)) }},
		{12, func() {
			r.hurtPlatform(t, r.pagerduty.Control(), any([]string{"* *", "GET *", "PUT *", "DELETE *", "PUT /teams/*/users/*", "DELETE /teams/*/users/*", "POST /teams"}),
				any(platform), 1+random.IntN(4))
		}},
		{5, func() { r.hurtPlatform(t, r.cortex.Control(), "GET *", any(platform), 1+random.IntN(4)) }},
		{3, func() {
			f := platformFaults[any(platform)]
			f.Match, f.Times = "POST /api/chat.postMessage", 1+random.IntN(2)
			require.NoError(t, r.slack.Control().Inject(f))
		}},
		{3, func() { require.NoError(t, r.failOutcomes(ctx, 1+random.IntN(3), "")) }},
		{2, func() { r.note("stale reads"); r.stale(time.Second) }},
		{2, func() { r.stale(0) }},
	}
	total := 0
	for _, deed := range deeds {
		total += deed.weight
	}
	r.load.work()
	for until := time.Now().Add(d); time.Now().Before(until); {
		n := random.IntN(total)
		for _, deed := range deeds {
			if n -= deed.weight; n < 0 {
				deed.do()
				break
			}
		}
		pause(ctx, some(100*time.Millisecond, 1500*time.Millisecond))
	}
}
