package upstream

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"
)

// Reports is where a process says how it finds the platforms, for people who ask another process.
type Reports interface {
	ReportUpstreams(ctx context.Context, process string, reports map[string][]byte) error
	ForgetUpstreams(ctx context.Context, process string) error
}

// Reporter tells how things stand between this process and the platforms, as JSON of Status.
type Reporter struct {
	Process string
	Ways    []*Transport
	To      Reports
	Log     *slog.Logger
	Every   time.Duration // 5 s
}

const (
	reportEvery  = 5 * time.Second
	reportWithin = 2 * time.Second
)

// Run reports until ctx ends, and then takes back what it said. A report that cannot be made is not missed: the next one
// says more.
func (r *Reporter) Run(ctx context.Context) error {
	if r.Every <= 0 {
		r.Every = reportEvery
	}
	tick := time.NewTicker(r.Every)
	defer tick.Stop()
	for {
		if err := r.report(ctx); err != nil && ctx.Err() == nil {
			r.Log.DebugContext(ctx, "state of the platforms not reported", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportWithin)
			defer cancel()
			_ = r.To.ForgetUpstreams(last, r.Process) // what is not taken back is forgotten soon
			return nil
		}
	}
}

func (r *Reporter) report(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reportWithin)
	defer cancel()
	reports := make(map[string][]byte, len(r.Ways))
	for _, way := range r.Ways {
		status := way.Status()
		content, err := json.Marshal(status)
		if err != nil {
			return err
		}
		reports[status.Platform] = content
	}
	return r.To.ReportUpstreams(ctx, r.Process, reports)
}
