package settings

import (
	"errors"
	"net"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/mail"
)

// Email is who sends e-mails: an SMTP server, or Amazon SES, or nobody.
type Email struct {
	From         string        `env:"NTHLAYER_EMAIL_FROM" doc:"who sends e-mails, for example NthLayer <nthlayer@example.org>; needed to send any"`
	SMTPAddr     string        `env:"NTHLAYER_SMTP_ADDR" doc:"the SMTP server that sends e-mails, as host:port; without it and NTHLAYER_SES_REGION deliveries by e-mail fail at once, and nthlayer dev starts a server that shows them and sends none on"`
	SMTPUser     string        `env:"NTHLAYER_SMTP_USER" doc:"the user of the SMTP server; empty: it needs no login"`
	SMTPPassword config.Secret `env:"NTHLAYER_SMTP_PASSWORD" doc:"the password of the SMTP server; sent over TLS alone"`
	SMTPTLS      string        `env:"NTHLAYER_SMTP_TLS" doc:"how the connection to the SMTP server is protected: starttls (port 587), tls (port 465), or none, for a server on this machine alone; empty: starttls, and none for a server on this machine without a login"`
	SESRegion    string        `env:"NTHLAYER_SES_REGION" doc:"the AWS region whose SES sends e-mails, in place of NTHLAYER_SMTP_ADDR; credentials as the AWS SDK finds them"`
	SESEndpoint  string        `env:"NTHLAYER_SES_ENDPOINT" doc:"another endpoint than that of AWS for SES"`
}

// Validate checks that there is one way to send, and that it is a safe one.
func (e Email) Validate() error {
	errs := []error{config.CheckAddr("NTHLAYER_SMTP_ADDR", e.SMTPAddr), config.CheckURL("NTHLAYER_SES_ENDPOINT", e.SESEndpoint)}
	refuse := func(when bool, variable, why string) {
		if when {
			errs = append(errs, fault.Field(variable, why))
		}
	}
	refuse(e.SMTPAddr != "" && e.SESRegion != "", "NTHLAYER_SES_REGION", "and NTHLAYER_SMTP_ADDR are both set; set one of them")
	refuse(e.Configured() && e.From == "", "NTHLAYER_EMAIL_FROM", "is not set; e-mails need a sender, such as NthLayer <nthlayer@example.org>")
	if e.From != "" {
		_, err := mail.ParseAddress(e.From)
		refuse(err != nil, "NTHLAYER_EMAIL_FROM", "must be an e-mail address such as NthLayer <nthlayer@example.org>")
	}
	refuse((e.SMTPUser == "") != e.SMTPPassword.Empty(), "NTHLAYER_SMTP_PASSWORD", "and NTHLAYER_SMTP_USER go together; set both or none")
	refuse(e.SESEndpoint != "" && e.SESRegion == "", "NTHLAYER_SES_ENDPOINT", "goes with NTHLAYER_SES_REGION, which is not set")
	host, _, _ := net.SplitHostPort(e.SMTPAddr) // CheckAddr says what is wrong with it
	refuse(e.SMTPAddr != "" && host == "", "NTHLAYER_SMTP_ADDR", "must name a host")
	switch e.SMTPTLS {
	case "", mail.StartTLS, mail.TLS:
	case mail.Plain:
		refuse(e.SMTPAddr != "" && !onThisMachine(host), "NTHLAYER_SMTP_TLS", "must be starttls or tls: without TLS anybody on the way reads and changes the e-mails")
		refuse(e.SMTPUser != "", "NTHLAYER_SMTP_TLS", "must be starttls or tls where there is a login")
	default:
		refuse(true, "NTHLAYER_SMTP_TLS", "must be starttls, tls or none")
	}
	return errors.Join(errs...)
}

// Configured reports whether there is a way to send.
func (e Email) Configured() bool { return e.SMTPAddr != "" || e.SESRegion != "" }

// Security is how the connection to the SMTP server is protected.
func (e Email) Security() string {
	if e.SMTPTLS != "" {
		return e.SMTPTLS
	}
	if host, _, _ := net.SplitHostPort(e.SMTPAddr); onThisMachine(host) && e.SMTPUser == "" {
		return mail.Plain
	}
	return mail.StartTLS
}

func onThisMachine(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
