// Package slack posts messages to Slack and finds out whether a message was posted.
//
// Posting is not idempotent: Slack has no key for it. So only what was provably not posted is sent again (a refused
// connection, 429, an answer that says so). When the answer was lost the error is fault.Deadline, and the caller looks
// for the delivery key that every message carries in its metadata before trying again.
package slack

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	goslack "github.com/slack-go/slack"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

const (
	// PerMinute keeps to Slack's one message a second and channel (Slack rate limits) for a bot of one channel.
	PerMinute = 60
	// DeliveryKey is the word in a message's metadata under which its delivery key stands.
	DeliveryKey = "delivery_key"

	scheme      = "Bearer "
	eventType   = "nthlayer_delivery"
	defaultURL  = "https://slack.com/api/"
	historyPage = 200
	maxPages    = 25 // 5,000 messages: more since a post was tried means that the question was asked too late
)

// Config says where Slack is and who posts.
type Config struct {
	BaseURL string        // must end in /api/; empty: https://slack.com/api/
	Token   config.Secret // empty: the transport has credentials
	HTTP    *http.Client  // nil: HTTP(upstream.Config{})
}

// Client posts messages. It is safe for concurrent use.
type Client struct{ api *goslack.Client }

// Block is a Block Kit block, as slack-go builds and reads it.
type Block = goslack.Block

// Message is one message to post.
type Message struct {
	Channel  string // the id: names are ambiguous
	Text     string // what notifications show; all there is without Blocks
	Blocks   []Block
	ThreadTS string // the parent's ts, for a reply
	Metadata Metadata
}

// Metadata travels with a message, unseen by people.
type Metadata struct {
	EventType string
	Payload   map[string]any
}

// Delivery is the metadata of the message with this delivery key.
func Delivery(key string) Metadata {
	return Metadata{EventType: eventType, Payload: map[string]any{DeliveryKey: key}}
}

// Posted identifies a message on Slack.
type Posted struct {
	Channel string
	TS      string
}

// Upstream describes the way to Slack with cfg's credentials, limiter and limits. It reads the refusals that Slack sends
// with status 200.
func Upstream(cfg upstream.Config) upstream.Config {
	cfg.Platform = "slack"
	cfg.Scheme = scheme
	cfg.Classify = classify
	return cfg
}

// HTTP is the http.Client over a transport of its own.
func HTTP(cfg upstream.Config) *http.Client { return upstream.New(Upstream(cfg)).Client() }

// New makes a Client.
func New(cfg Config) *Client {
	client := cfg.HTTP
	if client == nil {
		client = HTTP(upstream.Config{})
	}
	bare := *client
	bare.Transport = inHeader{cmp.Or(client.Transport, http.DefaultTransport), cfg.Token}
	return &Client{api: goslack.New("", // the header carries the token
		goslack.OptionAPIURL(strings.TrimRight(cmp.Or(cfg.BaseURL, defaultURL), "/")+"/"),
		goslack.OptionHTTPClient(&bare),
		goslack.OptionLog(log.New(io.Discard, "", 0)),
	)}
}

// inHeader sends the token in the Authorization header. slack-go writes it into the form, where a token that was replaced
// would stay, and where an empty one would stand beside the transport's.
type inHeader struct {
	next  http.RoundTripper
	token config.Secret
}

func (h inHeader) RoundTrip(req *http.Request) (*http.Response, error) {
	defer func() { _ = req.Body.Close() }()
	content, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, fmt.Errorf("read slack-go's form: %w", err)
	}
	form, err := url.ParseQuery(string(content))
	if err != nil {
		return nil, fmt.Errorf("read slack-go's form: %w", err)
	}
	form.Del("token")
	bare := []byte(form.Encode())
	sent := req.Clone(req.Context())
	sent.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(bare)), nil }
	sent.Body, sent.ContentLength = io.NopCloser(bytes.NewReader(bare)), int64(len(bare))
	sent.Header.Set("Authorization", scheme+h.token.Reveal())
	return h.next.RoundTrip(sent)
}

