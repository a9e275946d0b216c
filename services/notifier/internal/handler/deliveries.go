// Package handler shows the gateway what was told to whom, and tells it again; and who somebody on Slack is.
package handler

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/pagetoken"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/telemetry"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Deliveries serves nthlayer.internal.v1.NotifierService.
type Deliveries struct {
	internalv1.UnimplementedNotifierServiceServer
	Store *store.Store
	Slack Slack
	Poke  func() // tells the relay that the outbox holds something new
}

// ListDeliveries lists deliveries, newest first.
func (d *Deliveries) ListDeliveries(ctx context.Context, request *nthlayerv1.ListDeliveriesRequest) (*nthlayerv1.ListDeliveriesResponse, error) {
	after, err := place(request)
	if err != nil {
		return nil, err
	}
	jobID := uuid.Nil
	if asked := request.GetJobId(); asked != "" {
		if jobID, err = uuid.Parse(asked); err != nil {
			return nil, fault.Field("job_id", "must be a UUID, as given when the run was accepted")
		}
	}
	size := pagetoken.Size(request)
	// One more than asked for tells whether there is another page.
	found, err := d.Store.Deliveries(ctx, store.DeliveryFilter{After: after, JobID: jobID, Status: request.GetStatus(), Limit: size + 1})
	if err != nil {
		return nil, err
	}
	response := &nthlayerv1.ListDeliveriesResponse{}
	if len(found) > size {
		found = found[:size]
		response.NextPageToken = pagetoken.Next(request, cursor(found[size-1]))
	}
	for _, delivery := range found {
		response.Deliveries = append(response.Deliveries, show(delivery))
	}
	return response, nil
}

// ResendDelivery sends a delivery that failed once more. One that is on its way already stays as it is.
func (d *Deliveries) ResendDelivery(ctx context.Context, request *nthlayerv1.ResendDeliveryRequest) (*nthlayerv1.Delivery, error) {
	delivery, err := d.Store.Resend(ctx, request.GetDeliveryKey(), telemetry.Inject(ctx))
	if err != nil {
		return nil, err
	}
	d.Poke()
	return show(delivery), nil
}

// cursor is a delivery's place in the list, in microseconds as Postgres keeps time.
func cursor(d store.DeliveryState) string {
	return strconv.FormatInt(d.CreatedAt.UnixMicro(), 10) + " " + d.Key
}

// place reads the cursor in a request's page token; the zero place is the beginning.
func place(request pagetoken.List) (store.DeliveryCursor, error) {
	text, err := pagetoken.Cursor(request)
	if err != nil || text == "" {
		return store.DeliveryCursor{}, err
	}
	micros, key, ok := strings.Cut(text, " ")
	at, err := strconv.ParseInt(micros, 10, 64)
	if !ok || err != nil || key == "" {
		return store.DeliveryCursor{}, pagetoken.Bad()
	}
	return store.DeliveryCursor{CreatedAt: time.UnixMicro(at), Key: key}, nil
}

func show(d store.DeliveryState) *nthlayerv1.Delivery {
	return &nthlayerv1.Delivery{
		DeliveryKey: d.Key, JobId: job(d.JobID), Medium: d.Medium, Channel: cmp.Or(d.PostedTo, d.Channel),
		Status: d.Status, Ts: d.TS, Attempts: int32(d.Attempts), LastError: d.LastError,
		CreatedAt: timestamppb.New(d.CreatedAt), DeliveredAt: api.Time(d.DeliveredAt),
	}
}

// job is nothing where it is not a run that is told of.
func job(id uuid.UUID) string {
	if id == uuid.Nil {
		return ""
	}
	return id.String()
}
