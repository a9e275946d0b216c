package audit_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/audit"
)

func TestGlob_StarIsAnythingAndQuestionMarkOneCharacter(t *testing.T) {
	for pattern, c := range map[string]struct{ in, out []string }{
		"payments":   {[]string{"payments", "Payments", "PAYMENTS"}, []string{"payments-eu", "eu-payments", ""}},
		"payments-*": {[]string{"payments-", "payments-eu", "payments-eu/west"}, []string{"payments", "x-payments-eu"}},
		"*/platform": {[]string{"acme/platform", "acme/eu/Platform", "/platform"}, []string{"platform", "acme/platform/x"}},
		"*":          {[]string{"", "a", "a/b", "a\nb"}, nil},
		"team-?":     {[]string{"team-1", "team-ä", "team-/"}, []string{"team-", "team-10"}},
		"*a*b*":      {[]string{"ab", "xaybz", "a/b"}, []string{"ba"}},
		"a.b":        {[]string{"a.b", "A.B"}, []string{"axb"}},
		"(a|b)+[c]":  {[]string{"(a|b)+[c]"}, []string{"a", "abc"}},
		"^a$":        {[]string{"^a$"}, []string{"a"}},
		`a\*`:        {[]string{`a\`, `a\b`}, []string{"a*", "ab"}},
		`\d`:         {[]string{`\d`}, []string{"1"}},
		"":           {[]string{""}, []string{"a"}},
		"a\xffb":     {nil, []string{"ab"}},
		"straße":     {[]string{"straße", "STRAßE"}, []string{"strasse"}},
	} {
		g := audit.NewGlob(pattern)
		for _, s := range c.in {
			require.True(t, g.Match(s), "%q matches %q", pattern, s)
		}
		for _, s := range c.out {
			require.False(t, g.Match(s), "%q does not match %q", pattern, s)
		}
	}
}

func TestScope_IncludedAndNotExcluded(t *testing.T) {
	for name, c := range map[string]struct {
		scope   audit.Scope
		whole   bool
		in, out []string
	}{
		"all":       {audit.Scope{}, true, []string{"a", "a/b", ""}, nil},
		"some":      {audit.Scope{Include: []string{"a*", "b"}}, false, []string{"a", "A1", "b"}, []string{"b1", "c"}},
		"all but":   {audit.Scope{Exclude: []string{"a*"}}, false, []string{"b"}, []string{"a", "A/b"}},
		"some but":  {audit.Scope{Include: []string{"a*"}, Exclude: []string{"*-old"}}, false, []string{"a"}, []string{"a-old", "b", "b-old"}},
		"nothing":   {audit.Scope{Include: []string{"a"}, Exclude: []string{"*"}}, false, nil, []string{"a", "b"}},
		"all twice": {audit.Scope{Include: []string{"*"}}, false, []string{"a", "a/b"}, nil},
	} {
		require.Equal(t, c.whole, c.scope.Whole(), name)
		teams := c.scope.Compile()
		for _, id := range c.in {
			require.True(t, teams.Matches(id), "%s: %q", name, id)
		}
		for _, id := range c.out {
			require.False(t, teams.Matches(id), "%s: %q", name, id)
		}
	}
}

// matches is what Glob means, in the plainest way.
func matches(pattern, s []rune) bool {
	switch {
	case len(pattern) == 0:
		return len(s) == 0
	case pattern[0] == '*':
		return matches(pattern[1:], s) || len(s) > 0 && matches(pattern, s[1:])
	case len(s) == 0:
		return false
	case pattern[0] == '?' || strings.EqualFold(string(pattern[0]), string(s[0])):
		return matches(pattern[1:], s[1:])
	}
	return false
}

// FuzzGlob: any text is a pattern, and matches what its plainest reading does.
func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{
		{"*", "a/b"}, {"a*b?c", "aXXbYc"}, {"(?i)x", "X"}, {`\Q*\E`, `\Qx\E`}, {"[a-", "[a-"}, {"a{2,1}", "aa"}, {"\xff*", "\xffa"},
		{"K", "\u212a"}, {"ſ", "S"}, {"$^", "$^"}, {"a\nb", "a\nb"}, {"\uFFFD", "\xff"}, {"**?**", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		g := audit.NewGlob(pattern)
		if strings.Count(pattern, "*") > 3 || len(s) > 40 {
			return // the plainest way is not a fast one
		}
		// What is no UTF-8 stands for the character that says so, as PostgreSQL is given it.
		pattern, s = strings.ToValidUTF8(pattern, "\uFFFD"), strings.ToValidUTF8(s, "\uFFFD")
		if got, want := g.Match(s), matches([]rune(pattern), []rune(s)); got != want {
			t.Fatalf("%q matches %q: %v, and should say %v", pattern, s, got, want)
		}
	})
}
