package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nthlayer/nthlayer/pkg/store/internal/db"
)

// UpstreamReport is how one process finds one platform.
type UpstreamReport struct {
	Process    string
	Platform   string
	Report     json.RawMessage
	ReportedAt time.Time
}

// silentFor is how long a process may be silent before its reports are not shown any more.
const silentFor = 30 * time.Second

// ReportUpstreams replaces what a process said of the platforms. One round trip.
func (s *Store) ReportUpstreams(ctx context.Context, process string, reports map[string][]byte) error {
	p := db.ReportUpstreamsParams{Process: process, ForgetAfter: 2 * silentFor}
	for platform, report := range reports {
		p.Platforms, p.Reports = append(p.Platforms, platform), append(p.Reports, report)
	}
	return wrap(s.q.ReportUpstreams(ctx, p), "report on platforms")
}

// ForgetUpstreams takes back what a process said, because it ends.
func (s *Store) ForgetUpstreams(ctx context.Context, process string) error {
	return wrap(s.q.ForgetUpstreams(ctx, process), "take back reports on platforms")
}

// Upstreams lists what the processes that live say, by platform and process.
func (s *Store) Upstreams(ctx context.Context) ([]UpstreamReport, error) {
	rows, err := s.q.ListUpstreams(ctx, silentFor)
	if err != nil {
		return nil, wrap(err, "list reports on platforms")
	}
	reports := make([]UpstreamReport, len(rows))
	for i, row := range rows {
		reports[i] = UpstreamReport(row)
	}
	return reports, nil
}
