package slack

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	goslack "github.com/slack-go/slack"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

const (
	signatureHeader = "X-Slack-Signature"
	timestampHeader = "X-Slack-Request-Timestamp"

	// SignedWithin is how far a signed request's time may be from ours (Slack, "Verifying requests from Slack").
	SignedWithin = 5 * time.Minute
)

// Verify reports whether Slack signed these headers and this body, as they came, with one of the secrets, not longer ago
// than SignedWithin. The mark is the signature in its one spelling: whoever saw it before sees the same request again.
func Verify(header http.Header, body []byte, secrets ...config.Secret) (mark string, err error) {
	for _, name := range []string{signatureHeader, timestampHeader} {
		if len(header.Values(name)) != 1 { // of two nobody knows which one counts
			return "", unsigned("the request must have one header " + name)
		}
	}
	for _, secret := range secrets {
		if secret.Empty() {
			continue
		}
		verifier, err := goslack.NewSecretsVerifier(header, secret.Reveal())
		if err != nil {
			return "", unsigned("the request's signature or its time is not good")
		}
		_, _ = verifier.Write(body) // a hash takes everything
		if verifier.Ensure() == nil {
			return strings.ToLower(header.Get(signatureHeader)), nil
		}
	}
	return "", unsigned("the request's signature or its time is not good")
}

// unsigned says no more than that: what was wrong helps who forges.
func unsigned(text string) *fault.Error {
	return fault.New(fault.Unauthenticated, text, nil).WithReason("SLACK_SIGNATURE_REFUSED")
}

// Pressed is a button that somebody pressed in a message.
type Pressed struct {
	Action  string // the button's action_id
	Value   string
	UserID  string
	TeamID  string // the workspace in which it was pressed
	Channel string
	TS      string // of the message
}

// ParsePressed reads the body of a request that Verify has let through. Other things than a pressed button are Invalid: the
// app asks Slack for none.
func ParsePressed(body []byte) (Pressed, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["payload"]) != 1 {
		return Pressed{}, fault.Field("payload", "the form must have it once")
	}
	var p struct {
		Type string `json:"type"`
		Team struct {
			ID string `json:"id"`
		} `json:"team"`
		User struct {
			ID string `json:"id"`
		} `json:"user"`
		Container struct {
			ChannelID string `json:"channel_id"`
			MessageTS string `json:"message_ts"`
		} `json:"container"`
		Actions []struct {
			Type     string `json:"type"`
			ActionID string `json:"action_id"`
			Value    string `json:"value"`
		} `json:"actions"`
	}
	if err := json.Unmarshal([]byte(form.Get("payload")), &p); err != nil {
		return Pressed{}, fault.Field("payload", "must be Slack's JSON of an interaction")
	}
	if p.Type != "block_actions" || len(p.Actions) != 1 || p.Actions[0].Type != "button" {
		return Pressed{}, fault.Field("payload", "must be one pressed button")
	}
	if p.User.ID == "" || p.Team.ID == "" {
		return Pressed{}, fault.Field("payload", "must say who pressed the button, and in which workspace")
	}
	return Pressed{
		Action: p.Actions[0].ActionID, Value: p.Actions[0].Value, UserID: p.User.ID, TeamID: p.Team.ID,
		Channel: p.Container.ChannelID, TS: p.Container.MessageTS,
	}, nil
}
