package reconcile

import (
	"context"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// Writer is what a target lets us change, one idempotent call each but for CreateTeam.
type Writer interface {
	CreateTeam(ctx context.Context, name, description string) (targetID string, err error)
	UpdateTeam(ctx context.Context, targetID, name, description string) error
	PutMember(ctx context.Context, targetID, userID string, role ownership.Role) error
	RemoveMember(ctx context.Context, targetID, userID string) error
}

// Live is the Applier that changes the target.
type Live struct{ Writer Writer }

// Apply makes the change by one call.
func (l Live) Apply(ctx context.Context, targetID string, c ownership.Change) (string, error) {
	switch c.Kind {
	case ownership.CreateTeam:
		return l.Writer.CreateTeam(ctx, c.After.Name, c.After.Description)
	case ownership.UpdateTeam:
		return targetID, l.Writer.UpdateTeam(ctx, targetID, c.After.Name, c.After.Description)
	case ownership.AddMember, ownership.ChangeRole:
		return targetID, l.Writer.PutMember(ctx, targetID, c.UserID, c.After.Role)
	case ownership.RemoveMember:
		return targetID, l.Writer.RemoveMember(ctx, targetID, c.UserID)
	default:
		return targetID, fault.New(fault.Internal, "there is no way to apply a change of kind "+string(c.Kind), nil)
	}
}
