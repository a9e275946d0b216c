package wire_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// ruled is an ignore rule as REST shows it.
type ruled struct {
	RuleID    string    `json:"rule_id"`
	TeamID    string    `json:"team_id"`
	Kind      string    `json:"kind"`
	Value     string    `json:"value"`
	Owner     string    `json:"owner"`
	Status    string    `json:"status"`
	CreatedBy string    `json:"created_by"`
	DeletedBy string    `json:"deleted_by"`
	ExpiresAt time.Time `json:"expires_at"`
}

func (s *system) rules(query string) (rules []ruled) {
	s.t.Helper()
	status, body, _ := s.call(s.t, "GET", "/v1/ignore-rules"+query, s.token("vera", "nthlayer/viewer"), "")
	require.Equal(s.t, http.StatusOK, status, body)
	return read[struct{ Rules []ruled }](s.t, body).Rules
}

func TestIgnoreRules_CreatedShownAndDeleted(t *testing.T) {
	s := start(t)
	require.NoError(t, s.db.Declare(t.Context(), []ownership.Desired{{TeamID: "payments"}}))
	operator := s.token("olaf", "nthlayer/operator")
	create := func(body string) ruled {
		status, answer, _ := s.call(t, "POST", "/v1/ignore-rules", operator, body)
		require.Equal(t, http.StatusOK, status, answer)
		return read[ruled](t, answer)
	}
	ann := create(`{"team_id":"payments","kind":"person","value":"ann@example.org","reason":"on loan","owner":"sre@example.org"}`)
	require.Equal(t, "active", ann.Status)
	require.Equal(t, "olaf", ann.CreatedBy)
	require.WithinDuration(t, time.Now().Add(90*24*time.Hour), ann.ExpiresAt, time.Minute)
	require.Equal(t, "payments", create(`{"team_id":"payments","kind":"team","reason":"split","owner":"sre"}`).Value)
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	create(fmt.Sprintf(`{"kind":"team","value":"sandbox/*","reason":"no pager","owner":"sre","expires_at":%q}`, end.Format(time.RFC3339)))
	require.Len(t, s.rules(""), 3)
	require.Len(t, s.rules("?team_id=storage"), 1, "the fleet's")
	require.Len(t, s.rules("?team_id=payments&kind=person"), 1)

	status, body, _ := s.call(t, "GET", "/v1/teams/payments", operator, "")
	require.Equal(t, http.StatusOK, status)
	require.Len(t, read[struct {
		IgnoreRules []ruled `json:"ignore_rules"`
	}](t, body).IgnoreRules, 2, "those that cover the team")

	status, body, _ = s.call(t, "DELETE", "/v1/ignore-rules/"+ann.RuleID, operator, "")
	require.Equal(t, http.StatusNotFound, status, "it is not the fleet's: %s", body)
	for range 2 {
		status, body, _ = s.call(t, "DELETE", "/v1/ignore-rules/"+ann.RuleID+"?team_id=payments", operator, "")
		require.Equal(t, http.StatusOK, status, body)
		require.Equal(t, "deleted", read[ruled](t, body).Status)
	}
	require.Len(t, s.rules(""), 2)
	require.Len(t, s.rules("?past=true"), 3)
	status, body, _ = s.call(t, "GET", "/v1/ignore-rules?page_size=1", operator, "")
	require.Equal(t, http.StatusOK, status)
	require.NotEmpty(t, read[struct {
		Next string `json:"next_page_token"`
	}](t, body).Next)
}

// A rule needs a reason and somebody to ask, and hides nothing for ever.
func TestCreateIgnoreRule_BadRequest_NamesTheField(t *testing.T) {
	s := start(t)
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	for field, body := range map[string]string{
		"reason":     `{"kind":"person","value":"ann@example.org","owner":"sre"}`,
		"owner":      `{"kind":"person","value":"ann@example.org","reason":"x"}`,
		"kind":       `{"kind":"thing","value":"ann@example.org","reason":"x","owner":"sre"}`,
		"value":      `{"kind":"role","value":"boss","reason":"x","owner":"sre"}`,
		"expires_at": `{"kind":"role","value":"observer","reason":"x","owner":"sre","expires_at":"` + in(-time.Hour) + `"}`,
		"team_id":    `{"team_id":"*","kind":"role","value":"observer","reason":"x","owner":"sre"}`,
	} {
		status, answer, _ := s.call(t, "POST", "/v1/ignore-rules", s.token("olaf", "nthlayer/operator"), body)
		require.Equal(t, http.StatusBadRequest, status, answer)
		require.Contains(t, answer, `"`+field+`"`)
	}
	long := `{"kind":"role","value":"observer","reason":"x","owner":"sre","expires_at":"` + in(400*24*time.Hour) + `"}`
	status, answer, _ := s.call(t, "POST", "/v1/ignore-rules", s.token("olaf", "nthlayer/operator"), long)
	require.Equal(t, http.StatusBadRequest, status, answer)
	require.Empty(t, s.rules("?past=true"))
}

func TestIgnoreRules_WhoMay(t *testing.T) {
	s := start(t)
	const body = `{"kind":"role","value":"observer","reason":"x","owner":"sre"}`
	for scope, want := range map[string]int{"": http.StatusForbidden, "nthlayer/viewer": http.StatusForbidden, "nthlayer/operator": http.StatusOK} {
		status, answer, _ := s.call(t, "POST", "/v1/ignore-rules", s.token("somebody", scope), body)
		require.Equal(t, want, status, "%s: %s", scope, answer)
	}
	id := s.rules("")[0].RuleID
	for _, r := range []struct{ method, path, token string }{
		{"GET", "/v1/ignore-rules", s.token("nobody")},
		{"DELETE", "/v1/ignore-rules/" + id, s.token("vera", "nthlayer/viewer")},
	} {
		status, answer, _ := s.call(t, r.method, r.path, r.token, "")
		require.Equal(t, http.StatusForbidden, status, answer)
	}
	require.Len(t, s.rules(""), 1)
}
