package rpc

import (
	"context"

	"google.golang.org/grpc/metadata"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// behalfKey is the metadata key of the principal for whom one service asks another. It is binary: a subject may hold any
// character. Only callers that the internal chain knows by certificate can set it.
const behalfKey = "nthlayer-principal-bin"

// rolesKey is the metadata key of the roles that the principal holds on what the call is about, one value each.
const rolesKey = "nthlayer-roles-bin"

// OnBehalfOf lets calls under ctx say for whom they are made, and with which roles.
func OnBehalfOf(ctx context.Context, subject string, roles ...string) context.Context {
	ctx = metadata.AppendToOutgoingContext(ctx, behalfKey, subject)
	for _, role := range roles {
		ctx = metadata.AppendToOutgoingContext(ctx, rolesKey, role)
	}
	return ctx
}

// RolesOfBehalf are the roles of the principal for whom an internal call was made, as far as it says.
func RolesOfBehalf(ctx context.Context) []string {
	return metadata.ValueFromIncomingContext(ctx, rolesKey)
}

// BehalfOf is the principal for whom an internal call was made.
func BehalfOf(ctx context.Context) (string, error) {
	said := metadata.ValueFromIncomingContext(ctx, behalfKey)
	if len(said) != 1 || said[0] == "" {
		return "", fault.New(fault.Internal, "the call does not say for whom it is made", nil)
	}
	return said[0], nil
}
