package handler

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/fault"
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
	FindingRange(ctx context.Context, from, to *time.Time) (first, last int64, err error)
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
	response := &nthlayerv1.ListFindingsResponse{Head: showHead(head), Partial: filter.Teams != nil}
	if none, err := t.within(ctx, request, &filter); none || err != nil {
		return response, err
	}
	size := pagetoken.Size(request)
	filter.Limit = size + 1
	entries, anchor, err := t.page(ctx, filter)
	if err != nil {
		return nil, err
	}
	if anchor.Seq > 0 {
		response.Anchor = showHead(anchor)
	}
	if len(entries) > size {
		entries = entries[:size]
		response.NextPageToken = pagetoken.Next(request, fmt.Sprintf("%d-%d", entries[size-1].Seq, filter.Last))
	}
	for _, entry := range entries {
		response.Findings = append(response.Findings, api.Finding(entry))
	}
	return response, nil
}

// within keeps the filter to the period that is asked for, and reports whether there is nothing in it. Tokens carry where
// the period ends: what is recorded while somebody reads does not move it.
func (t *Trail) within(ctx context.Context, request *nthlayerv1.ListFindingsRequest, filter *store.FindingFilter) (none bool, err error) {
	from, to := stamp(request.GetRecordedFrom()), stamp(request.GetRecordedTo())
	if from == nil && to == nil || filter.After > 0 {
		return false, nil
	}
	if from != nil && to != nil && !from.Before(*to) {
		return false, fault.Field("recorded_to", "must be later than recorded_from")
	}
	first, last, err := t.Store.FindingRange(ctx, from, to)
	filter.After, filter.Last = first-1, last
	return last == 0, err
}

// page reads a page and where the trail begins. What lies before is moved away seldom, but then a page could belong to one
// beginning and the anchor to another.
func (t *Trail) page(ctx context.Context, filter store.FindingFilter) (entries []trail.Entry, anchor trail.Head, err error) {
	if anchor, err = t.Store.TrailAnchor(ctx); err != nil {
		return nil, anchor, err
	}
	for {
		if entries, err = t.Store.Findings(ctx, filter); err != nil {
			return nil, anchor, err
		}
		before := anchor
		if anchor, err = t.Store.TrailAnchor(ctx); err != nil || anchor == before {
			return entries, anchor, err
		}
	}
}

// ListTrailArchives lists what was moved out of the database.
func (t *Trail) ListTrailArchives(ctx context.Context, _ *nthlayerv1.ListTrailArchivesRequest) (*nthlayerv1.ListTrailArchivesResponse, error) {
	archives, err := t.Store.TrailArchives(ctx)
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListTrailArchivesResponse{}
	for _, a := range archives {
		response.Archives = append(response.Archives, &nthlayerv1.TrailArchive{
			FirstSeq: a.First, LastSeq: a.Last, AnchorHash: a.AnchorHash, LastHash: a.LastHash, Location: a.Location, Sha256: a.SHA256,
			RecordedFrom: timestamppb.New(a.RecordedFrom), RecordedTo: timestamppb.New(a.RecordedTo), ArchivedAt: timestamppb.New(a.ArchivedAt),
		})
	}
	return response, nil
}

func showHead(h trail.Head) *nthlayerv1.TrailHead {
	return &nthlayerv1.TrailHead{Seq: h.Seq, Hash: h.Hash}
}

func stamp(at *timestamppb.Timestamp) *time.Time {
	if at == nil {
		return nil
	}
	t := at.AsTime()
	return &t
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
	after, last, _ := strings.Cut(cursor, "-")
	filter.After, err = strconv.ParseInt(after, 10, 64)
	if err == nil && last != "" { // a token of the version before has none
		filter.Last, err = strconv.ParseInt(last, 10, 64)
	}
	if err != nil {
		return filter, pagetoken.Bad()
	}
	return filter, nil
}
