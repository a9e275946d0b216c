package deliver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/slack"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/services/notifier/internal/deliver"
)

const change = "POST /api/chat.update"

// asked is a message that asks for an approval, with so many changes.
func asked(changes int) notice.ApprovalRequested {
	n := notice.ApprovalRequested{
		ApprovalOf: uuid.NewString(), PlanHash: strings.Repeat("ab", 32), TeamID: "payments", TeamName: "Payments",
		Reasons: []string{"the team is protected"}, Approvers: []string{"1 × approver"}, ExpiresAt: time.Unix(1_900_000_000, 0),
	}
	for i := range changes {
		n.Changes = append(n.Changes, notice.Change{Kind: "remove_member", Who: fmt.Sprintf("person-%d@example.org", i), Before: "responder"})
	}
	return n
}

func (r *rig) retell(t *testing.T, key string, n notice.ApprovalRequested) {
	t.Helper()
	payload, err := json.Marshal(n)
	require.NoError(t, err)
	require.NoError(t, r.store.Retell(t.Context(), key, payload, nil))
}

// shown is the only message that is not a reply: its text, how many buttons it has, and whether it was changed.
func (r *rig) shown(t *testing.T) (text string, buttons int, edited bool) {
	t.Helper()
	content, err := json.Marshal(r.sim.State())
	require.NoError(t, err)
	var state struct {
		Messages []struct {
			Text     string `json:"text"`
			ThreadTS string `json:"thread_ts"`
			Blocks   []struct {
				Type     string            `json:"type"`
				Elements []json.RawMessage `json:"elements"`
			} `json:"blocks"`
			Edited *json.RawMessage `json:"edited"`
		} `json:"messages"`
	}
	require.NoError(t, json.Unmarshal(content, &state))
	parents := 0
	for _, m := range state.Messages {
		if m.ThreadTS != "" {
			continue
		}
		parents++
		text, edited = m.Text, m.Edited != nil
		for _, b := range m.Blocks {
			if b.Type == "actions" {
				buttons += len(b.Elements)
			}
		}
	}
	require.Equal(t, 1, parents, "one message, whatever it has to tell")
	return text, buttons, edited
}

func TestRetell_MessageIsThere_IsChangedAndNotPostedAgain(t *testing.T) {
	r := newRig(t)
	n := asked(400) // with replies
	key := r.ended(t, n)
	d := r.deliverer(nil, deliver.Options{Buttons: true})
	require.NoError(t, handle(t.Context(), d, key))
	text, buttons, edited := r.shown(t)
	require.Contains(t, text, "waits for approval")
	require.Equal(t, []any{2, false}, []any{buttons, edited})
	before := r.posted(t)
	require.Greater(t, len(before), 1)

	n.Votes = []notice.ApprovalVote{{By: "ann", Via: "slack"}}
	r.retell(t, key, n)
	require.NoError(t, handle(t.Context(), d, key))
	_, buttons, edited = r.shown(t)
	require.Equal(t, []any{2, true}, []any{buttons, edited})

	n.Outcome = "approved"
	r.retell(t, key, n)
	require.NoError(t, handle(t.Context(), d, key))
	require.NoError(t, handle(t.Context(), d, key), "the queue delivers at least once")
	text, buttons, _ = r.shown(t)
	require.Contains(t, text, "was approved by ann (Slack)")
	require.Zero(t, buttons, "what is decided cannot be pressed")
	after := r.posted(t)
	require.Len(t, after, len(before), "the replies stay what they are")
	require.Equal(t, before[0].TS, after[0].TS)
	require.Equal(t, key, after[0].Metadata.Payload.Key, "it is still found by its key")
	require.Equal(t, []any{store.Delivered, 3}, []any{r.state(t, key).Status, r.state(t, key).Revision})
}

func TestRetell_BeforeItWasPosted_TheNewestIsPosted(t *testing.T) {
	r := newRig(t)
	n := asked(1)
	key := r.ended(t, n)
	n.Outcome = "expired"
	r.retell(t, key, n)
	require.NoError(t, handle(t.Context(), r.deliverer(nil, deliver.Options{}), key))
	text, _, edited := r.shown(t)
	require.Contains(t, text, "was not approved in time")
	require.False(t, edited)
	require.Zero(t, r.sim.Control().Calls().Counts[change])
}

// slow is Slack during whose post something else happens.
type slow struct {
	deliver.Slack
	meanwhile func()
}

func (s slow) Post(ctx context.Context, m slack.Message) (slack.Posted, error) {
	s.meanwhile()
	return s.Slack.Post(ctx, m)
}

