package slack

import (
	"context"
	"fmt"

	goslack "github.com/slack-go/slack"

	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// Replies gives the delivery keys of the replies in the thread under a message. It is an answer only when the thread was
// read whole: what is not in it was not posted. Slack gives the parent with its replies, so an answer without it is none.
func (c *Client) Replies(ctx context.Context, parent Posted) (map[string]bool, error) {
	// The API has replies behind POST; it only reads.
	ctx = upstream.WithRepeat(upstream.WithRoute(ctx, "/api/conversations.replies"), upstream.Always)
	keys := map[string]bool{}
	whole, cursor := false, ""
	for range maxPages {
		messages, more, next, err := c.api.GetConversationRepliesContext(ctx, &goslack.GetConversationRepliesParameters{
			ChannelID: parent.Channel, Timestamp: parent.TS, Cursor: cursor, Limit: historyPage, IncludeAllMetadata: true,
		})
		if err != nil {
			return nil, fmt.Errorf("read slack thread: %w", translate(err, unreadable))
		}
		for _, message := range messages {
			if message.Timestamp == parent.TS {
				whole = true
			} else if key, ok := message.Metadata.EventPayload[DeliveryKey].(string); ok {
				keys[key] = true
			}
		}
		switch cursor = next; {
		case !more && !whole:
			return nil, unreadable("Slack's answer does not show the thread", nil)
		case !more:
			return keys, nil
		case cursor == "":
			return nil, unreadable("Slack announces more replies and does not say where", nil)
		}
	}
	return nil, unreadable(fmt.Sprintf("the thread has more than %d messages", maxPages*historyPage), nil)
}
