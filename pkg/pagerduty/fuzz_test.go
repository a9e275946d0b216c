package pagerduty

import (
	"encoding/json"
	"slices"
	"testing"

	pd "github.com/PagerDuty/go-pagerduty"

	"github.com/nthlayer/nthlayer/pkg/fault"
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

// FuzzRecords: whatever PagerDuty sends as its audit trail, each record says what was changed when, or there is none.
func FuzzRecords(f *testing.F) {
	whole := `{"id":"PR1","execution_time":"2026-09-01T12:00:00.272Z","root_resource":{"id":"PT1","type":"team_reference"},"action":"update"`
	for _, seed := range []string{
		``, `null`, `{}`, `{"records":null,"next_cursor":null}`, `{"records":[]}`, `{"records":[],"next_cursor":"c"}`, `{"records":[null],"next_cursor":7}`,
		`{"records":[` + whole + `}],"next_cursor":null,"limit":100}`,
		`{"records":[` + whole + `,"actors":[{"id":"PU1","summary":"Ann"}],"method":{"type":"api_token","truncated_token":"2adm"},
		"details":{"resource":{"id":"PU2","type":"user_reference"},"references":[{"name":"members","added":[{"id":"PU1"}],"removed":null}],
		"fields":[{"name":"members.role","value":7}]}}],"next_cursor":"x"}`,
		`{"records":[` + whole + `,"actors":{},"method":[],"details":"no","execution_context":null}],"next_cursor":""}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var answer map[string]json.RawMessage
		if json.Unmarshal(body, &answer) != nil {
			return
		}
		records, _, err := decodeRecords(answer)
		if err != nil {
			if len(records) > 0 || !fault.Is(err, fault.Incomplete) {
				t.Fatalf("%d records with %v", len(records), err)
			}
			return
		}
		for _, r := range records {
			if r.ID == "" || r.RootID == "" || r.RootType == "" || slices.Contains(r.Users, "") {
				t.Fatalf("half a record was accepted: %+v", r)
			}
		}
	})
}
