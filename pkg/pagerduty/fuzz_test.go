package pagerduty

import (
	"encoding/json"
	"testing"

	pd "github.com/PagerDuty/go-pagerduty"

	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// FuzzDecode: whatever PagerDuty sends, a page has rows and says whether there are more, or is an error; error bodies
// never make decoding fail.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `[]`,
		`{"members":[{"user":{"id":"P1","email":"a@b.c","role":"user"},"role":"manager"}],"limit":100,"offset":0,"more":false,"total":1}`,
		`{"members":[],"more":true,"total":null}`,
		`{"error":{"message":"Invalid Input Provided","code":2001,"errors":["x"]}}`,
		`{"error":{"message":"m","code":2001,"errors":"x"}}`, `{"error":["x"]}`, `{"error":"x"}`, `{"error":null}`,
	} {
		f.Add([]byte(seed))
	}
	members := list{route: routeMembers, key: "members"}
	f.Fuzz(func(t *testing.T, body []byte) {
		var answer map[string]json.RawMessage
		if json.Unmarshal(body, &answer) == nil {
			if p, err := decodePage[member](answer, members); err == nil && p.rows == nil {
				t.Fatal("a page without rows was accepted")
			}
			_, _ = decodePage[pd.EscalationPolicy](answer, list{route: "/escalation_policies", key: "escalation_policies"})
		}
		for _, status := range []int{302, 400, 401, 404, 500} {
			if refusal(call{method: "DELETE", route: routeMember}, upstream.Answer{Status: status, Body: body}) == nil {
				t.Fatal("a refusal became a success")
			}
			_, _ = classify(status, body)
		}
	})
}
