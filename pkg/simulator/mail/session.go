package mail

import (
	"io"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const (
	plain = "PLAIN"
	login = "LOGIN"
)

// session is one connection. It implements smtp.AuthSession.
type session struct {
	server    *Server
	conn      *smtp.Conn
	encrypted bool
	user      string // who logged in
	from      string
	to        []string
}

func (s *session) AuthMechanisms() []string { return s.server.opts.Mechanisms }

func (s *session) Auth(mechanism string) (sasl.Server, error) {
	check := func(user, password string) error {
		if want, known := s.server.opts.Users[user]; !known || want != password {
			return smtp.ErrAuthFailed
		}
		s.user = user
		return s.server.refusal("auth")
	}
	switch mechanism {
	case plain:
		return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
	case login:
		return &loginServer{check: check}, nil
	default:
		return nil, smtp.ErrAuthUnknownMechanism
	}
}

// loginServer is the LOGIN mechanism, of which go-sasl has only the client's side.
type loginServer struct {
	check func(user, password string) error
	asked int
	user  string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	l.asked++
	switch {
	case l.asked == 1 && response == nil:
		return []byte("Username:"), false, nil
	case l.user == "":
		l.user = string(response)
		return []byte("Password:"), false, nil
	default:
		return nil, true, l.check(l.user, string(response))
	}
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.server.opts.Users != nil && s.user == "" {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "Authentication required"}
	}
	s.from = from
	return s.server.refusal("mail")
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return s.server.refusal("rcpt")
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	fault := s.server.take("data")
	if fault != nil && !fault.Lose {
		return fault.refusal()
	}
	s.server.keep(read(Message{At: time.Now(), From: s.from, To: s.to, User: s.user, TLS: s.encrypted}, raw))
	if fault != nil { // the client never hears that its message was taken
		return s.conn.Close()
	}
	return nil
}

func (s *session) Reset() { s.from, s.to = "", nil }

func (s *session) Logout() error { return nil }
