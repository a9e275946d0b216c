package render

import (
	"html"
	"regexp"
	"strings"

	goslack "github.com/slack-go/slack"
)

// linked is Slack's markup for a link with a name. Text from outside holds no such brackets: they are escaped.
var linked = regexp.MustCompile(`<([^|>]*)\|([^>]*)>`)

// Plain is a message, and the replies of its thread, as text without markup.
func Plain(messages ...Message) string {
	var paragraphs []string
	for _, m := range messages {
		for _, block := range m.Blocks {
			var text string
			switch b := block.(type) {
			case *goslack.ActionBlock:
				continue // text has no buttons
			case *goslack.SectionBlock:
				text = b.Text.Text
			case *goslack.ContextBlock:
				for _, element := range b.ContextElements.Elements {
					if t, ok := element.(*goslack.TextBlockObject); ok {
						text += t.Text
					}
				}
			}
			paragraphs = append(paragraphs, unmarked(text))
		}
	}
	return strings.Join(paragraphs, "\n\n") + "\n"
}

// dated is Slack's markup for a moment, which each reader sees in their own time zone, with what stands for it elsewhere.
var dated = regexp.MustCompile(`<!date\^[^|>]*\|([^>]*)>`)

var marks = strings.NewReplacer("*", "", "`", "")

func unmarked(text string) string {
	text = dated.ReplaceAllString(text, "$1")
	return html.UnescapeString(marks.Replace(linked.ReplaceAllString(text, "$2: $1")))
}

// Notification is what a phone shows of a message.
func Notification(m Message) string { return html.UnescapeString(m.Text) }
