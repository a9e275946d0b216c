package render_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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

var update = flag.Bool("update", false, "write the golden files anew")

const job = "01890a5d-ac96-774b-bcce-b302099a8057"

func succeeded() notice.RunFinished {
	return notice.RunFinished{
		JobID: job, TeamID: "shop/payments", TeamName: "Payments", Status: "succeeded", RequestedBy: "lead@example.org",
		Summary: "1 member added, 1 role changed, 1 member removed",
		Changes: []notice.Change{
			{Kind: "add_member", Who: "ann@example.org", After: "manager", Outcome: "applied"},
			{Kind: "change_role", Who: "bob@example.org", Before: "responder", After: "manager", Outcome: "applied"},
			{Kind: "remove_member", Who: "eve@example.org", Before: "responder", Outcome: "applied"},
		},
	}
}

func big() notice.RunFinished {
	n := succeeded()
	n.Changes, n.Summary = nil, "320 members added, 40 issues need attention"
	for i := range 320 {
		n.Changes = append(n.Changes, notice.Change{Kind: "add_member", Who: fmt.Sprintf("person-%03d@example.org", i), After: "responder", Outcome: "applied"})
	}
	n.Changes[317].Outcome, n.Changes[317].Message = "failed", "PagerDuty refused the change: the account is being removed"
	for i := range 40 {
		n.Issues = append(n.Issues, notice.Issue{
			Kind: "user_not_found", Entity: fmt.Sprintf("person:guest-%02d@example.org", i),
			Message: fmt.Sprintf("guest-%02d@example.org has no account on the target; invite the person, or correct the address in the source", i),
		})
	}
	return n
}

