package handler

import (
	"context"
	"strconv"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/rpc"
	"github.com/nthlayer/nthlayer/pkg/rpc/pagetoken"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// TrailStore is what Trail needs of the store.
type TrailStore interface {
	Findings(context.Context, store.FindingFilter) ([]trail.Entry, error)
	TrailHead(context.Context) (trail.Head, error)
}

// Trail serves TrailService.
type Trail struct {
	nthlayerv1.UnimplementedTrailServiceServer
	Store TrailStore
}

// ListFindings lists the trail from its beginning. The head is read before the page, so that whoever has read up to the
// head of the last page has read everything it promises.
func (t *Trail) ListFindings(ctx context.Context, request *nthlayerv1.ListFindingsRequest) (*nthlayerv1.ListFindingsResponse, error) {
	filter, err := findingFilter(request)
	if err != nil {
		return nil, err
	}
	filter.Teams = rpc.VisibleTeams(ctx)
	head, err := t.Store.TrailHead(ctx)
	if err != nil {
		return nil, err
	}
	size := pagetoken.Size(request)
	filter.Limit = size + 1
	entries, err := t.Store.Findings(ctx, filter)
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListFindingsResponse{Head: &nthlayerv1.TrailHead{Seq: head.Seq, Hash: head.Hash}}
	if len(entries) > size {
		entries = entries[:size]
		response.NextPageToken = pagetoken.Next(request, strconv.FormatInt(entries[size-1].Seq, 10))
	}
	for _, entry := range entries {
		response.Findings = append(response.Findings, api.Finding(entry))
	}
	return response, nil
}

func findingFilter(request *nthlayerv1.ListFindingsRequest) (filter store.FindingFilter, err error) {
	filter = store.FindingFilter{TeamID: request.GetTeamId(), Outcome: request.GetOutcome()}
	if request.GetJobId() != "" {
		if filter.JobID, err = parseID("job_id", request.GetJobId()); err != nil {
			return filter, err
		}
	}
	cursor, err := pagetoken.Cursor(request)
	if err != nil || cursor == "" {
		return filter, err
	}
	if filter.After, err = strconv.ParseInt(cursor, 10, 64); err != nil {
		return filter, pagetoken.Bad()
	}
	return filter, nil
}
