package slack

import (
	"encoding/json"
	"net/url"
)

// Limits of a message (Slack, "Block Kit reference"; the ceiling of all blocks together is not documented and was
// measured by slackapi/bolt-js issue 2509).
const (
	maxText        = 40_000
	maxBlocks      = 50
	maxSection     = 3_000
	maxField       = 2_000
	maxFields      = 10
	maxHeader      = 150
	maxContext     = 10
	maxActions     = 25
	maxButton      = 75
	maxValue       = 2_000
	maxID          = 255
	maxDialogTitle = 100
	maxDialogText  = 300
	maxDialogWord  = 30
	maxBlocksTotal = 13_200
)

// checkContent gives the word with which Slack refuses a message; empty: it is fine.
func (s *Server) checkContent(args url.Values) string {
	if len([]rune(args.Get("text"))) > maxText {
		return "msg_too_long"
	}
	if metadata := args.Get("metadata"); metadata != "" {
		var m struct {
			EventType    string         `json:"event_type"`
			EventPayload map[string]any `json:"event_payload"`
		}
		if json.Unmarshal([]byte(metadata), &m) != nil || m.EventType == "" {
			return "invalid_metadata_format"
		}
	}
	content := args.Get("blocks")
	if content == "" || content == "[]" || content == "null" {
		if args.Get("text") == "" {
			return "no_text"
		}
		return ""
	}
	var blocks []block
	if json.Unmarshal([]byte(content), &blocks) != nil {
		return "invalid_blocks_format"
	}
	if len(blocks) > maxBlocks {
		return "invalid_blocks"
	}
	total := 0
	for _, b := range blocks {
		size, ok := b.check()
		if !ok {
			return "invalid_blocks"
		}
		total += size
	}
	if total > maxBlocksTotal {
		return "msg_blocks_too_long"
	}
	return ""
}

type block struct {
	Type     string            `json:"type"`
	Text     *text             `json:"text"`
	Fields   []text            `json:"fields"`
	Elements []json.RawMessage `json:"elements"`
}

type text struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func (t text) within(limit int) bool {
	n := len([]rune(t.Text))
	return (t.Type == "mrkdwn" || t.Type == "plain_text") && n > 0 && n <= limit
}

// check gives the number of characters in a block, and whether Slack takes it.
func (b block) check() (size int, ok bool) {
	if b.Text != nil {
		size += len([]rune(b.Text.Text))
	}
	for _, f := range b.Fields {
		size += len([]rune(f.Text))
		if !f.within(maxField) {
			return size, false
		}
	}
	switch b.Type {
	case "header":
		return size, b.Text != nil && b.Text.Type == "plain_text" && b.Text.within(maxHeader)
	case "section":
		return size, (b.Text != nil || len(b.Fields) > 0) && (b.Text == nil || b.Text.within(maxSection)) && len(b.Fields) <= maxFields
	case "context":
		for _, e := range b.Elements {
			var t text
			if json.Unmarshal(e, &t) != nil {
				return size, false
			}
			size += len([]rune(t.Text))
		}
		return size, len(b.Elements) > 0 && len(b.Elements) <= maxContext
	case "divider":
		return size, true
	case "actions":
		for _, e := range b.Elements {
			var element button
			if json.Unmarshal(e, &element) != nil || !element.fits() {
				return size, false
			}
			size += len([]rune(element.Text.Text))
		}
		return size, len(b.Elements) > 0 && len(b.Elements) <= maxActions
	default:
		return size, b.Type != ""
	}
}

// button is an element of an actions block; of other elements only the type and the id are looked at.
type button struct {
	Type     string `json:"type"`
	ActionID string `json:"action_id"`
	Value    string `json:"value"`
	Style    string `json:"style"`
	Text     text   `json:"text"`
	Confirm  *struct {
		Title   text `json:"title"`
		Text    text `json:"text"`
		Confirm text `json:"confirm"`
		Deny    text `json:"deny"`
	} `json:"confirm"`
}

func (b button) fits() bool {
	if b.Type != "button" {
		return b.Type != "" && len(b.ActionID) <= maxID
	}
	plain := func(t text, limit int) bool { return t.Type == "plain_text" && t.within(limit) }
	c := b.Confirm
	return plain(b.Text, maxButton) && len([]rune(b.Value)) <= maxValue && len(b.ActionID) <= maxID &&
		(b.Style == "" || b.Style == "primary" || b.Style == "danger") &&
		(c == nil || plain(c.Title, maxDialogTitle) && c.Text.within(maxDialogText) && plain(c.Confirm, maxDialogWord) && plain(c.Deny, maxDialogWord))
}
