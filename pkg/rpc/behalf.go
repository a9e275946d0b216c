package rpc

import (
	"context"

	"google.golang.org/grpc/metadata"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// behalfKey is the metadata key of the principal for whom one service asks another. It is binary: a subject may hold any
// character. Only callers that the internal chain knows by certificate can set it.
const behalfKey = "nthlayer-principal-bin"

// OnBehalfOf lets calls under ctx say for whom they are made.
func OnBehalfOf(ctx context.Context, subject string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, behalfKey, subject)
}

// BehalfOf is the principal for whom an internal call was made.
func BehalfOf(ctx context.Context) (string, error) {
	said := metadata.ValueFromIncomingContext(ctx, behalfKey)
	if len(said) != 1 || said[0] == "" {
		return "", fault.New(fault.Internal, "the call does not say for whom it is made", nil)
	}
	return said[0], nil
}
