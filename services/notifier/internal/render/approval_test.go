package render_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	goslack "github.com/slack-go/slack"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/services/notifier/internal/render"
)

func asked() notice.ApprovalRequested {
	return notice.ApprovalRequested{
		ApprovalOf: job, PlanHash: strings.Repeat("0a", 32), TeamID: "shop/payments", TeamName: "Payments",
		RequestedBy: "lead@example.org", Reason: "the shop was split",
		Reasons: []string{"5 of 8 members would be removed (limit: 25 %)", "the team is protected"}, Approvers: []string{"2 × approver (not lead@example.org)"},
		Changes: []notice.Change{
			{Kind: "add_member", Who: "ann@example.org", After: "manager", Outcome: "planned"},
			{Kind: "change_role", Who: "bob@example.org", Before: "responder", After: "manager", Outcome: "planned"},
			{Kind: "remove_member", Who: "eve@example.org", Before: "responder", Outcome: "planned"},
		},
		ExpiresAt: time.Date(2026, 9, 2, 12, 0, 0, 0, time.UTC),
	}
}

func votes() []notice.ApprovalVote {
	at := time.Date(2026, 9, 1, 13, 30, 0, 0, time.UTC)
	return []notice.ApprovalVote{{By: "ann", Via: "slack", At: at}, {By: "bob", Via: "api", Reason: "as agreed", At: at.Add(time.Minute)}}
}

func TestApprovalRequested_Golden(t *testing.T) {
	for name, c := range map[string]struct {
		n       func() notice.ApprovalRequested
		buttons bool
	}{
		"waits":           {asked, true},
		"without_buttons": {asked, false},
		"something_ignored": {func() notice.ApprovalRequested {
			n := asked()
			n.Ignored = []notice.Ignored{{
				Kind: "remove_member", Who: "dan@example.org", RuleID: "0198f2c4-7a5e-7b1c-9d3e-2f4a6b8c0d1e", Reason: "on loan", Owner: "sre@example.org",
				Until: time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC),
			}}
			return n
		}, true},
		"one_vote": {func() notice.ApprovalRequested { n := asked(); n.Votes = votes()[:1]; return n }, true},
		"approved": {func() notice.ApprovalRequested {
			n := asked()
			n.Votes, n.Outcome, n.Message = votes(), "approved", "1 member added, 1 role changed, 1 member removed"
			return n
		}, true},
		"rejected": {func() notice.ApprovalRequested {
			n := asked()
			n.Outcome, n.Message = "rejected", "rejected by bob: eve stays"
			return n
		}, true},
		"expired": {func() notice.ApprovalRequested {
			n := asked()
			n.Outcome, n.Message = "expired", "nobody approved the plan in time; nothing was changed"
			return n
		}, true},
		"hostile": {func() notice.ApprovalRequested {
			n := asked()
			n.TeamName, n.RequestedBy, n.Reason = "<!channel> & `x`", "<@U1>", "<https://evil.example|click>"
			n.Votes = []notice.ApprovalVote{{By: "<!here>", Via: "<x>", Reason: "a\nb"}}
			return n
		}, true},
		"empty": {func() notice.ApprovalRequested { return notice.ApprovalRequested{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			summary, details := render.ApprovalRequested(c.n(), c.buttons)
			golden(t, "approval_"+name, written(t, summary, details))
		})
	}
}

func buttonsOf(m render.Message) (buttons []*goslack.ButtonBlockElement) {
	for _, b := range m.Blocks {
		if actions, ok := b.(*goslack.ActionBlock); ok {
			for _, e := range actions.Elements.ElementSet {
				buttons = append(buttons, e.(*goslack.ButtonBlockElement))
			}
		}
	}
	return buttons
}

func TestApprovalRequested_Buttons_NameThePlan_UntilThereIsAnOutcome(t *testing.T) {
	n := asked()
	summary, _ := render.ApprovalRequested(n, true)
	buttons := buttonsOf(summary)
	require.Len(t, buttons, 2)
	for i, want := range []string{notice.ApproveAction, notice.RejectAction} {
		require.Equal(t, want, buttons[i].ActionID)
		jobID, planHash, ok := notice.ParseButtonValue(buttons[i].Value)
		require.True(t, ok)
		require.Equal(t, []string{n.ApprovalOf, n.PlanHash}, []string{jobID, planHash})
		require.NotNil(t, buttons[i].Confirm, "a click is quickly made")
	}
	for _, outcome := range []string{"approved", "rejected", "expired", "canceled", "replaced", "ended", "something new"} {
		n.Outcome = outcome
		summary, _ := render.ApprovalRequested(n, true)
		require.Empty(t, buttonsOf(summary), outcome)
	}
}

