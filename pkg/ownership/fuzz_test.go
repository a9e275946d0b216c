package ownership_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// FuzzRoleMap: a role map that is taken does what it says: every word in it stands for the role beside it, whatever its
// case, every other word for that of *, and no word for two.
func FuzzRoleMap(f *testing.F) {
	for _, text := range []string{
		"manager=manager,*=responder", " Lead = manager , * = observer ", "a=manager,A=observer,*=responder", "*=manager,*=observer",
		"", ",", "=", "*", "*=", "*=admin", "a=manager", "a=manager=,*=observer", "ß=manager,*=observer", "İ=manager,\xff=observer,*=responder",
	} {
		f.Add(text, "lead")
	}
	f.Fuzz(func(t *testing.T, text, other string) {
		var m ownership.RoleMap
		if err := m.UnmarshalText([]byte(text)); err != nil {
			if m != nil {
				t.Fatal("a refused role map left something behind")
			}
			return
		}
		for pair := range strings.SplitSeq(text, ",") {
			word, role, _ := strings.Cut(pair, "=")
			if got := m.Of([]string{word}); string(got) != strings.TrimSpace(role) {
				t.Fatalf("%q stands for %q, and says %q", word, got, role)
			}
		}
		if _, named := m[strings.ToLower(strings.TrimSpace(other))]; !named && m.Of([]string{other}) != m["*"] {
			t.Fatalf("%q is not named, and does not stand for what * does", other)
		}
		var written []string
		for _, word := range slices.Sorted(maps.Keys(m)) {
			written = append(written, word+"="+string(m[word]))
		}
		var again ownership.RoleMap
		if err := again.UnmarshalText([]byte(strings.Join(written, ","))); err != nil || !maps.Equal(m, again) {
			t.Fatalf("%v written and read again is %v (%v)", m, again, err)
		}
	})
}