func TestRunFinished_Golden(t *testing.T) {
	cases := map[string]func() notice.RunFinished{
		"succeeded": succeeded,
		"team_created_with_issues": func() notice.RunFinished {
			n := succeeded()
			n.Summary = "1 team created, 1 member added; 2 issues need attention"
			n.Changes = []notice.Change{
				{Kind: "create_team", Who: "shop/payments", After: "Payments", Outcome: "applied"},
				{Kind: "add_member", Who: "ann@example.org", After: "manager", Outcome: "applied"},
			}
			n.Issues = []notice.Issue{
				{Kind: "user_not_found", Entity: "person:zoe@example.org", Message: "zoe@example.org has no account on the target; invite the person, or correct the address in the source"},
				{Kind: "on_escalation_policy", Entity: "person:eve@example.org", Message: "not removed: still paged through Shop On-Call; take the person off there first"},
			}
			return n
		},
		"failed_in_part": func() notice.RunFinished {
			n := succeeded()
			n.Status, n.Summary = "failed", "1 member added, 2 changes not made"
			n.ErrorReason, n.ErrorMessage = "CHANGES_FAILED", "1 of 3 changes failed: PagerDuty refused the change"
			n.Changes[1].Outcome, n.Changes[1].Message = "failed", "PagerDuty refused the change"
			n.Changes[2].Outcome, n.Changes[2].Message = "skipped", "not tried, because an earlier change failed"
			return n
		},
		"source_down": func() notice.RunFinished {
			n := succeeded()
			n.Status, n.Changes, n.TeamName = "failed", nil, ""
			n.ErrorReason, n.ErrorMessage = "SOURCE_UNAVAILABLE", "Cortex does not answer; nothing was changed, try again later"
			n.Summary = n.ErrorMessage
			return n
		},
		"needs_approval": func() notice.RunFinished {
			n := succeeded()
			n.Status, n.ErrorReason = "failed", "APPROVAL_REQUIRED"
			n.Reasons = []string{"5 of 8 members would be removed (limit: 25 %)"}
			n.ErrorMessage = "nothing was changed: " + n.Reasons[0]
			n.Summary = n.ErrorMessage
			for i := range n.Changes {
				n.Changes[i].Outcome, n.Changes[i].Message = "denied", n.Reasons[0]
			}
			return n
		},
		"ignored": func() notice.RunFinished {
			n := succeeded()
			n.Summary = "1 member added; 4 differences ignored"
			n.Changes = n.Changes[:1]
			for _, who := range []string{"bob@example.org", "eve@example.org", "mia@example.org", "zoe@example.org"} {
				n.Ignored = append(n.Ignored, notice.Ignored{
					Kind: "remove_member", Who: who, RuleID: "r-1", Reason: "on loan", Owner: "sre@example.org", Until: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC),
				})
			}
			return n
		},
		"hostile": func() notice.RunFinished {
			n := succeeded()
			n.Ignored = []notice.Ignored{{Kind: "*x*", Who: "<@U1>", Reason: "<!here>", Owner: "`x`"}}
			n.TeamName, n.RequestedBy = "<!channel> & \"Söhne\"\n\u202e*x*", "`rm` <@U1>"
			n.Changes[0].Who, n.Changes[1].After = "<https://evil.example|click>", "a\x00b\tc"
			return n
		},
		"empty": func() notice.RunFinished { return notice.RunFinished{} },
		"big":   big,
	}
	for name, ended := range cases {
		t.Run(name, func(t *testing.T) {
			golden(t, name, show(t, ended()))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "go test -update writes it anew")
}

// show writes messages as a person would see them, with their markup.
func show(t require.TestingT, n notice.RunFinished) string {
	summary, details := render.RunFinished(n)
	return written(t, summary, details)
}

func written(t require.TestingT, summary render.Message, details []render.Message) string {
	var b strings.Builder
	for i, m := range append([]render.Message{summary}, details...) {
		if i > 0 {
			fmt.Fprintf(&b, "\n=== reply %d\n", i)
		}
		fmt.Fprintf(&b, "notification: %s\n", m.Text)
		for _, text := range texts(t, m) {
			fmt.Fprintf(&b, "---\n%s\n", text)
		}
	}
	return b.String()
}

func texts(t require.TestingT, m render.Message) []string {
	var out []string
	for _, block := range m.Blocks {
		switch b := block.(type) {
		case *goslack.SectionBlock:
			require.True(t, b.Text.Verbatim)
			out = append(out, b.Text.Text)
		case *goslack.ContextBlock:
			require.Len(t, b.ContextElements.Elements, 1)
			out = append(out, b.ContextElements.Elements[0].(*goslack.TextBlockObject).Text)
		case *goslack.ActionBlock:
			line := "["
			for _, e := range b.Elements.ElementSet {
				button := e.(*goslack.ButtonBlockElement)
				line += button.Text.Text + ": " + button.ActionID + "|" + button.Confirm.Title.Text + " " + button.Confirm.Text.Text + "|"
			}
			out = append(out, line[:len(line)-1]+"]")
		default:
			require.Failf(t, "unknown block", "%T", block)
		}
	}
	return out
}

func TestRunFinished_MoreThanTheSummaryHolds_StandsInTheThreadWhole(t *testing.T) {
	n := big()
	_, details := render.RunFinished(n)
	var all strings.Builder
	for _, m := range details {
		all.WriteString(strings.Join(texts(t, m), "\n"))
	}
	for _, c := range n.Changes {
		require.Equal(t, 1, strings.Count(all.String(), c.Who), c.Who)
	}
	for _, i := range n.Issues {
		require.Contains(t, all.String(), i.Message)
	}
}

func TestRunFinished_SummaryHoldsAll_HasNoThread(t *testing.T) {
	_, details := render.RunFinished(succeeded())
	require.Empty(t, details)
}

func TestRunFinished_SameNotice_SameMessages(t *testing.T) {
	first := show(t, big())
	require.Equal(t, first, show(t, big()))
}

// dates are the moments that each reader sees in their own time zone.
var dates = regexp.MustCompile(`<!date\^[0-9]+\^\{date_short_pretty\} \{time\}\|[0-9: -]+UTC>`)

// markup is everything that Slack reads as something else than text.
var markup = regexp.MustCompile(`[<>]|&(?:[^a-z]|$)|&[a-z]*(?:[^a-z;]|$)`)

func TestRunFinished_AnyNotice_KeepsSlacksLimitsAndMentionsNobody(t *testing.T) {
	word := rapid.OneOf(
		rapid.String(), rapid.StringMatching(`[<>&*_a-z \n]{0,40}`),
		rapid.Map(rapid.IntRange(1, 4000), func(n int) string { return strings.Repeat("<ü&", n) }),
	)
	change := rapid.Custom(func(t *rapid.T) notice.Change {
		return notice.Change{
			Kind: rapid.SampledFrom([]string{"add_member", "remove_member", "change_role", "create_team", "update_team", "later"}).Draw(t, "kind"),
			Who:  word.Draw(t, "who"), Before: word.Draw(t, "before"), After: word.Draw(t, "after"), Message: word.Draw(t, "message"),
			Outcome: rapid.SampledFrom([]string{"applied", "failed", "skipped", "denied", "planned", ""}).Draw(t, "outcome"),
		}
	})
	issue := rapid.Custom(func(t *rapid.T) notice.Issue {
		return notice.Issue{Kind: word.Draw(t, "kind"), Entity: word.Draw(t, "entity"), Message: word.Draw(t, "message")}
	})
	rapid.Check(t, func(t *rapid.T) {
		n := notice.RunFinished{
			JobID: word.Draw(t, "job"), TeamID: word.Draw(t, "team"), TeamName: word.Draw(t, "name"),
			Status: rapid.SampledFrom([]string{"succeeded", "failed", ""}).Draw(t, "status"), RequestedBy: word.Draw(t, "by"),
			Summary: word.Draw(t, "summary"), Changes: rapid.SliceOfN(change, 0, 12).Draw(t, "changes"),
			Issues: rapid.SliceOfN(issue, 0, 12).Draw(t, "issues"), Reasons: rapid.SliceOfN(word, 0, 8).Draw(t, "reasons"),
			ErrorReason: word.Draw(t, "reason"), ErrorMessage: word.Draw(t, "error"),
		}
		for len(n.Changes) > 0 && len(n.Changes) < rapid.IntRange(0, 400).Draw(t, "many") {
			n.Changes = append(n.Changes, n.Changes...)
		}
		summary, details := render.RunFinished(n)
		if len(details) > 10 {
			t.Fatalf("%d replies", len(details))
		}
		for _, m := range append([]render.Message{summary}, details...) {
			if len(m.Blocks) == 0 || len(m.Blocks) > 50 || m.Text == "" || utf8.RuneCountInString(m.Text) > 4000 {
				t.Fatalf("%d blocks, text %q", len(m.Blocks), m.Text)
			}
			total := 0
			for _, text := range append(texts(t, m), m.Text) {
				size := utf8.RuneCountInString(text)
				total += size
				if size == 0 || size > 3000 || !utf8.ValidString(text) || markup.MatchString(text) {
					t.Fatalf("%d characters: %q", size, text)
				}
			}
			if total > 11_000 {
				t.Fatalf("%d characters in all", total)
			}
			if _, err := json.Marshal(goslack.Blocks{BlockSet: m.Blocks}); err != nil {
				t.Fatal(err)
			}
		}
	})
}
