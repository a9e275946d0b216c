package pagerduty_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	simulator "github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
)

func TestUserKey_MakesATeam_ItsUserManagesIt(t *testing.T) {
	a := newAccount(t)
	a.server.SetUserTokens(map[string]string{"anns": "Ann@Example.org", "admins": "admin@example.org"})
	for token, want := range map[string]map[string]string{
		"key":    {}, // the account's key has no user
		"anns":   {"ann": "manager"},
		"admins": {"admin": "manager"},
	} {
		id := a.create(token)
		require.Empty(t, a.members(id), "the membership shows a moment late as others do")
		a.now = a.now.Add(time.Second)
		require.Equal(t, want, a.members(id), token)
	}
	require.Contains(t, a.ask("anns", "GET", "/users/me", "").Body.String(), "ann@example.org")
	require.Equal(t, http.StatusBadRequest, a.ask("key", "GET", "/users/me", "").Code)
}

func TestUserKey_ActsWithItsUsersRights(t *testing.T) {
	handles := []string{"owner", "admin", "user", "lead", "responder", "observer", "stakeholder"}
	tokens := map[string]string{}
	for _, h := range handles {
		tokens[h] = h + "@example.org"
	}
	for _, c := range []struct {
		method, path, body string
		allowed            string
	}{
		{"GET", "/teams/PSRE001/members", "", "owner admin user lead responder observer stakeholder"},
		{"POST", "/teams", `{"team":{"name":"acme/new"}}`, "owner admin user"},
		{"DELETE", "/teams/PSRE001", "", "owner admin user"},
		{"PUT", "/teams/PSRE001", `{"team":{"description":"d"}}`, "owner admin user lead"},
		{"PUT", "/teams/PSRE001/users/{ben}", `{"role":"observer"}`, "owner admin user lead"},
		{"DELETE", "/teams/PSRE001/users/{ben}", "", "owner admin user lead"},
		{"PUT", "/users/{ben}", `{"user":{"name":"Benjamin"}}`, "owner admin"},
		{"PUT", "/users/{observer}", `{"user":{"name":"me"}}`, "owner admin observer"},
		{"DELETE", "/users/{ben}", "", "owner admin"},
	} {
		for _, h := range handles {
			a := newAccount(t)
			a.server.SetUserTokens(tokens)
			path := strings.NewReplacer("{ben}", a.id("ben"), "{observer}", a.id("observer")).Replace(c.path)
			answer := a.ask(h, c.method, path, c.body)
			if strings.Contains(" "+c.allowed+" ", " "+h+" ") {
				require.Less(t, answer.Code, 300, "%s: %s %s", h, c.method, c.path)
				continue
			}
			require.Equal(t, http.StatusForbidden, answer.Code, "%s: %s %s", h, c.method, c.path)
			require.JSONEq(t, `{"error":{"code":2010,"message":"Access Denied"}}`, answer.Body.String())
		}
	}
}

func TestUserKey_OfNobody_IsRefused(t *testing.T) {
	a := newAccount(t)
	a.server.SetUserTokens(map[string]string{"theirs": "somebody@example.org", "": "ann@example.org"})
	for _, token := range []string{"theirs", "", "another"} {
		require.Equal(t, http.StatusUnauthorized, a.ask(token, "GET", "/abilities", "").Code, token)
	}
	header := httptest.NewRequest("GET", "/abilities", nil)
	header.Header.Set("Authorization", "Token token=")
	answer := httptest.NewRecorder()
	a.server.ServeHTTP(answer, header)
	require.Equal(t, http.StatusUnauthorized, answer.Code)

	a.server.SetUserTokens(map[string]string{"theirs": a.id("ben")})
	require.Equal(t, http.StatusOK, a.ask("theirs", "GET", "/abilities", "").Code)
	a.must("DELETE", "/users/"+a.id("ben"), "")
	require.Equal(t, http.StatusUnauthorized, a.ask("theirs", "GET", "/abilities", "").Code, "the key goes with its user")
}

func TestNew_UserTokens_AreTaken(t *testing.T) {
	a := newAccount(t)
	o, err := org.Decode(strings.NewReader(people))
	require.NoError(t, err)
	a.server = simulator.New(simulator.Options{UserTokens: map[string]string{"anns": "ann@example.org"}})
	require.Equal(t, http.StatusUnauthorized, a.ask("anns", "GET", "/users/me", "").Code, "nobody is in the account yet")
	require.NoError(t, a.server.LoadOrg(o))
	require.Equal(t, http.StatusOK, a.ask("anns", "GET", "/users/me", "").Code)
	require.Equal(t, http.StatusUnauthorized, a.ask("", "GET", "/users/me", "").Code)
}

func TestUserKeys_QuotaIsTheUsersOwn(t *testing.T) {
	a := newAccount(t)
	a.server.SetUserTokens(map[string]string{"anns": "ann@example.org", "anns second": "ann@example.org", "bens": "ben@example.org"})
	a.server.Control().SetLimits(control.Limits{PerMinute: 2})
	for _, c := range []struct {
		token string
		want  int
	}{
		{"anns", 200}, {"anns second", 200}, {"anns", 429}, {"anns second", 429}, {"bens", 200}, {"key", 200}, {"key", 200}, {"key", 429},
	} {
		answer := a.ask(c.token, "GET", "/abilities", "")
		require.Equal(t, c.want, answer.Code, c.token)
		require.Equal(t, "2", answer.Header().Get("ratelimit-limit"))
	}
	a.now = a.now.Add(time.Minute)
	require.Equal(t, http.StatusOK, a.ask("anns", "GET", "/abilities", "").Code)
}

func TestControl_UserTokens_NameSomebodyOrAreRefused(t *testing.T) {
	a := newAccount(t)
	a.server.SetUserTokens(map[string]string{"old": "ben@example.org"})
	for body, want := range map[string]string{
		`{"anns":"nobody@example.org"}`: `nobody has the id or e-mail address \"nobody@example.org\"`,
		`{"":"ann@example.org"}`:        "must not be empty",
		`{"anns":7}`:                    "number",
	} {
		answer := a.ask("", "PUT", "/_control/user_tokens", body)
		require.Equal(t, http.StatusBadRequest, answer.Code, body)
		require.Contains(t, answer.Body.String(), want)
	}
	require.Equal(t, http.StatusOK, a.ask("old", "GET", "/users/me", "").Code, "what was refused changed nothing")

	// The account's own key may become a user's: so a system that has it already acts as that user.
	require.Equal(t, http.StatusNoContent, a.ask("", "PUT", "/_control/user_tokens", `{"anns":"`+a.id("ann")+`","key":"ann@example.org"}`).Code)
	for _, token := range []string{"anns", "key"} {
		require.Contains(t, a.ask(token, "GET", "/users/me", "").Body.String(), "ann@example.org")
	}
	require.Equal(t, http.StatusUnauthorized, a.ask("old", "GET", "/users/me", "").Code, "all of them are replaced")
}
