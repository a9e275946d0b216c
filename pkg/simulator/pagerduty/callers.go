package pagerduty

import (
	"context"
	"crypto/subtle"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

type callerKey struct{}

// caller is who makes a request.
type caller struct {
	userID string // empty: the account's own key, which has no user
	token  string
}

func callerOf(r *http.Request) caller {
	c, _ := r.Context().Value(callerKey{}).(caller)
	return c
}

// callerID is the id of the user whose key a request carries; empty: the account's own key, which has no user.
func callerID(r *http.Request) string { return callerOf(r).userID }

// SetUserTokens replaces the API keys of users: token → the user's id or e-mail address. A key of a user acts with that
// user's rights. The account's own token may be given to a user as well. A key of somebody who is not in the account
// is refused until somebody is.
func (s *Server) SetUserTokens(tokens map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.userTokens = maps.Clone(tokens)
}

// Controls lets users' keys be set from outside.
func (s *Server) Controls() map[string]func(read func(into any) error) error {
	return map[string]func(func(any) error) error{"PUT /_control/user_tokens": func(read func(any) error) error {
		var tokens map[string]string
		if err := read(&tokens); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for token, who := range tokens {
			if token == "" {
				return fault.Field("user_tokens", "a token must not be empty")
			}
			if s.account.find(who) == nil {
				return fault.Field("user_tokens", fmt.Sprintf("nobody has the id or e-mail address %q", who))
			}
		}
		s.userTokens = tokens
		return nil
	}}
}

// find gives the user of an id or an e-mail address; nil: there is none.
func (a *account) find(idOrEmail string) *user {
	if u := a.users[idOrEmail]; u != nil {
		return u
	}
	return a.users[a.emails[strings.ToLower(idOrEmail)]]
}

// authenticated wants a key as PagerDuty spells it, or as an OAuth token: the account's, or a user's.
func (s *Server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Token token=")
		if !ok {
			given, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		}
		userID, known := s.whose(given)
		if !ok || !known {
			reply(w, http.StatusUnauthorized, failure(2006, "The request was not authenticated"))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller{userID, given})))
	})
}

// whose gives the id of the user that a token belongs to; empty: the account itself.
func (s *Server) whose(token string) (userID string, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if who, users := s.userTokens[token]; users && token != "" {
		u := s.account.find(who)
		if u == nil {
			return "", false
		}
		return u.id, true
	}
	return "", s.token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
}

// mayMakeTeams: creating and deleting teams takes the base role Manager ("user" in the API) or more (PagerDuty support,
// "Teams"). The account's key may do everything.
func (s *Server) mayMakeTeams(r *http.Request) bool {
	return callerID(r) == "" || slices.Contains([]string{roleOwner, roleAdmin, roleUser}, s.callerRole(r))
}

// mayManage: managers of a team may change it as well.
func (s *Server) mayManage(r *http.Request, t *team) bool {
	i := t.index(callerID(r))
	return s.mayMakeTeams(r) || i >= 0 && t.members[i].role == "manager"
}

// mayManageUsers: that is for admins, and for each their own.
func (s *Server) mayManageUsers(r *http.Request, userID string) bool {
	return s.isAdmin(r) || callerID(r) == userID
}

// isAdmin: the account's key, and those of its owner and its admins.
func (s *Server) isAdmin(r *http.Request) bool {
	return callerID(r) == "" || slices.Contains([]string{roleOwner, roleAdmin}, s.callerRole(r))
}

func (s *Server) callerRole(r *http.Request) string {
	if u := s.account.users[callerID(r)]; u != nil {
		return u.role
	}
	return "" // deleted since the key was looked at
}

// getMe is for keys of users; the account's has no user.
func (s *Server) getMe(r *http.Request) (int, any) {
	u := s.account.users[callerID(r)]
	if u == nil {
		return invalid("The account's API key has no user")
	}
	return http.StatusOK, object{"user": s.showUser(u)}
}
