package handler

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

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
	TrailAnchor(context.Context) (trail.Head, error)
	TrailArchives(context.Context) ([]store.TrailArchive, error)
	Period(ctx context.Context, from, to *time.Time) (first, last int64, empty bool, err error)
}

// Trail serves TrailService.
type Trail struct {
	nthlayerv1.UnimplementedTrailServiceServer
	Store TrailStore
}

// ListFindings lists the trail from its beginning, or from where its archives end. The head is read before the page, so that
// whoever has read up to the head of the last page has read everything it promises.
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
	response := &nthlayerv1.ListFindingsResponse{Head: showHead(head)}
	anchor, err := t.Store.TrailAnchor(ctx)
	if err != nil {
		return nil, err
	}
	if anchor.Seq > 0 {
		response.Anchor = showHead(anchor)
	}
	if request.GetPageToken() == "" {
		if anchor.Seq > 0 {
			if response.Archives, err = t.archives(ctx); err != nil {
				return nil, err
			}
		}
		empty, err := t.period(ctx, request, &filter)
		if empty || err != nil {
			return response, err
		}
	}
	size := pagetoken.Size(request)
	filter.Limit = size + 1
	entries, err := t.Store.Findings(ctx, filter)
	if err != nil {
		return nil, err
	}
	if len(entries) > size {
		entries = entries[:size]
		response.NextPageToken = pagetoken.Next(request, fmt.Sprintf("%d %d", entries[size-1].Seq, filter.UpTo))
	}
	for _, entry := range entries {
		response.Findings = append(response.Findings, api.Finding(entry))
	}
	return response, nil
}

// period bounds a list by the time that was asked for. It is found once: the pages that follow have it in their token.
func (t *Trail) period(ctx context.Context, request *nthlayerv1.ListFindingsRequest, filter *store.FindingFilter) (empty bool, err error) {
	var from, to *time.Time
	if request.GetRecordedFrom() != nil {
		at := request.GetRecordedFrom().AsTime()
		from = &at
	}
	if request.GetRecordedTo() != nil {
		at := request.GetRecordedTo().AsTime()
		to = &at
	}
	if from == nil && to == nil {
		return false, nil
	}
	first, last, empty, err := t.Store.Period(ctx, from, to)
	if from != nil {
		filter.After = first - 1
	}
	filter.UpTo = last
	return empty, err
}

func (t *Trail) archives(ctx context.Context) (shown []*nthlayerv1.TrailArchive, err error) {
	archives, err := t.Store.TrailArchives(ctx)
	for _, a := range archives {
		shown = append(shown, &nthlayerv1.TrailArchive{
			Anchor: &nthlayerv1.TrailHead{Seq: a.First - 1, Hash: a.Anchor}, Last: showHead(a.Last), Entries: a.Last.Seq - a.First + 1,
			Location: a.Location, Sha256: a.SHA256, ArchivedAt: timestamppb.New(a.ArchivedAt),
		})
	}
	return shown, err
}

func showHead(h trail.Head) *nthlayerv1.TrailHead {
	return &nthlayerv1.TrailHead{Seq: h.Seq, Hash: h.Hash}
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
	if _, err := fmt.Sscanf(cursor, "%d %d", &filter.After, &filter.UpTo); err != nil {
		return filter, pagetoken.Bad()
	}
	return filter, nil
}