// Post posts the message. The error's kind says what to do: Precondition: a person must change something, the reason
// is SLACK_ and Slack's own word; Throttled, Unavailable: try again later, nothing was posted; Deadline: look with
// FindByMetadata first.
func (c *Client) Post(ctx context.Context, m Message) (Posted, error) {
	options := []goslack.MsgOption{goslack.MsgOptionText(m.Text, false), goslack.MsgOptionDisableLinkUnfurl()}
	if len(m.Blocks) > 0 {
		options = append(options, goslack.MsgOptionBlocks(m.Blocks...))
	}
	if m.ThreadTS != "" {
		options = append(options, goslack.MsgOptionTS(m.ThreadTS))
	}
	if m.Metadata.EventType != "" {
		options = append(options, goslack.MsgOptionMetadata(goslack.SlackMetadata{
			EventType: m.Metadata.EventType, EventPayload: m.Metadata.Payload,
		}))
	}
	channel, ts, err := c.api.PostMessageContext(upstream.WithRoute(ctx, "/api/chat.postMessage"), m.Channel, options...)
	if err != nil {
		return Posted{}, fmt.Errorf("post to slack: %w", translate(err, effectUnknown))
	}
	if ts == "" { // an answer without ok, error and ts says nothing
		return Posted{}, fmt.Errorf("post to slack: %w", effectUnknown("Slack's answer does not say whether the message was posted", nil))
	}
	return Posted{Channel: channel, TS: ts}, nil
}

// Update changes a message of the bot to m; its channel, thread and metadata stay what they are. Doing it again does no harm,
// so the transport repeats it. The error's kinds are those of Post; with Deadline it may have been changed or not.
func (c *Client) Update(ctx context.Context, p Posted, m Message) error {
	options := []goslack.MsgOption{goslack.MsgOptionText(m.Text, false), goslack.MsgOptionDisableLinkUnfurl()}
	if len(m.Blocks) > 0 {
		options = append(options, goslack.MsgOptionBlocks(m.Blocks...))
	}
	ctx = upstream.WithRepeat(upstream.WithRoute(ctx, "/api/chat.update"), upstream.Always)
	if _, _, _, err := c.api.UpdateMessageContext(ctx, p.Channel, p.TS, options...); err != nil {
		return fmt.Errorf("update a slack message: %w", translate(err, changeUnknown))
	}
	return nil
}

// FindByMetadata looks for the message with this delivery key among the channel's messages since a moment, replies in
// threads not included. Not found is an answer only when the history was read whole.
func (c *Client) FindByMetadata(ctx context.Context, channel, key string, since time.Time) (Posted, bool, error) {
	// The API has history behind POST; it only reads.
	ctx = upstream.WithRepeat(upstream.WithRoute(ctx, "/api/conversations.history"), upstream.Always)
	cursor := ""
	for range maxPages {
		history, err := c.api.GetConversationHistoryContext(ctx, &goslack.GetConversationHistoryParameters{
			ChannelID:          channel,
			Cursor:             cursor,
			Oldest:             timestamp(since),
			Limit:              historyPage,
			IncludeAllMetadata: true,
		})
		if err != nil {
			return Posted{}, false, fmt.Errorf("read slack history: %w", translate(err, unreadable))
		}
		if !history.Ok || history.Messages == nil { // an answer that says nothing does not say that there is nothing
			return Posted{}, false, fmt.Errorf("read slack history: %w", unreadable("Slack's history is not whole", nil))
		}
		for _, message := range history.Messages {
			if found, _ := message.Metadata.EventPayload[DeliveryKey].(string); found == key {
				return Posted{Channel: channel, TS: message.Timestamp}, true, nil
			}
		}
		cursor = history.ResponseMetaData.NextCursor
		switch {
		case !history.HasMore:
			return Posted{}, false, nil
		case cursor == "":
			return Posted{}, false, unreadable("Slack announces more history and does not say where", nil)
		}
	}
	return Posted{}, false, unreadable(fmt.Sprintf("Slack's history since %s is longer than %d messages", since.Format(time.RFC3339), maxPages*historyPage), nil)
}

func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.Unix(), 10) + ".000000"
}

