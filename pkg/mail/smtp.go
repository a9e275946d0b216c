package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// The ways to protect the connection to an SMTP server.
const (
	StartTLS = "starttls" // after the greeting, and never without (RFC 3207); port 587
	TLS      = "tls"      // from the first byte (RFC 8314); port 465
	Plain    = "none"     // not at all: for a server on this machine
)

// sendWithin bounds one message where the caller has no earlier deadline.
const sendWithin = 30 * time.Second

// SMTPConfig says which server sends, and how it is reached.
type SMTPConfig struct {
	Addr     string // host:port
	From     Address
	Security string        // StartTLS, TLS or Plain
	User     string        // empty: without a login
	Password config.Secret // sent over TLS alone
	RootCAs  *x509.CertPool
}

// SMTP sends through a server, with a connection for each message. It is safe for concurrent use.
type SMTP struct {
	cfg  SMTPConfig
	host string
	port int
}

// NewSMTP makes an SMTP; it does not call the server yet.
func NewSMTP(cfg SMTPConfig) (*SMTP, error) {
	host, text, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the SMTP server must be host:port", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the SMTP server must be host:port", err)
	}
	return &SMTP{cfg: cfg, host: host, port: port}, nil
}

// Send sends the message and gives its Message-ID.
func (s *SMTP) Send(ctx context.Context, m Message) (id string, err error) {
	content, err := prepare(ctx, s.cfg.From, m)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	link, hangUp, err := s.connect(ctx)
	defer hangUp()
	if err != nil {
		return "", fmt.Errorf("send by smtp: %w", s.before(ctx, m.To, err))
	}
	if err := transfer(link, s.cfg.From.parsed.Address, m.To, content); err != nil {
		if late, ok := errors.AsType[*lostAnswerError](err); ok {
			return "", fmt.Errorf("send by smtp: %w", unsure("the mail server got the message and did not answer", late.cause))
		}
		return "", fmt.Errorf("send by smtp: %w", s.before(ctx, m.To, err))
	}
	_ = link.Quit() // it is sent, whatever comes of this
	return s.cfg.From.MessageID(m.Key), nil
}

// lostAnswerError is the error of a message that was sent whole and not answered.
type lostAnswerError struct{ cause error }

func (l *lostAnswerError) Error() string { return "no answer to the message: " + l.cause.Error() }

// transfer is one message over a connection. A message counts only once the server has its last line, so everything that
// fails before leaves nothing behind.
func transfer(link *smtp.Client, from, to string, content []byte) error {
	if err := link.Mail("<" + from + ">"); err != nil {
		return err
	}
	if err := link.Rcpt("<" + to + ">"); err != nil {
		return err
	}
	w, err := link.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	err = w.Close()
	if _, answered := errors.AsType[*textproto.Error](err); err == nil || answered {
		return err
	}
	return &lostAnswerError{err}
}

// connect opens a connection that is protected and logged in. hangUp ends it, also where connect failed.
func (s *SMTP) connect(ctx context.Context) (link *smtp.Client, hangUp func(), err error) {
	hangUp = func() {}
	protect := &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12, RootCAs: s.cfg.RootCAs}
	// go-mail knows no context once the connection stands, and leaves it open where it fails: it is ended here.
	dial := func(dialing context.Context, network, address string) (net.Conn, error) {
		var dialer interface {
			DialContext(ctx context.Context, network, address string) (net.Conn, error)
		} = new(net.Dialer)
		if s.cfg.Security == TLS {
			dialer = &tls.Dialer{Config: protect}
		}
		conn, err := dialer.DialContext(dialing, network, address)
		if err != nil {
			return nil, err
		}
		forget := context.AfterFunc(ctx, func() { _ = conn.Close() })
		hangUp = func() { forget(); _ = conn.Close() }
		return conn, nil
	}
	policy := gomail.NoTLS
	if s.cfg.Security == StartTLS {
		policy = gomail.TLSMandatory
	}
	until, _ := ctx.Deadline()
	options := []gomail.Option{
		gomail.WithPort(s.port), gomail.WithTimeout(max(time.Until(until), time.Millisecond)),
		gomail.WithTLSPolicy(policy), gomail.WithTLSConfig(protect), gomail.WithDialContextFunc(dial),
	}
	if s.cfg.User != "" {
		options = append(options, gomail.WithSMTPAuthCustom(&loginOverTLS{user: s.cfg.User, password: s.cfg.Password, host: s.host}))
	}
	client, err := gomail.NewClient(s.host, options...)
	if err != nil {
		return nil, hangUp, fault.New(fault.Invalid, "the SMTP server cannot be used as it is configured", err)
	}
	link, err = client.DialToSMTPClientWithContext(ctx)
	return link, hangUp, err
}

