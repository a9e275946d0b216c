package system

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

// SimulatorsConfig says which simulators to run alone, and where. A simulator without an address is not run.
type SimulatorsConfig struct {
	Cortex, PagerDuty, Slack, SQS string         // host:port
	Tokens                        PlatformTokens // empty: random ones
	OrgFile                       string         // empty: the example organisation
	Org                           *org.Org       // instead of the file
	Log                           *slog.Logger
}

// Simulators are simulators that run alone.
type Simulators struct {
	system *System
	info   SimulatorsInfo
}

// SimulatorsInfo is how to reach them.
type SimulatorsInfo struct {
	Ready     bool           `json:"ready"`
	Cortex    string         `json:"cortex,omitempty"`
	PagerDuty string         `json:"pagerduty,omitempty"`
	Slack     string         `json:"slack,omitempty"`
	SQS       string         `json:"sqs,omitempty"`
	Tokens    PlatformTokens `json:"tokens"`
}

// StartSimulators runs simulators without the rest of a system.
func StartSimulators(ctx context.Context, cfg SimulatorsConfig) (*Simulators, error) {
	s := &Simulators{system: &System{cfg: Config{Log: cfg.Log}}}
	if err := s.start(ctx, cfg); err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Simulators) start(ctx context.Context, cfg SimulatorsConfig) error {
	people := cfg.Org
	if people == nil {
		var err error
		if people, err = organisation(cfg.OrgFile); err != nil {
			return fmt.Errorf("load the organisation: %w", err)
		}
	}
	for _, p := range []struct {
		name, addr, token string
		simulate          func(token string) simulator
		address, tokenOut *string
	}{
		{"cortex", cfg.Cortex, cfg.Tokens.Cortex, newCortex, &s.info.Cortex, &s.info.Tokens.Cortex},
		{"pagerduty", cfg.PagerDuty, cfg.Tokens.PagerDuty, newPagerDuty, &s.info.PagerDuty, &s.info.Tokens.PagerDuty},
		{"slack", cfg.Slack, cfg.Tokens.Slack, newSlack, &s.info.Slack, &s.info.Tokens.Slack},
	} {
		if p.addr == "" {
			continue
		}
		l, err := listenAt(ctx, p.addr)
		if err != nil {
			return err
		}
		*p.tokenOut = cmp.Or(p.token, rand.Text())
		if *p.address, err = s.system.simulate(p.name, l, people, p.simulate(*p.tokenOut)); err != nil {
			return err
		}
	}
	if cfg.SQS != "" {
		l, err := listenAt(ctx, cfg.SQS)
		if err != nil {
			return err
		}
		s.info.SQS = s.system.serveSQS(l)
	}
	s.info.Ready = true
	return nil
}

func listenAt(ctx context.Context, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// Info is how to reach the simulators.
func (s *Simulators) Info() SimulatorsInfo { return s.info }

// Stop ends the simulators.
func (s *Simulators) Stop(ctx context.Context) error { return s.system.Stop(ctx) }
