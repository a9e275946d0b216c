package e2e

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/cortex"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const (
	benchLatency = 60 * time.Millisecond
	auditParts   = 4 // NTHLAYER_AUDIT_CONCURRENCY: parts that a worker does at a time
)

// figure is one line of the table.
type figure struct{ what, took, bound, of, calls, perTeam, throttled, note string }

var table struct {
	sync.Mutex
	lines []figure
}

func report(f figure) {
	table.Lock()
	defer table.Unlock()
	table.lines = append(table.lines, f)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\naudit\ttook\tbound\ttook/bound\tPagerDuty calls (bound)\ta team\t429\t")
	for _, l := range table.lines {
		fmt.Fprintln(w, strings.Join([]string{l.what, l.took, l.bound, l.of, l.calls, l.perTeam, l.throttled, l.note}, "\t"))
	}
	_ = w.Flush()
}

// BenchmarkAudit measures audits of a company-sized fleet against what the platforms' quotas allow, and against their
// latency where there are no quotas. It prints a table with the bound beside each figure: `make bench-audit`.
func BenchmarkAudit(b *testing.B) {
	fleet := fleetOf(b)
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("quota/workers=%d", workers), func(b *testing.B) { benchFull(b, fleet, workers, true) })
	}
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("lifted/workers=%d", workers), func(b *testing.B) { benchFull(b, fleet, workers, false) })
	}
	b.Run("incremental", func(b *testing.B) { benchIncrement(b, fleet) })
	// Twice, to show that memory does not grow with the fleet. PagerDuty lists neither's users whole.
	for _, teams := range []int{4_000, 10_000} {
		b.Run(fmt.Sprintf("large/teams=%d", teams), func(b *testing.B) { benchLarge(b, teams, 6*teams) })
	}
}

// fleetOf is the company's organisation, or one of its size where that does not lie beside the repository.
func fleetOf(b *testing.B) *org.Org {
	o := companyFile(b)
	if o == nil {
		b.Log("shared/data/kubernetes-org.json is not beside the repository: a made-up fleet of its size stands for it")
		return org.Generate(org.GenerateOptions{Teams: 765, People: 1400, Seed: 1, MembersMin: 1, MembersMax: 20})
	}
	return o
}

// begin starts a system of its own, so that every figure begins with a whole quota.
func begin(b *testing.B, o *org.Org, workers int, quota bool) *rig {
	env := []string{"NTHLAYER_AUDIT_CONCURRENCY=" + strconv.Itoa(auditParts), "NTHLAYER_CATALOGUE_EVERY=1h", "NTHLAYER_AUDIT_SETTLE=0s", "NTHLAYER_LEASE=30s"}
	if quota {
		env = append(env, "NTHLAYER_CORTEX_PER_MINUTE="+strconv.Itoa(cortex.PerMinute), "NTHLAYER_PAGERDUTY_PER_MINUTE="+strconv.Itoa(pagerduty.PerMinute))
	}
	r := start(b, o, workers, env...)
	limits := func(perMinuteOf int) control.Limits {
		if !quota {
			perMinuteOf = 0 // lifted
		}
		return control.Limits{PerMinute: perMinuteOf, LatencyMS: int(benchLatency.Milliseconds())}
	}
	r.cortex.Control().SetLimits(limits(cortex.PerMinute))
	r.pagerduty.Control().SetLimits(limits(pagerduty.PerMinute))
	return r
}

// timed runs an audit and gives what it took from the request to the last word.
func (r *rig) timed(request *nthlayerv1.StartAuditRequest) (*nthlayerv1.Audit, time.Duration) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 15*time.Minute)
	defer cancel()
	r.pagerduty.Control().ClearCalls()
	begun := time.Now()
	id, err := r.client.StartAudit(ctx, "", request)
	require.NoError(r.t, err)
	a := r.auditEnd(ctx, id)
	return a, time.Since(begun)
}

// throttled counts refusals for want of quota.
func (r *rig) throttled() int {
	n := 0
	for _, c := range r.pagerduty.Control().Calls().Calls {
		if c.Status == 429 {
			n++
		}
	}
	return n
}

// pages are the calls for PagerDuty's lists, and for people whom no list has; members those for the members of a team.
func (r *rig) pages() (pages, members, records int) {
	calls := r.pagerduty.Control().Calls()
	members, records = calls.Counts["GET /teams/{id}/members"], calls.Counts["GET /audit/records"]
	return calls.Total - members - records, members, records
}

func benchFull(b *testing.B, fleet *org.Org, workers int, quota bool) {
	r := begin(b, fleet, workers, quota)
	for b.Loop() {
		a, took := r.timed(&nthlayerv1.StartAuditRequest{Mode: "full"})
		require.Equal(b, "succeeded", a.GetStatus(), a.GetSummary())
		pages, members, records := r.pages()
		total := pages + members + records
		// What the quota allows; without one, what the latency allows: the lists come one page after the other, the teams'
		// members as many at a time as there are workers with parts.
		bound, name := time.Duration(float64(total)*float64(time.Minute)/pagerduty.PerMinute), "quota"
		if !quota {
			bound = time.Duration(float64(pages+records)*float64(benchLatency)) +
				time.Duration(math.Ceil(float64(members)/float64(workers*auditParts))*float64(benchLatency))
			name = "latency"
		}
		perTeam := float64(members) / float64(a.GetProgress().GetTeamsTotal())
		b.ReportMetric(took.Seconds()/bound.Seconds(), "took/bound")
		report(figure{
			fmt.Sprintf("full, %d teams, %d workers, %s", a.GetProgress().GetTeamsTotal(), workers, name),
			took.Round(10 * time.Millisecond).String(), bound.Round(10 * time.Millisecond).String(), fmt.Sprintf("%.3f", took.Seconds()/bound.Seconds()),
			fmt.Sprintf("%d = %d lists and look-ups + %d records + %d members", total, pages, records, members),
			fmt.Sprintf("%.3f", perTeam), strconv.Itoa(r.throttled()), "",
		})
		require.LessOrEqual(b, perTeam, 1.1)
		require.Zero(b, r.throttled())
	}
}

