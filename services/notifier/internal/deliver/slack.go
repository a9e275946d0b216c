package deliver

import (
	"context"
	"fmt"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/seam"
	"github.com/nthlayer/nthlayer/pkg/slack"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/services/notifier/internal/render"
)

// clockSkew is how far Slack's clock may be behind the database's when its history is searched.
const clockSkew = 5 * time.Minute

// bySlack is the Medium "slack".
type bySlack struct {
	api         Slack
	maxAttempts int
	buttons     bool // messages that can be answered have buttons
}

// Tell posts what is not there yet, and changes the message where there is something else to tell since. uncertain says
// whether this attempt ends without knowing what is on Slack.
func (s bySlack) Tell(ctx context.Context, a *store.DeliveryAttempt, n notice.Notice) (uncertain bool, err error) {
	summary, details := render.SlackOf(n, s.buttons)

	if err := s.find(ctx, a); err != nil {
		return a.Uncertain, err
	}
	var replies map[string]bool // by their keys, those that are there
	if a.TS == "" {
		if a.Attempts > s.maxAttempts { // this attempt was only to look
			return false, fault.New(fault.Precondition, "Slack did not take the message in "+fmt.Sprint(s.maxAttempts)+" attempts", nil)
		}
		posted, err := s.api.Post(ctx, message(summary, a.Channel, "", a.Key))
		if err != nil {
			return mayBeThere(err), err
		}
		a.PostedTo, a.TS = posted.Channel, posted.TS
		if len(details) > 0 {
			if err := a.Posted(ctx, posted.Channel, posted.TS); err != nil {
				return true, err
			}
		}
	} else {
		there := slack.Posted{Channel: a.PostedTo, TS: a.TS}
		if a.Revision > 1 { // changing it to what it shows already does no harm
			if err := s.api.Update(ctx, there, message(summary, a.PostedTo, "", a.Key)); err != nil {
				return mayBeThere(err), err
			}
		}
		if len(details) > 0 {
			if replies, err = s.api.Replies(ctx, there); err != nil {
				return a.Uncertain, err
			}
		}
	}
	for i, detail := range details {
		key := replyKey(a.Key, i)
		if replies[key] {
			continue
		}
		if _, err := s.api.Post(ctx, message(detail, a.PostedTo, a.TS, key)); err != nil {
			return mayBeThere(err), err
		}
	}
	return false, nil
}

// find looks for the message that an earlier attempt may have left on Slack, and remembers it: whatever comes of this
// attempt, the next one does not post it again.
func (s bySlack) find(ctx context.Context, a *store.DeliveryAttempt) error {
	if a.TS != "" || !a.Uncertain || seam.Off(seam.LookUp) {
		return nil
	}
	// Nothing can have been posted before the delivery was there.
	found, ok, err := s.api.FindByMetadata(ctx, a.Channel, a.Key, a.CreatedAt.Add(-clockSkew))
	if err != nil || !ok {
		return err
	}
	return a.Posted(ctx, found.Channel, found.TS)
}

// mayBeThere reports whether a post that failed may have had an effect. Only Slack's own refusals and what never left
// this machine are known not to.
func mayBeThere(err error) bool {
	switch fault.KindOf(err) {
	case fault.Deadline, fault.Canceled, fault.Internal:
		return true
	default:
		return false
	}
}

func replyKey(key string, i int) string { return fmt.Sprintf("%s#%d", key, i+1) }

func message(m render.Message, channel, thread, key string) slack.Message {
	return slack.Message{Channel: channel, Text: m.Text, Blocks: m.Blocks, ThreadTS: thread, Metadata: slack.Delivery(key)}
}
