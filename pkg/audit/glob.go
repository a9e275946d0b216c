package audit

import (
	"strings"
	"unicode"
)

// Glob is a pattern in which * stands for anything and ? for one character, in any case. (path.Match would let a * end at a
// slash, and team ids hold slashes.) Ten thousand names are matched with a hundred patterns while a transaction waits, so
// it is not a regular expression.
type Glob []rune

// NewGlob compiles a pattern.
func NewGlob(pattern string) Glob { return fold(pattern) }

// Match reports whether the pattern stands for a text as a whole.
func (g Glob) Match(text string) bool { return g.match(fold(text)) }

// match takes each * for as little as will do; when the rest does not fit, the last * takes one more.
func (g Glob) match(text []rune) bool {
	at, star, taken := 0, -1, 0
	for i := 0; i < len(text); {
		switch {
		case at < len(g) && g[at] == '*':
			star, taken = at, i
			at++
		case at < len(g) && (g[at] == '?' || g[at] == text[i]):
			at++
			i++
		case star >= 0:
			taken++
			at, i = star+1, taken
		default:
			return false
		}
	}
	for at < len(g) && g[at] == '*' {
		at++
	}
	return at == len(g)
}

// fold makes characters equal that differ in case alone.
func fold(text string) []rune {
	return []rune(strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, strings.ToValidUTF8(text, "\uFFFD")))
}
