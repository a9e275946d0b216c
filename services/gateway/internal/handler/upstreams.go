package handler

import (
	"context"
	"encoding/json"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/upstream"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// UpstreamStore is what Upstreams needs of the store.
type UpstreamStore interface {
	Upstreams(context.Context) ([]store.UpstreamReport, error)
}

// Upstreams serves UpstreamService from what the processes report.
type Upstreams struct {
	nthlayerv1.UnimplementedUpstreamServiceServer
	Store UpstreamStore
}

// ListUpstreams lists platforms and processes.
func (u *Upstreams) ListUpstreams(ctx context.Context, _ *nthlayerv1.ListUpstreamsRequest) (*nthlayerv1.ListUpstreamsResponse, error) {
	reports, err := u.Store.Upstreams(ctx)
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListUpstreamsResponse{}
	for _, r := range reports {
		var status upstream.Status
		if err := json.Unmarshal(r.Report, &status); err != nil {
			return nil, fault.New(fault.Internal, "a report on a platform cannot be read", err)
		}
		response.Upstreams = append(response.Upstreams, showUpstream(r, status))
	}
	return response, nil
}
