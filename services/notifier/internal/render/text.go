package render

import (
	"strings"
	"unicode"

	goslack "github.com/slack-go/slack"

	"github.com/nthlayer/nthlayer/pkg/slack"
)

// Bounds, all in bytes of escaped text, of which there are never fewer than what Slack counts as characters. Slack takes
// 3,000 in a section and 50 blocks (Block Kit reference), and about 13,200 in all blocks of a message together, which is
// not documented (slackapi/bolt-js issue 2509).
const (
	nameBytes     = 200  // a name, an address, a role
	lineBytes     = 500  // a message within a line
	sentenceBytes = 2500 // a sentence in the replies
	sectionBytes  = 2900
	messageBytes  = 10_000
	messageBlocks = 45
	maxReplies    = 10 // more is for the command line, not for a thread
)

var entities = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// escape puts text on one line, makes it mean nothing to Slack, and keeps it within limit bytes. Whoever could write
// <!channel> into a team's name would wake everybody otherwise. What Slack does not show, such as marks that turn the
// direction of writing, is left out.
func escape(text string, limit int) string {
	const more = "…"
	var b strings.Builder
	fits := 0 // how much may stay if something has to be left out
	gap := false
	for _, r := range text {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			gap = b.Len() > 0
			continue
		}
		if !unicode.IsPrint(r) {
			continue
		}
		if gap {
			b.WriteByte(' ')
			gap = false
		}
		b.WriteString(entities.Replace(string(r)))
		if b.Len() > limit {
			return b.String()[:fits] + more
		}
		if b.Len() <= limit-len(more) {
			fits = b.Len()
		}
	}
	return b.String()
}

// code shows an identifier as it is; empty stays empty.
func code(text string) string {
	text = escape(strings.ReplaceAll(text, "`", "'"), nameBytes)
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// markdown is text in Slack's markup. Verbatim: Slack makes no links and mentions of what only looks like them.
func markdown(text string) *goslack.TextBlockObject {
	return goslack.NewTextBlockObject(goslack.MarkdownType, text, false, true)
}

func section(text string) slack.Block { return goslack.NewSectionBlock(markdown(text), nil, nil) }