// An attempt that goes on where another one stopped must find the replies it knows, whatever became of the plan meanwhile.
func TestApprovalRequested_Replies_DoNotChangeWithTheOutcome(t *testing.T) {
	n := asked()
	for i := range 300 {
		n.Changes = append(n.Changes, notice.Change{Kind: "remove_member", Who: fmt.Sprintf("person-%03d@example.org", i), Before: "responder"})
	}
	summary, before := render.ApprovalRequested(n, true)
	require.NotEmpty(t, before)
	n.Votes, n.Outcome, n.Message = votes(), "approved", strings.Repeat("done ", 400)
	for i := range n.Changes {
		n.Changes[i].Outcome = "applied"
	}
	_, after := render.ApprovalRequested(n, false)
	require.Equal(t, written(t, summary, before), written(t, summary, after))
}

func TestMailOf_Approval_NamesTheCommandsAndHasNoMarkup(t *testing.T) {
	n := asked()
	m, err := render.MailOf(notice.Notice{Approval: &n})
	require.NoError(t, err)
	require.Equal(t, "✋ Payments: the plan (1 to add, 1 to change, 1 to remove) waits for approval", m.Subject)
	require.Contains(t, m.Text, "nthlayer run approve "+job+" --plan "+n.PlanHash)
	require.Contains(t, m.Text, "Until: 2026-09-02 12:00 UTC")
	for _, markup := range []string{"<!date", "*", "`"} {
		require.NotContains(t, m.Text, markup)
	}
	require.Contains(t, m.HTML, "nthlayer run approve")
}

func TestApprovalRequested_AnyNotice_KeepsSlacksLimitsAndMentionsNobody(t *testing.T) {
	word := rapid.OneOf(
		rapid.String(), rapid.StringMatching(`[<>&*_a-z \n]{0,40}`),
		rapid.Map(rapid.IntRange(1, 4000), func(n int) string { return strings.Repeat("<ü&", n) }),
	)
	moments := rapid.Map(rapid.Int64Range(0, 4_000_000_000), func(s int64) time.Time { return time.Unix(s, 0) })
	change := rapid.Custom(func(t *rapid.T) notice.Change {
		return notice.Change{
			Kind: rapid.SampledFrom([]string{"add_member", "remove_member", "change_role", "create_team", "later"}).Draw(t, "kind"),
			Who:  word.Draw(t, "who"), Before: word.Draw(t, "before"), After: word.Draw(t, "after"),
		}
	})
	vote := rapid.Custom(func(t *rapid.T) notice.ApprovalVote {
		return notice.ApprovalVote{By: word.Draw(t, "by"), Reason: word.Draw(t, "reason"), Via: word.Draw(t, "via"), At: moments.Draw(t, "at")}
	})
	rapid.Check(t, func(t *rapid.T) {
		n := notice.ApprovalRequested{
			ApprovalOf: job, PlanHash: word.Draw(t, "hash"), TeamID: word.Draw(t, "team"), TeamName: word.Draw(t, "name"),
			RequestedBy: word.Draw(t, "by"), Reason: word.Draw(t, "reason"), Reasons: rapid.SliceOfN(word, 0, 8).Draw(t, "reasons"),
			Approvers: rapid.SliceOfN(word, 0, 4).Draw(t, "approvers"), Changes: rapid.SliceOfN(change, 0, 40).Draw(t, "changes"),
			ExpiresAt: moments.Draw(t, "expires"), Message: word.Draw(t, "message"), Votes: rapid.SliceOfN(vote, 0, 14).Draw(t, "votes"),
			Outcome: rapid.OneOf(rapid.SampledFrom([]string{"", "", "approved", "rejected"}), word).Draw(t, "outcome"),
		}
		n.PlanHash = n.PlanHash[:min(len(n.PlanHash), 64)]
		summary, details := render.ApprovalRequested(n, rapid.Bool().Draw(t, "buttons"))
		for _, m := range append([]render.Message{summary}, details...) {
			if len(m.Blocks) == 0 || len(m.Blocks) > 50 || m.Text == "" || utf8.RuneCountInString(m.Text) > 4000 {
				t.Fatalf("%d blocks, text %q", len(m.Blocks), m.Text)
			}
			total := 0
			for _, text := range append(texts(t, m), m.Text) {
				size := utf8.RuneCountInString(text)
				total += size
				if size == 0 || size > 3000 || !utf8.ValidString(text) || markup.MatchString(dates.ReplaceAllString(text, "")) {
					t.Fatalf("%d characters: %q", size, text)
				}
			}
			if total > 12_500 {
				t.Fatalf("%d characters in all", total)
			}
			for _, b := range buttonsOf(m) {
				text := b.Confirm.Text.Text
				if utf8.RuneCountInString(text) > 300 || !utf8.ValidString(text) || markup.MatchString(text) || len(b.Value) > 2000 {
					t.Fatalf("dialog %q, value %q", text, b.Value)
				}
			}
			if _, err := json.Marshal(goslack.Blocks{BlockSet: m.Blocks}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
