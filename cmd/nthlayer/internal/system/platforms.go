package system

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/simulator/cortex"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	"github.com/nthlayer/nthlayer/pkg/simulator/pagerduty"
	"github.com/nthlayer/nthlayer/pkg/simulator/slack"
)

// simulator is a simulated platform.
type simulator interface {
	http.Handler
	LoadOrg(*org.Org) error
}

func newCortex(token string) simulator    { return cortex.New(cortex.Options{Token: token}) }
func newPagerDuty(token string) simulator { return pagerduty.New(pagerduty.Options{Token: token}) }
func newSlack(token string) simulator     { return slack.New(slack.Options{Token: token}) }

func (s *System) startCortex(ctx context.Context, ports *ports) (err error) {
	out := s.cfg.Outside
	s.info.Cortex, s.info.Tokens.Cortex, err = s.platform(ctx, ports, "cortex", out.CortexURL, out.CortexToken, newCortex)
	return err
}

func (s *System) startPagerDuty(ctx context.Context, ports *ports) (err error) {
	out := s.cfg.Outside
	s.info.PagerDuty, s.info.Tokens.PagerDuty, err = s.platform(ctx, ports, "pagerduty", out.PagerDutyURL, out.PagerDutyToken, newPagerDuty)
	return err
}

func (s *System) startSlack(ctx context.Context, ports *ports) (err error) {
	out := s.cfg.Outside
	simulate := newSlack
	if out.SlackURL == "" {
		if s.signing = out.SlackSigningSecret.Reveal(); s.signing == "" {
			if s.signing, err = s.secret("slack-signing-secret"); err != nil {
				return err
			}
		}
		simulate = func(token string) simulator {
			return slack.New(slack.Options{Token: token, SigningSecret: s.signing, Interactions: s.info.REST + "/slack/interactions"})
		}
	}
	s.info.Slack, s.info.Tokens.Slack, err = s.platform(ctx, ports, "slack", out.SlackURL, out.SlackToken, simulate)
	return err
}

// platform gives the address and the token of a platform: of the one outside, or of a simulator that it starts.
func (s *System) platform(
	ctx context.Context, ports *ports, name, outside string, outsideToken config.Secret, simulate func(token string) simulator,
) (address, token string, err error) {
	if outside != "" {
		return outside, outsideToken.Reveal(), nil
	}
	// A token in the environment is taken over; one of our own is kept, so that a program that read it from dev.json goes
	// on after a restart.
	if token = outsideToken.Reveal(); token == "" {
		if token, err = s.secret(name + "-token"); err != nil {
			return "", "", err
		}
	}
	people, err := organisation(s.cfg.OrgFile)
	if err != nil {
		return "", "", fmt.Errorf("load the organisation: %w", err)
	}
	l, err := ports.listen(ctx)
	if err != nil {
		return "", "", err
	}
	address, err = s.simulate(name, l, people, simulate(token))
	return address, token, err
}

// simulate serves a simulator that starts with the organisation.
func (s *System) simulate(name string, l net.Listener, people *org.Org, platform simulator) (string, error) {
	if err := platform.LoadOrg(people); err != nil {
		_ = l.Close()
		return "", fmt.Errorf("load the organisation: %w", err)
	}
	return s.serve(name, l, platform), nil
}

// organisation reads an organisation from a file; without one it is the example.
func organisation(path string) (*org.Org, error) {
	if path == "" {
		return org.Example(), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the organisation: %w", err)
	}
	defer f.Close()
	o, err := org.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return o, nil
}

// slackAPI is the base of Slack's Web API on a host; a URL that names a path is left as it is.
func slackAPI(address string) string {
	u, err := url.Parse(address)
	if err != nil || (u.Path != "" && u.Path != "/") {
		return address
	}
	return u.JoinPath("api/").String()
}
