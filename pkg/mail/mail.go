// Package mail sends e-mails, over SMTP or through Amazon SES.
//
// E-mail promises less than it seems: a server that took a message and whose answer was lost cannot be asked whether it
// did. Such an error is fault.Deadline; whoever sends again may tell somebody twice. Every message therefore carries its
// delivery's key, in the Message-ID and in a header of its own, by which servers and people recognise the second one.
//
// The other kinds: Invalid, Precondition: a person must change something, the text has the server's words; Throttled,
// Unavailable: try again later, nothing was sent; Canceled: the caller gave up before anything was sent.
package mail

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/mail"
	"regexp"
	"strings"
	"unicode"

	gomail "github.com/wneessen/go-mail"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// KeyHeader holds the delivery's key. SES replaces a Message-ID by its own, and leaves this one.
const KeyHeader = "X-NthLayer-Delivery"

// Message is one e-mail to one address. Both bodies say the same.
type Message struct {
	Key     string // the delivery's key
	To      string // the bare address
	Subject string
	Text    string
	HTML    string
}

// Address is who sends.
type Address struct{ parsed *mail.Address }

// ParseAddress reads an address, with or without a name: NthLayer <nthlayer@example.org>.
func ParseAddress(text string) (Address, error) {
	parsed, err := mail.ParseAddress(text)
	if err != nil || strings.ContainsFunc(parsed.Address, unusable) {
		return Address{}, fault.New(fault.Invalid, "must be an e-mail address such as NthLayer <nthlayer@example.org>", err)
	}
	return Address{parsed}, nil
}

// unusable characters end an address in a command of SMTP, or begin another one.
func unusable(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '<' || r == '>' }

// MessageID is that of the message with this key from this sender: the same for every attempt.
func (a Address) MessageID(key string) string {
	sum := sha256.Sum256([]byte(key))
	domain := a.parsed.Address[strings.LastIndexByte(a.parsed.Address, '@')+1:]
	return "nthlayer." + hex.EncodeToString(sum[:16]) + "@" + domain
}

// recipient checks whom a message goes to.
func recipient(to string) (string, error) {
	parsed, err := mail.ParseAddress(to)
	if err != nil || parsed.Address != to || strings.ContainsFunc(to, unusable) {
		return "", fault.New(fault.Invalid, "the address of the delivery is no e-mail address", nil).WithReason("EMAIL_ADDRESS_INVALID")
	}
	return parsed.Address, nil
}

// prepare composes the message for somebody who still waits for it.
func prepare(ctx context.Context, from Address, m Message) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.New(fault.Canceled, "the e-mail was not sent: the service stops", err)
	}
	return compose(from, m)
}

// compose writes the message with its headers, ready to be sent.
func compose(from Address, m Message) ([]byte, error) {
	to, err := recipient(m.To)
	if err != nil {
		return nil, err
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(from.parsed)
	msg.ToMailAddress(&mail.Address{Address: to})
	msg.Subject(oneLine(m.Subject))
	msg.SetMessageIDWithValue(from.MessageID(m.Key))
	msg.SetDate()
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's absence answers it
	msg.SetGenHeader("X-Auto-Response-Suppress", "All")
	msg.SetGenHeader(KeyHeader, oneLine(m.Key))
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	var b strings.Builder
	if _, err := msg.WriteTo(&b); err != nil {
		return nil, fault.New(fault.Internal, "the message cannot be written", err)
	}
	return []byte(b.String()), nil
}

// oneLine makes what stands in a header stay in it.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}

// said is what a server answered, fit to be shown and logged: on one line, and without the recipient's address.
func said(words, to string) string {
	const most = 300
	words = regexp.MustCompile("(?i)<?"+regexp.QuoteMeta(to)+">?").ReplaceAllString(oneLine(words), "[address]")
	if len(words) > most {
		words = strings.ToValidUTF8(words[:most], "") + "…"
	}
	return words
}

func unsure(text string, cause error) *fault.Error {
	return fault.New(fault.Deadline, text+"; it may have been sent", cause).WithReason("EMAIL_EFFECT_UNKNOWN")
}