// loginOverTLS logs in by PLAIN or LOGIN, whichever the server offers, and over TLS alone: a server that offers them
// without may be anybody.
type loginOverTLS struct {
	user     string
	password config.Secret
	host     string
	smtp.Auth
}

var errUnprotected = errors.New("the connection is not protected by TLS")

func (c *loginOverTLS) Start(server *smtp.ServerInfo) (mechanism string, first []byte, err error) {
	offered := strings.Fields(strings.ToUpper(strings.Join(server.Auth, " ")))
	switch {
	case !server.TLS:
		return "", nil, errUnprotected
	case slices.Contains(offered, "PLAIN"):
		c.Auth = smtp.PlainAuth("", c.user, c.password.Reveal(), c.host, false)
	case slices.Contains(offered, "LOGIN"):
		c.Auth = smtp.LoginAuth(c.user, c.password.Reveal(), c.host, false)
	default:
		return "", nil, fault.New(fault.Precondition, "the mail server offers no login by PLAIN or LOGIN; clear NTHLAYER_SMTP_USER if it needs none", nil).
			WithReason("SMTP_REFUSED")
	}
	return c.Auth.Start(server)
}

// before classifies what failed before the server had the message.
func (s *SMTP) before(ctx context.Context, to string, err error) error {
	if typed, ok := fault.As(err); ok {
		return typed
	}
	if answer, ok := errors.AsType[*textproto.Error](err); ok {
		return refusal(answer, to)
	}
	_, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.New(fault.Canceled, "the e-mail was not sent: the service stops", err)
	case errors.Is(err, errUnprotected):
		return fault.New(fault.Precondition, "the mail server's login goes over TLS alone; set NTHLAYER_SMTP_TLS to starttls or tls", err).WithReason("SMTP_REFUSED")
	case unverified:
		return fault.New(fault.Precondition, "the mail server's certificate cannot be trusted; check the host in NTHLAYER_SMTP_ADDR, and the certificates that this machine trusts", err).
			WithReason("SMTP_UNTRUSTED")
	case strings.Contains(err.Error(), "does not support STARTTLS"): // go-mail has no type for it
		return fault.New(fault.Precondition, "the mail server offers no STARTTLS; for a port that is protected from the start (465) set NTHLAYER_SMTP_TLS=tls", err).
			WithReason("SMTP_REFUSED")
	default:
		return fault.New(fault.Unavailable, "the mail server "+s.cfg.Addr+" cannot be reached; try again later", err).WithReason("SMTP_UNAVAILABLE")
	}
}

// refusal sorts a server's answers (RFC 5321 §4.2.1): 4xx passes, 5xx stays until a person acts. It has all of the answer in
// its text.
func refusal(answer *textproto.Error, to string) error {
	words := strconv.Itoa(answer.Code) + " " + said(answer.Msg, to)
	switch {
	case answer.Code >= 400 && answer.Code < 500:
		return fault.New(fault.Unavailable, "the mail server does not take the message now ("+words+"); try again later", nil).WithReason("SMTP_DEFERRED")
	case answer.Code == 535 || answer.Code == 534 || answer.Code == 530: // RFC 4954 §6
		return fault.New(fault.Precondition, "the mail server refused the login ("+words+"); check NTHLAYER_SMTP_USER and NTHLAYER_SMTP_PASSWORD", nil).
			WithReason("SMTP_REFUSED")
	default:
		return fault.New(fault.Precondition, "the mail server refused the message: "+words, nil).WithReason("SMTP_REFUSED")
	}
}
