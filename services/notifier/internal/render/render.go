// Package render makes Slack messages of notices. It is pure: the same notice gives the same messages in every process,
// so a notifier that takes over in the middle of a thread knows which replies are missing.
//
// The summary is what a person reads in passing: how the run ended, what changed, what waits for somebody, who asked. It
// holds the most important lines; when some had to be left out, everything is in the replies. Every text is bounded, on
// one line, and cannot mention anybody or change the layout, whatever the platforms call people and teams.
package render

import (
	"fmt"
	"slices"
	"strings"

	goslack "github.com/slack-go/slack"

	"github.com/nthlayer/nthlayer/pkg/notice"
	"github.com/nthlayer/nthlayer/pkg/slack"
)

// What the summary holds at most.
const (
	summaryChanges = 10
	summaryIssues  = 5
	summaryReasons = 5
	summaryIgnored = 3
	summaryText    = 1000 // bytes of a sentence
	summaryBytes   = 2200 // of one list
	notifyText     = 600  // bytes of what a phone shows
)

// Message is one message: the text that notifications show, and the blocks that the channel shows.
type Message struct {
	Text   string
	Blocks []slack.Block
}

// RunFinished gives the message that tells of the run's end and the replies of its thread, in their order. There are no
// replies when the summary says it all.
func RunFinished(n notice.RunFinished) (summary Message, details []Message) {
	s := story{title: headline(n), name: teamName(n), whole: "nthlayer run get " + n.JobID, footer: footer(n)}
	s.tell(n.Summary)
	s.tell(n.ErrorMessage)
	s.excuse(n.Reasons)
	s.list(changesTitle(n.Changes), changeLines(n.Changes), summaryChanges)
	s.list("Needs attention", issueLines(n.Issues), summaryIssues)
	s.list("Ignored", ignoredLines(n.Ignored), summaryIgnored)
	return s.summary(), s.details()
}

// story is a notice taken apart: sentences for the head of the summary and lists for its body.
type story struct {
	title     string
	name      string // what it is about, for the replies
	whole     string // the command that shows everything
	footer    slack.Block
	sentences []string // as they came, without repetition
	blocks    []slack.Block
	lists     []list // whole, for the replies
	cut       bool   // something does not fit into the summary
}

// tell adds a sentence, unless an earlier one says it already: a failed run's summary is often its error.
func (s *story) tell(sentence string) {
	if !s.said(sentence) {
		s.sentences = append(s.sentences, sentence)
	}
}

func (s *story) said(sentence string) bool {
	return sentence == "" || slices.ContainsFunc(s.sentences, func(earlier string) bool { return strings.Contains(earlier, sentence) })
}

// excuse lists the guards' reasons that no sentence gives.
func (s *story) excuse(reasons []string) {
	var lines []string
	for _, r := range reasons {
		if !s.said(r) {
			lines = append(lines, "• "+escape(r, lineBytes))
		}
	}
	s.list("The guards say", lines, summaryReasons)
}

// list puts the first lines into the summary and remembers all of them.
func (s *story) list(title string, lines []string, limit int) {
	if len(lines) == 0 {
		return
	}
	s.lists = append(s.lists, list{title, lines})
	text, rest := clip(title, lines, limit)
	if rest > 0 {
		text += fmt.Sprintf("\n…and %d more in the thread", rest)
		s.cut = true
	}
	s.blocks = append(s.blocks, section(text))
}

// clip is a title with the first lines, and how many more there are.
func clip(title string, lines []string, limit int) (text string, rest int) {
	text = "*" + title + "*"
	for shown, line := range lines {
		if shown == limit || len(text)+len("\n")+len(line) > summaryBytes {
			return text, len(lines) - shown
		}
		text += "\n" + line
	}
	return text, 0
}

func (s *story) summary() Message {
	head := s.title
	for _, sentence := range s.sentences {
		text := escape(sentence, summaryText)
		s.cut = s.cut || text != escape(sentence, sectionBytes)
		head += "\n" + text
	}
	m := Message{Text: s.title, Blocks: append([]slack.Block{section(head)}, s.blocks...)}
	m.Text = strings.ReplaceAll(m.Text, "*", "")
	if len(s.sentences) > 0 {
		m.Text += ": " + escape(s.sentences[0], notifyText)
	}
	m.Blocks = append(m.Blocks, s.footer)
	return m
}

// details is everything, when the summary is not.
func (s *story) details() []Message {
	if !s.cut {
		return nil
	}
	var sentences []string
	for _, sentence := range s.sentences {
		sentences = append(sentences, escape(sentence, sentenceBytes))
	}
	return pack(append([]list{{"What happened", sentences}}, s.lists...), s.name, s.whole)
}

// headline says in one line how the run ended.
func headline(n notice.RunFinished) string {
	team := "*" + teamName(n) + "*"
	switch {
	case n.Status == "succeeded" && len(n.Issues) > 0:
		return "⚠️ " + team + " was reconciled; something needs attention"
	case n.Status == "succeeded":
		return "✅ " + team + " was reconciled"
	case n.ErrorReason == "APPROVAL_REQUIRED":
		return "✋ " + team + " was not reconciled: the plan needs a person's approval"
	case n.ErrorReason == "PLAN_DENIED":
		return "⛔ " + team + " was not reconciled: the guards refuse the plan"
	case slices.ContainsFunc(n.Changes, func(c notice.Change) bool { return c.Outcome == "applied" }):
		return "❌ " + team + " was reconciled in part"
	default:
		return "❌ " + team + " was not reconciled"
	}
}

func teamName(n notice.RunFinished) string {
	for _, name := range []string{n.TeamName, n.TeamID} {
		if name = escape(name, nameBytes); name != "" {
			return name
		}
	}
	return "a team"
}

// footer says who asked for what, and how to find the rest.
func footer(n notice.RunFinished) slack.Block {
	var parts []string
	if who := escape(n.RequestedBy, nameBytes); who != "" {
		parts = append(parts, "asked for by "+who)
	}
	for _, part := range []struct{ label, value string }{{"team ", n.TeamID}, {"", n.ErrorReason}, {"job ", n.JobID}} {
		if value := code(part.value); value != "" {
			parts = append(parts, part.label+value)
		}
	}
	return context(parts)
}

// context is the small print under a message.
func context(parts []string) slack.Block {
	if len(parts) == 0 {
		parts = []string{"NthLayer"}
	}
	return goslack.NewContextBlock("", markdown(strings.Join(parts, " · ")))
}
