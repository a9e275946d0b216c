package slack

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

// user is somebody in the workspace.
type user struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Email   string `json:"email"`
	TeamID  string `json:"team_id"`
	Bot     bool   `json:"is_bot"`
	Deleted bool   `json:"deleted"`
	Guest   bool   `json:"is_restricted"`
	Single  bool   `json:"is_ultra_restricted"` // a guest of one channel
	Strange bool   `json:"is_stranger"`         // of another organisation, seen through a shared channel
	Claimed bool   `json:"email_unconfirmed"`
	Hidden  bool   `json:"email_hidden"` // as where the app lacks users:read.email
}

// LoadOrg makes the organisation's people members of the workspace. Messages stay.
func (s *Server) LoadOrg(o *org.Org) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.users)
	clear(s.byEmail)
	for _, p := range o.People {
		s.add(user{Email: p.Address(), Name: p.Handle})
	}
	return nil
}

// add makes somebody known, or known otherwise. The caller holds the lock.
func (s *Server) add(u user) {
	key := strings.ToLower(u.Email)
	u.ID = "U" + hash(key, 10)
	if u.TeamID == "" {
		u.TeamID = teamID
	}
	if u.Name == "" {
		u.Name, _, _ = strings.Cut(key, "@")
	}
	s.users[u.ID], s.byEmail[key] = &u, &u
}

// UserID is the id of somebody in the workspace; empty: nobody has the address.
func (s *Server) UserID(email string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.byEmail[strings.ToLower(email)]; u != nil {
		return u.ID
	}
	return ""
}

func (s *Server) lookup(_ http.ResponseWriter, args url.Values) object {
	u := s.byEmail[strings.ToLower(args.Get("email"))]
	if u == nil || u.Deleted {
		return refuse("users_not_found")
	}
	return object{"ok": true, "user": u.show()}
}

func (s *Server) info(_ http.ResponseWriter, args url.Values) object {
	u := s.users[args.Get("user")]
	if u == nil {
		return refuse("user_not_found")
	}
	return object{"ok": true, "user": u.show()}
}

func (u *user) show() object {
	shown := object{
		"id": u.ID, "team_id": u.TeamID, "name": u.Name, "deleted": u.Deleted, "is_bot": u.Bot,
		"is_email_confirmed": !u.Claimed, "profile": object{"real_name": u.Name},
	}
	if !u.Hidden {
		shown["profile"] = object{"email": u.Email, "real_name": u.Name}
	}
	if !u.Deleted { // Slack leaves these out of a user that is gone
		shown["is_restricted"], shown["is_ultra_restricted"] = u.Guest || u.Single, u.Single
	}
	if u.Strange {
		shown["is_stranger"] = true
	}
	return shown
}

// Controls lets tests add people that no organisation has, put what a person wrote into a channel, and say where the app is.
func (s *Server) Controls() map[string]func(read func(into any) error) error {
	return map[string]func(read func(into any) error) error{
		"POST /_control/users": func(read func(any) error) error {
			var u user
			if err := read(&u); err != nil {
				return err
			}
			if u.Email == "" {
				return fault.Field("email", "is missing")
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.add(u)
			return nil
		},
		"POST /_control/messages": func(read func(any) error) error {
			var said struct{ Channel, User, Text string }
			if err := read(&said); err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			by := s.who(said.User)
			if by == nil {
				return fault.Field("user", "must be the id or the e-mail address of a member of the workspace")
			}
			m := &message{Channel: channelID(said.Channel), TS: s.nextTS(), User: by.ID, Text: said.Text}
			s.messages = append(s.messages, m)
			s.posted[m.Channel] = append(s.posted[m.Channel], m)
			s.byTS[m.Channel+m.TS] = m
			return nil
		},
		"PUT /_control/interactions": func(read func(any) error) error {
			var at struct {
				URL           string `json:"url"`
				SigningSecret string `json:"signing_secret"`
			}
			if err := read(&at); err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.app.url, s.app.secret = at.URL, at.SigningSecret
			return nil
		},
	}
}

// who is somebody by their id or their e-mail address. The caller holds the lock.
func (s *Server) who(given string) *user {
	if u := s.users[given]; u != nil {
		return u
	}
	return s.byEmail[strings.ToLower(given)]
}
