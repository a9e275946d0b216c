package render

import (
	"fmt"

	"github.com/nthlayer/nthlayer/pkg/slack"
)

// list is a heading with lines, each within sectionBytes.
type list struct {
	title string
	lines []string
}

// packer fills sections with lines and messages with sections.
type packer struct {
	messages [][]slack.Block
	blocks   []slack.Block // of the message that is being filled
	size     int           // bytes in blocks
	text     string        // of the section that is being filled
}

// pack spreads lists over as few messages as Slack's limits allow, and over no more than maxReplies. whole is the command
// that shows everything.
func pack(lists []list, name, whole string) []Message {
	var p packer
	for _, l := range lists {
		if len(l.lines) == 0 {
			continue
		}
		p.endSection()
		p.text = "*" + l.title + "*"
		for _, line := range l.lines {
			p.add(line)
		}
	}
	p.endMessage()
	dropped := len(p.messages) > maxReplies
	if dropped {
		p.messages = p.messages[:maxReplies]
		last := &p.messages[maxReplies-1]
		*last = append(*last, section("…and more: "+code(whole)+" shows everything"))
	}
	out := make([]Message, len(p.messages))
	for i, blocks := range p.messages {
		out[i] = Message{Text: fmt.Sprintf("%s: details, part %d of %d", name, i+1, len(out)), Blocks: blocks}
	}
	return out
}

func (p *packer) add(line string) {
	if p.text != "" && len(p.text)+len("\n")+len(line) > sectionBytes {
		p.endSection()
	}
	if p.text != "" {
		p.text += "\n"
	}
	p.text += line
}

func (p *packer) endSection() {
	if p.text == "" {
		return
	}
	// 200 bytes and a few blocks stay free for the line that says that there is more.
	if len(p.blocks) == messageBlocks || p.size+len(p.text) > messageBytes-nameBytes {
		p.endFullMessage()
	}
	p.blocks = append(p.blocks, section(p.text))
	p.size += len(p.text)
	p.text = ""
}

func (p *packer) endMessage() {
	p.endSection()
	p.endFullMessage()
}

func (p *packer) endFullMessage() {
	if len(p.blocks) > 0 {
		p.messages = append(p.messages, p.blocks)
	}
	p.blocks, p.size = nil, 0
}
