package handler

import (
	"context"

	"github.com/nthlayer/nthlayer/pkg/fault"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Deliveries serves DeliveryService by asking the notifier.
type Deliveries struct {
	nthlayerv1.UnimplementedDeliveryServiceServer
	Notifier internalv1.NotifierServiceClient
}

// ListDeliveries lists what was told to whom.
func (d *Deliveries) ListDeliveries(ctx context.Context, request *nthlayerv1.ListDeliveriesRequest) (*nthlayerv1.ListDeliveriesResponse, error) {
	response, err := d.Notifier.ListDeliveries(ctx, request)
	return response, from("the notifier", err)
}

// ResendDelivery tells it again.
func (d *Deliveries) ResendDelivery(ctx context.Context, request *nthlayerv1.ResendDeliveryRequest) (*nthlayerv1.Delivery, error) {
	delivery, err := d.Notifier.ResendDelivery(ctx, request)
	return delivery, from("the notifier", err)
}

// from names the service that could not be reached. What a service that was reached said stays as it is.
func from(service string, err error) error {
	if fault.ReasonOf(err) != "UNAVAILABLE" {
		return err
	}
	return fault.New(fault.Unavailable, service+" could not be reached; try again", err).WithReason("SERVICE_UNAVAILABLE")
}