// classify finds refusals behind status 200. Bodies of errors are short; a long one is not looked into.
func classify(status int, body []byte) (upstream.Class, bool) {
	if status != http.StatusOK || len(body) > 4096 {
		return upstream.Unknown, false
	}
	var answer struct {
		OK    bool   `json:"ok"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.OK {
		return upstream.Unknown, false
	}
	switch answer.Error {
	case "ratelimited", "rate_limited":
		return upstream.Throttled, true
	case "service_unavailable":
		return upstream.Busy, true
	case "invalid_auth", "token_revoked", "token_expired":
		return upstream.Unauthorized, true
	default:
		return upstream.Unknown, false
	}
}

// translate turns slack-go's errors into faults. lost makes the fault for an answer that leaves open what happened.
func translate(err error, lost func(text string, cause error) *fault.Error) error {
	if typed, ok := fault.As(err); ok {
		return typed // from the transport; what is around it holds the URL
	}
	if said, ok := errors.AsType[goslack.SlackErrorResponse](err); ok {
		return refusal(said.Err, lost)
	}
	if limited, ok := errors.AsType[*goslack.RateLimitedError](err); ok { // only over an http.Client without our transport
		return fault.New(fault.Throttled, "slack asks to slow down", err).WithReason("SLACK_RATELIMITED").WithRetryAfter(limited.RetryAfter)
	}
	if status, ok := errors.AsType[goslack.StatusCodeError](err); ok {
		if status.Code >= http.StatusInternalServerError || status.Code == http.StatusRequestTimeout {
			return lost(fmt.Sprintf("Slack failed with HTTP %d", status.Code), err)
		}
		return fault.New(fault.Unavailable,
			fmt.Sprintf("HTTP %d came from something that is not Slack's API; check NTHLAYER_SLACK_URL, which must end in /api/", status.Code), err).
			WithReason("SLACK_UNAVAILABLE")
	}
	return lost("Slack's answer is not whole", err)
}

// refusal sorts Slack's error words (reference: chat.postMessage errors). A word that is not known is taken for
// permanent: it comes with ok:false, nothing was posted, and somebody should see it.
func refusal(word string, lost func(string, error) *fault.Error) error {
	cause := errors.New("slack: " + word)
	reason := "SLACK_" + strings.ToUpper(word)
	switch word {
	case "fatal_error": // "some aspect of the operation may have succeeded"
		return lost("Slack failed in the middle of the call", cause).WithReason(reason)
	case "ratelimited", "rate_limited":
		return fault.New(fault.Throttled, "Slack asks to slow down", cause).WithReason(reason).WithRetryAfter(30 * time.Second)
	case "service_unavailable", "request_timeout", "internal_error":
		return fault.New(fault.Unavailable, "Slack failed for now ("+word+"); try again later", cause).WithReason(reason).WithRetryAfter(5 * time.Second)
	case "message_limit_exceeded", "accesslimited", "team_added_to_org":
		return fault.New(fault.Unavailable, "Slack takes no messages for now ("+word+"); try again later", cause).WithReason(reason).WithRetryAfter(time.Minute)
	default:
		return fault.New(fault.Precondition, "Slack refused the message: "+advice(word), cause).WithReason(reason)
	}
}

func advice(word string) string {
	switch word {
	case "channel_not_found", "not_in_channel":
		return word + "; check NTHLAYER_SLACK_CHANNEL (an id) and invite the bot to the channel"
	case "invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive", "not_allowed_token_type":
		return word + "; check NTHLAYER_SLACK_TOKEN (a bot token, xoxb-…)"
	case "missing_scope", "no_permission":
		return word + "; give the app chat:write and channels:history and install it again"
	case "message_not_found", "thread_not_found":
		return word + "; somebody deleted it"
	case "cant_update_message", "edit_window_closed":
		return word + "; it was posted by another app, or the workspace lets nobody edit messages any more: check its settings"
	case "is_archived":
		return word + "; unarchive the channel or choose another"
	default:
		return word
	}
}

func effectUnknown(text string, cause error) *fault.Error {
	return fault.New(fault.Deadline, text+"; look whether the message is there before posting again", cause).
		WithReason("SLACK_EFFECT_UNKNOWN")
}

func changeUnknown(text string, cause error) *fault.Error {
	return fault.New(fault.Deadline, text+"; the message may be changed or not", cause).WithReason("SLACK_EFFECT_UNKNOWN")
}

func unreadable(text string, cause error) *fault.Error {
	return fault.New(fault.Incomplete, text, cause).WithReason("SLACK_HISTORY_INCOMPLETE")
}