func benchIncrement(b *testing.B, fleet *org.Org) {
	r := begin(b, fleet, 1, false)
	full, _ := r.timed(&nthlayerv1.StartAuditRequest{})
	require.Equal(b, "full", full.GetRead())
	changed := 0
	for b.Loop() {
		for _, changes := range []int{0, 3} { // what changed in the last seconds before an audit is read once more by the next
			for range changes {
				r.changeOne(changed)
				changed++
			}
			a, took := r.timed(&nthlayerv1.StartAuditRequest{})
			require.Equal(b, "incremental", a.GetRead(), a.GetReadReason())
			pages, members, records := r.pages()
			bound := changes + 1 + pages // ⌈records/100⌉ is one page, also of none
			total := pages + members + records
			report(figure{
				fmt.Sprintf("incremental, %d changes", changes), took.Round(10 * time.Millisecond).String(), "", "",
				fmt.Sprintf("%d (%d) = %d lists and look-ups + %d records + %d members", total, bound, pages, records, members),
				fmt.Sprintf("%.3f", float64(members)/float64(a.GetProgress().GetTeamsTotal())), strconv.Itoa(r.throttled()),
				fmt.Sprintf("%d new, %d resolved", a.GetCounts().GetNew(), a.GetCounts().GetResolved()),
			})
			require.LessOrEqual(b, total, bound)
		}
	}
}

// changeOne changes one membership by hand: the n-th team of at least two members loses its first.
func (r *rig) changeOne(n int) {
	var state struct {
		Teams []struct {
			ID      string
			Members []struct {
				UserID string `json:"user_id"`
			}
		}
	}
	r.state(r.pagerduty, &state)
	for _, t := range state.Teams {
		if len(t.Members) < 2 {
			continue
		}
		if n == 0 {
			r.byHand("DELETE", "/teams/"+t.ID+"/users/"+t.Members[0].UserID, "")
			return
		}
		n--
	}
	r.t.Fatal("no such team")
}

// benchLarge audits a fleet that is larger than PagerDuty's lists reach.
func benchLarge(b *testing.B, teams, people int) {
	r := begin(b, org.Generate(org.GenerateOptions{
		Teams: teams - 50, People: people, Seed: 4, MembersMin: 3, MembersMax: 20, Drifted: 400, Policies: 0.3, Orphans: 50,
	}), 2, false)
	for _, c := range []*control.Control{r.cortex.Control(), r.pagerduty.Control()} {
		c.SetLimits(control.Limits{})
	}
	for b.Loop() {
		a, took := r.timed(&nthlayerv1.StartAuditRequest{Mode: "full"})
		require.Equal(b, "succeeded", a.GetStatus(), a.GetSummary())
		pages, members, records := r.pages()
		quota := time.Duration(float64(pages+members+records) * float64(time.Minute) / pagerduty.PerMinute)
		report(figure{
			fmt.Sprintf("full, %d teams, %d people, no limits", a.GetProgress().GetTeamsTotal(), people), took.Round(10 * time.Millisecond).String(),
			quota.Round(time.Second).String() + " (quota)", "", fmt.Sprintf("%d = %d lists and look-ups + %d records + %d members", pages+members+records, pages, records, members),
			fmt.Sprintf("%.3f", float64(members)/float64(a.GetProgress().GetTeamsTotal())), strconv.Itoa(r.throttled()),
			fmt.Sprintf("handed out in %s; findings: first page in %s; peak memory: %s", r.fanOut(a.GetAuditId()), r.firstPage(), r.peaks()),
		})
	}
}

// fanOut is how long it took from the end of the snapshot until the last part had been announced.
func (r *rig) fanOut(auditID string) time.Duration {
	conn, err := pgx.Connect(r.t.Context(), r.info.Postgres)
	require.NoError(r.t, err)
	defer conn.Close(context.WithoutCancel(r.t.Context()))
	var took time.Duration
	require.NoError(r.t, conn.QueryRow(r.t.Context(), `SELECT
		(SELECT max(announced_at) FROM audit_jobs WHERE audit_id = $1 AND job_no > 0) - (SELECT done_at FROM audit_jobs WHERE audit_id = $1 AND job_no = 0)`,
		auditID).Scan(&took))
	return took.Round(time.Millisecond)
}

// peaks is the most memory that each service has used so far (VmHWM of its process).
func (r *rig) peaks() string {
	var parts []string
	for name, pid := range r.system.Info().PIDs {
		if file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
			lines := bufio.NewScanner(file)
			for lines.Scan() {
				if text, found := strings.CutPrefix(lines.Text(), "VmHWM:"); found {
					kb, _ := strconv.Atoi(strings.Fields(text)[0])
					parts = append(parts, fmt.Sprintf("%s %d MB", name, kb/1024))
				}
			}
			_ = file.Close()
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// firstPage is how long a page of open findings takes over the API.
func (r *rig) firstPage() time.Duration {
	begun := time.Now()
	_, err := r.client.Audits.ListAuditFindings(r.t.Context(), &nthlayerv1.ListAuditFindingsRequest{Status: "open", PageSize: 100})
	require.NoError(r.t, err)
	return time.Since(begun).Round(100 * time.Microsecond)
}
