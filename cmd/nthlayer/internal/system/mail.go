package system

import (
	"context"
	"errors"

	"github.com/nthlayer/nthlayer/pkg/simulator/mail"
)

const mailFrom = "NthLayer <nthlayer@dev.localhost>"

// simulatesMail reports whether e-mails end in a simulator: nobody wrote how they are really sent.
func (o Outside) simulatesMail() bool { return o.SMTPAddr == "" && o.SESRegion == "" }

// startMail runs the mail server, and beside it what shows the e-mails.
func (s *System) startMail(ctx context.Context, ports *ports) error {
	if s.info.SMTP = s.cfg.Outside.SMTPAddr; !s.cfg.Outside.simulatesMail() {
		return nil
	}
	l, err := ports.listen(ctx)
	if err != nil {
		return err
	}
	server, ended := mail.New(mail.Options{}), make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	s.onStop("mail server", func(context.Context) error { return errors.Join(server.Close(), <-ended) })
	s.info.SMTP = l.Addr().String()
	shown, err := ports.listen(ctx)
	if err != nil {
		return err
	}
	s.info.Mail = s.serve("mail", shown, server)
	return nil
}

// mailEnvironment makes the notifier send to the simulator, whatever the shell holds for a real server.
func (s *System) mailEnvironment() []string {
	return []string{
		"NTHLAYER_SMTP_ADDR=" + s.info.SMTP, "NTHLAYER_EMAIL_FROM=" + mailFrom, "NTHLAYER_SMTP_TLS=none",
		"NTHLAYER_SMTP_USER=", "NTHLAYER_SMTP_PASSWORD=", "NTHLAYER_SES_ENDPOINT=",
	}
}
