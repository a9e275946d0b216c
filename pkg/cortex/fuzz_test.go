package cortex

import (
	"testing"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// FuzzDecode: whatever Cortex sends, decoding ends in a value or an error, a team is never of another name than asked,
// and nobody is in it twice.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `[]`, `{}`, `{"teamTag":"payments"}`,
		`{"id":"en1","teamTag":"payments","cortexTeam":{"members":[{"email":"a@b.c","roles":[{"tag":"manager"}]},{"email":"A@b.c ","role":"x"}]}}`,
		`{"teamTag":"payments","idpGroup":{"members":[{"id":"1","roles":[{"name":"m"}]},{"id":"2","role":{"tag":"t"}}]}}`,
		`{"entities":[{"id":"1","tag":"t","members":[{"email":"a@b.c"}]}],"total":1}`,
		`[{"key":"pagerduty-team-id","value":"P1"},{"key":"x","value":{"y":[1]}}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if team, err := decodeTeam(body, "payments"); err == nil {
			if team.Members == nil {
				t.Fatal("a team whose members are not known was accepted")
			}
			noDoubles(t, team.Members)
		}
		if rows, _, err := decodeCatalog(body); err == nil {
			for _, row := range rows {
				noDoubles(t, row.desired().Members)
			}
		}
		if rows, err := decodeCustomData(body); err == nil {
			for _, row := range rows {
				_, _ = row.target()
			}
		}
	})
}

func noDoubles(t *testing.T, members []ownership.Member) {
	seen := map[string]bool{}
	for _, m := range members {
		email := ownership.NormalizeEmail(m.Email)
		if email != "" && seen[email] {
			t.Fatalf("%q is a member twice", email)
		}
		seen[email] = true
	}
}
