package report

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// Bounds of what comes from outside, in characters.
const (
	nameRunes    = 200
	messageRunes = 1000
)

// clean puts text on one line and keeps it within limit characters. What nobody sees, such as escape sequences of
// terminals and marks that turn the direction of writing, is left out.
func clean(text string, limit int) string {
	var b strings.Builder
	size, gap := 0, false
	for _, r := range text {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			gap = size > 0
			continue
		}
		if !unicode.IsPrint(r) {
			continue
		}
		if gap {
			b.WriteByte(' ')
			size++
			gap = false
		}
		if size++; size > limit {
			return b.String() + "…"
		}
		b.WriteRune(r)
	}
	return b.String()
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// at shows a moment; none is nothing.
func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02")
}

// link is an address that may be opened; anything else is nothing.
func link(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return ""
	}
	return u.String() // escapes what would end it
}
