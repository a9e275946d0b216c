package client

import (
	"context"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// ListTeams gives the teams of all pages. An error is the last thing it gives; so do the other lists.
func (c *Client) ListTeams(ctx context.Context, request *nthlayerv1.ListTeamsRequest) iter.Seq2[*nthlayerv1.Team, error] {
	return pages(ctx, request, c.Teams.ListTeams, (*nthlayerv1.ListTeamsResponse).GetTeams,
		func(r *nthlayerv1.ListTeamsRequest, token string) { r.PageToken = token })
}

// ListRuns gives the runs of all pages, newest first.
func (c *Client) ListRuns(ctx context.Context, request *nthlayerv1.ListRunsRequest) iter.Seq2[*nthlayerv1.Run, error] {
	return pages(ctx, request, c.Runs.ListRuns, (*nthlayerv1.ListRunsResponse).GetRuns,
		func(r *nthlayerv1.ListRunsRequest, token string) { r.PageToken = token })
}

// ListFindings gives the trail from its beginning.
func (c *Client) ListFindings(ctx context.Context, request *nthlayerv1.ListFindingsRequest) iter.Seq2[*nthlayerv1.Finding, error] {
	return pages(ctx, request, c.Trail.ListFindings, (*nthlayerv1.ListFindingsResponse).GetFindings,
		func(r *nthlayerv1.ListFindingsRequest, token string) { r.PageToken = token })
}

// ListDeliveries gives the deliveries of all pages, newest first.
func (c *Client) ListDeliveries(ctx context.Context, request *nthlayerv1.ListDeliveriesRequest) iter.Seq2[*nthlayerv1.Delivery, error] {
	return pages(ctx, request, c.Deliveries.ListDeliveries, (*nthlayerv1.ListDeliveriesResponse).GetDeliveries,
		func(r *nthlayerv1.ListDeliveriesRequest, token string) { r.PageToken = token })
}

// ListDeadLetters gives the dead letters of all pages, newest first.
func (c *Client) ListDeadLetters(ctx context.Context, request *nthlayerv1.ListDeadLettersRequest) iter.Seq2[*nthlayerv1.DeadLetter, error] {
	return pages(ctx, request, c.DeadLetters.ListDeadLetters, (*nthlayerv1.ListDeadLettersResponse).GetDeadLetters,
		func(r *nthlayerv1.ListDeadLettersRequest, token string) { r.PageToken = token })
}

// ListAudits gives the audits of all pages, newest first.
func (c *Client) ListAudits(ctx context.Context, request *nthlayerv1.ListAuditsRequest) iter.Seq2[*nthlayerv1.Audit, error] {
	return pages(ctx, request, c.Audits.ListAudits, (*nthlayerv1.ListAuditsResponse).GetAudits,
		func(r *nthlayerv1.ListAuditsRequest, token string) { r.PageToken = token })
}

// ListAuditFindings gives what audits found, of all pages, newest first.
func (c *Client) ListAuditFindings(ctx context.Context, request *nthlayerv1.ListAuditFindingsRequest) iter.Seq2[*nthlayerv1.AuditFinding, error] {
	return pages(ctx, request, c.Audits.ListAuditFindings, (*nthlayerv1.ListAuditFindingsResponse).GetFindings,
		func(r *nthlayerv1.ListAuditFindingsRequest, token string) { r.PageToken = token })
}

// ListSchedules gives the schedules of all pages.
func (c *Client) ListSchedules(ctx context.Context, request *nthlayerv1.ListSchedulesRequest) iter.Seq2[*nthlayerv1.Schedule, error] {
	return pages(ctx, request, c.Schedules.ListSchedules, (*nthlayerv1.ListSchedulesResponse).GetSchedules,
		func(r *nthlayerv1.ListSchedulesRequest, token string) { r.PageToken = token })
}

func pages[Request proto.Message, Response interface{ GetNextPageToken() string }, Item any](
	ctx context.Context,
	request Request,
	list func(context.Context, Request, ...grpc.CallOption) (Response, error),
	items func(Response) []Item,
	turn func(Request, string),
) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		request := proto.CloneOf(request) // the caller's stays as it is
		for {
			response, err := list(ctx, request)
			if err != nil {
				var none Item
				yield(none, err)
				return
			}
			for _, item := range items(response) {
				if !yield(item, nil) {
					return
				}
			}
			if response.GetNextPageToken() == "" {
				return
			}
			turn(request, response.GetNextPageToken())
		}
	}
}
