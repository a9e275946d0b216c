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
}

// Tell posts what is not there yet. uncertain says whether this attempt ends without knowing what is on Slack.
func (s bySlack) Tell(ctx context.Context, a *store.DeliveryAttempt, n notice.Notice) (uncertain bool, err error) {
	summary, details := render.SlackOf(n)

	known, err := s.lookUp(ctx, a)
	if err != nil {
		return a.Uncertain, err
	}
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
	}
	for i, detail := range details {
		key := replyKey(a.Key, i)
		if known[key] {
			continue
		}
		if _, err := s.api.Post(ctx, message(detail, a.PostedTo, a.TS, key)); err != nil {
			return mayBeThere(err), err
		}
	}
	return false, nil
}

// lookUp finds what earlier attempts left on Slack: the message, noted in a, and the keys of its replies.
func (s bySlack) lookUp(ctx context.Context, a *store.DeliveryAttempt) (replies map[string]bool, err error) {
	if a.TS == "" && a.Uncertain && !seam.Off(seam.LookUp) {
		// Nothing can have been posted before the delivery was there.
		found, ok, err := s.api.FindByMetadata(ctx, a.Channel, a.Key, a.CreatedAt.Add(-clockSkew))
		if err != nil {
			return nil, err
		}
		if ok {
			a.PostedTo, a.TS = found.Channel, found.TS
		}
	}
	if a.TS == "" {
		return nil, nil
	}
	return s.api.Replies(ctx, slack.Posted{Channel: a.PostedTo, TS: a.TS})
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
