package handler

import (
	"context"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/slack"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	"github.com/nthlayer/nthlayer/services/notifier/internal/render"
)

// Slack is what Deliveries needs of it.
type Slack interface {
	Person(ctx context.Context, id string) (slack.Person, error)
	Workspace(ctx context.Context) (string, error)
	Whisper(ctx context.Context, channel, user, text string) error
}

// IdentifySlackUser gives the e-mail address of somebody on Slack for whom this company's own workspace vouches.
func (d *Deliveries) IdentifySlackUser(ctx context.Context, request *internalv1.IdentifySlackUserRequest) (*internalv1.IdentifySlackUserResponse, error) {
	ours, err := d.Slack.Workspace(ctx)
	if err != nil {
		return nil, err
	}
	person, err := d.Slack.Person(ctx, request.GetUserId())
	if err != nil {
		return nil, err
	}
	var who string
	switch {
	case request.GetTeamId() != ours || person.TeamID != ours:
		who = "people of another workspace"
	case person.Bot:
		who = "bots"
	case person.Deleted:
		who = "deactivated accounts"
	case person.Guest:
		who = "guests"
	case person.Email == "":
		who = "accounts without an e-mail address that the app may see"
	case !person.Proved:
		who = "accounts whose e-mail address is not confirmed"
	default:
		return &internalv1.IdentifySlackUserResponse{Email: person.Email}, nil
	}
	return nil, fault.New(fault.PermissionDenied, who+" cannot act from Slack; use the command line", nil).WithReason("SLACK_USER_REFUSED")
}

// WhisperOnSlack shows one person a text.
func (d *Deliveries) WhisperOnSlack(ctx context.Context, request *internalv1.WhisperOnSlackRequest) (*internalv1.WhisperOnSlackResponse, error) {
	if err := d.Slack.Whisper(ctx, request.GetChannel(), request.GetUserId(), render.Whisper(request.GetText())); err != nil {
		return nil, err
	}
	return &internalv1.WhisperOnSlackResponse{}, nil
}
