package slack

import (
	"context"
	"fmt"

	goslack "github.com/slack-go/slack"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// Person is a user of Slack, as far as it matters for whom they act.
type Person struct {
	ID      string
	TeamID  string // the workspace they belong to
	Email   string // empty: Slack shows none
	Proved  bool   // they have shown that the address is theirs
	Bot     bool
	Deleted bool
	Guest   bool // of this workspace, or of another organisation
}

// Person looks somebody up by their id. It fails with NotFound where there is nobody.
func (c *Client) Person(ctx context.Context, id string) (Person, error) {
	// The API has users behind POST; it only reads.
	ctx = upstream.WithRepeat(upstream.WithRoute(ctx, "/api/users.info"), upstream.Always)
	u, err := c.api.GetUserInfoContext(ctx, id)
	if err != nil {
		f := translate(err, unreadablePerson)
		switch fault.ReasonOf(f) {
		case "SLACK_USER_NOT_FOUND", "SLACK_USERS_NOT_FOUND", "SLACK_USER_NOT_VISIBLE":
			f = fault.New(fault.NotFound, "Slack knows no such user", err).WithReason("SLACK_USER_NOT_FOUND")
		case "SLACK_MISSING_SCOPE":
			f = fault.New(fault.Precondition, "the Slack app may not look people up; give it users:read and users:read.email and install it again", err).
				WithReason("SLACK_MISSING_SCOPE")
		}
		return Person{}, fmt.Errorf("read a slack user: %w", f)
	}
	if u.ID != id {
		return Person{}, fmt.Errorf("read a slack user: %w", unreadablePerson("Slack's answer is of another user", nil))
	}
	return Person{
		ID: u.ID, TeamID: u.TeamID, Email: u.Profile.Email, Proved: u.IsEmailConfirmed, Deleted: u.Deleted,
		Bot:   u.IsBot || u.IsConnectorBot || u.IsWorkflowBot,
		Guest: u.IsRestricted || u.IsUltraRestricted || u.IsStranger,
	}, nil
}

// Workspace is the id of the workspace that the bot belongs to.
func (c *Client) Workspace(ctx context.Context) (string, error) {
	ctx = upstream.WithRepeat(upstream.WithRoute(ctx, "/api/auth.test"), upstream.Always)
	answer, err := c.api.AuthTestContext(ctx)
	if err != nil {
		return "", fmt.Errorf("ask slack who we are: %w", translate(err, unreadablePerson))
	}
	if answer.TeamID == "" {
		return "", unreadablePerson("Slack does not say whose token it is", nil)
	}
	return answer.TeamID, nil
}

// Whisper shows one person in a channel a text that nobody else sees. Slack keeps it nowhere and promises no delivery.
func (c *Client) Whisper(ctx context.Context, channel, user, text string) error {
	_, err := c.api.PostEphemeralContext(upstream.WithRoute(ctx, "/api/chat.postEphemeral"), channel, user, goslack.MsgOptionText(text, false))
	if err != nil {
		return fmt.Errorf("whisper on slack: %w", translate(err, effectUnknown))
	}
	return nil
}

func unreadablePerson(text string, cause error) *fault.Error {
	return fault.New(fault.Unavailable, text, cause).WithReason("SLACK_UNAVAILABLE")
}