func TestRetell_WhileItIsBeingPosted_IsToldAfterwards(t *testing.T) {
	r := newRig(t)
	n := asked(1)
	key := r.ended(t, n)
	n.Outcome, n.Message = "rejected", "rejected by bob"
	require.NoError(t, handle(t.Context(), r.deliverer(slow{r.slack, func() { r.retell(t, key, n) }}, deliver.Options{}), key))
	text, _, _ := r.shown(t)
	require.Contains(t, text, "waits for approval", "that is what was posted")
	require.Equal(t, store.Pending, r.state(t, key).Status, "and not all there is to tell")
	require.NoError(t, handle(t.Context(), r.deliverer(nil, deliver.Options{}), key))
	text, _, _ = r.shown(t)
	require.Contains(t, text, "was rejected")
}

// Whatever the order and the number of the queue's messages, and wherever attempts break off: what stands there in the end is
// the newest, in one message.
func TestRetell_MessagesInAnyOrder_NewestStandsThere(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, seed))
			r := newRig(t)
			n := asked(1)
			key := r.ended(t, n)
			d := r.deliverer(nil, deliver.Options{Buttons: true})
			for vote := range 6 {
				for range random.IntN(3) {
					if random.IntN(2) == 0 {
						match := []string{post, change}[random.IntN(2)]
						require.NoError(t, r.sim.Control().Inject(control.Fault{Match: match, Times: 1, Drop: true, After: random.IntN(2) == 0}))
					}
					require.NoError(t, handle(t.Context(), d, key))
				}
				n.Votes = append(n.Votes, notice.ApprovalVote{By: fmt.Sprintf("voter-%d", vote)})
				r.retell(t, key, n)
			}
			n.Outcome = "approved"
			r.retell(t, key, n)
			r.sim.Control().ClearFaults()
			for range 3 {
				require.NoError(t, handle(t.Context(), d, key))
			}
			text, buttons, _ := r.shown(t)
			require.Contains(t, text, "voter-0, voter-1, voter-2 and 3 more")
			require.Zero(t, buttons)
			require.Equal(t, store.Delivered, r.state(t, key).Status)
		})
	}
}

// Found again after a lost answer, a message is remembered before it is changed: a change that Slack refuses for now must not
// lead to a second message.
func TestRetell_FoundAgainAndNotChanged_IsNotPostedAgain(t *testing.T) {
	r := newRig(t)
	n := asked(1)
	key := r.ended(t, n)
	require.NoError(t, r.sim.Control().Inject(
		control.Fault{Match: post, Times: 1, Drop: true, After: true},
		control.Fault{Match: change, Times: 1, Body: json.RawMessage(`{"ok":false,"error":"internal_error"}`)},
	))
	d := r.deliverer(nil, deliver.Options{})
	require.NoError(t, handle(t.Context(), d, key))
	n.Outcome = "approved"
	r.retell(t, key, n)
	require.NoError(t, handle(t.Context(), d, key))
	require.Equal(t, store.Pending, r.state(t, key).Status)
	require.NoError(t, handle(t.Context(), d, key))
	text, _, edited := r.shown(t)
	require.Contains(t, text, "was approved")
	require.True(t, edited)
}

func TestRetell_MessageWasDeleted_FailsWithAWord(t *testing.T) {
	for name, c := range map[string]struct{ word, says string }{
		"deleted":          {"message_not_found", "somebody deleted it"},
		"not to be edited": {"cant_update_message", "check its settings"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			n := asked(1)
			key := r.ended(t, n)
			d := r.deliverer(nil, deliver.Options{})
			require.NoError(t, handle(t.Context(), d, key))
			require.NoError(t, r.sim.Control().Inject(control.Fault{Match: change, Body: json.RawMessage(`{"ok":false,"error":"` + c.word + `"}`)}))
			n.Outcome = "approved"
			r.retell(t, key, n)
			require.NoError(t, handle(t.Context(), d, key))
			got := r.state(t, key)
			require.Equal(t, store.Undelivered, got.Status)
			require.Contains(t, got.LastError, c.says)
			require.Len(t, r.posted(t), 1)
		})
	}
}

func TestUpdate_WhatSlackSays_IsOfAKind(t *testing.T) {
	r := newRig(t)
	posted, err := r.slack.Post(t.Context(), slack.Message{Channel: channel, Text: "t"})
	require.NoError(t, err)
	require.NoError(t, r.slack.Update(t.Context(), posted, slack.Message{Text: "u"}))
	require.Equal(t, "u", r.posted(t)[0].Text)
	err = r.slack.Update(t.Context(), slack.Posted{Channel: channel, TS: "1.000000"}, slack.Message{Text: "u"})
	require.Equal(t, "SLACK_MESSAGE_NOT_FOUND", fault.ReasonOf(err))
	require.NoError(t, r.sim.Control().Inject(control.Fault{Match: change, Drop: true}))
	err = r.slack.Update(t.Context(), posted, slack.Message{Text: "v"})
	require.True(t, fault.Passing(err), "%v", err)
}
