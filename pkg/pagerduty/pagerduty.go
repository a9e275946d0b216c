// Package pagerduty reads and changes team membership on PagerDuty, the target.
//
// Reads are whole or fail: lists are walked in pages of 100 by the rows really received, rows are counted against the
// announced total, and a list that moved while it was read is fault.Incomplete. Writes are the API's own idempotent
// PUT and DELETE with the role always said. A write whose effect is unknown is fault.Deadline: look before trying
// again. What PagerDuty refuses comes back with a reason that says what to do, never as "not found" or "empty" when
// something else was the matter.
//
// A Reader is the part that changes nothing, and reads the whole account in few calls.
//
// go-pagerduty gives the object types and the authenticated request. Its list, team and error helpers are not used:
// they page by 25, leave out the team wrapper and drop the request body on a retry (go-pagerduty v1.8.0).
package pagerduty

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	pd "github.com/PagerDuty/go-pagerduty"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// PerMinute is PagerDuty's documented quota for one API key.
const PerMinute = 960

const defaultURL = "https://api.pagerduty.com"

// Config says where PagerDuty is, who asks, and how long found users are remembered.
type Config struct {
	BaseURL string        // empty: https://api.pagerduty.com; accounts in Europe: https://api.eu.pagerduty.com
	Token   config.Secret // empty: the transport has credentials
	HTTP    *http.Client  // nil: HTTP(upstream.Config{})

	UsersFor   time.Duration    // a found user is remembered this long; 5 min
	NobodyFor  time.Duration    // an address without a user is remembered this long; 30 s
	UsersLimit int              // addresses remembered at most; 20,000
	Now        func() time.Time // nil: time.Now
}

// Client reads and changes teams. It is safe for concurrent use.
type Client struct {
	base  string
	api   *pd.Client
	users *directory
}

// Upstream describes the way to PagerDuty with cfg's credentials, limiter and limits. It knows PagerDuty's one
// retryable 400.
func Upstream(cfg upstream.Config) upstream.Config {
	cfg.Platform = "pagerduty"
	cfg.Scheme = "Token token="
	cfg.Classify = classify
	return cfg
}

// HTTP is the http.Client over a transport of its own.
func HTTP(cfg upstream.Config) *http.Client { return upstream.New(Upstream(cfg)).Client() }

// New makes a Client.
func New(cfg Config) *Client {
	client := cfg.HTTP
	if client == nil {
		client = HTTP(upstream.Config{})
	}
	c := &Client{base: strings.TrimRight(cmp.Or(cfg.BaseURL, defaultURL), "/"), api: pd.NewClient(cfg.Token.Reveal())}
	c.api.HTTPClient = client
	c.users = newDirectory(c, cfg)
	return c
}

// Probe checks the credential and that the account has teams. Only a readable list of abilities without "teams" is
// TARGET_PLAN_LACKS_TEAMS; any other failure leaves the question open.
func (c *Client) Probe(ctx context.Context) error {
	var answer struct {
		Abilities *[]string `json:"abilities"`
	}
	if err := c.do(ctx, call{method: http.MethodGet, route: "/abilities", path: "/abilities"}, &answer); err != nil {
		return fmt.Errorf("read pagerduty's abilities: %w", err)
	}
	if answer.Abilities == nil {
		return incomplete("PagerDuty's list of abilities is missing from its answer", nil)
	}
	for _, ability := range *answer.Abilities {
		if ability == "teams" {
			return nil
		}
	}
	return planLacksTeams(nil)
}

// call is one request. Routes are paths with {id} in the place of ids.
type call struct {
	method string
	route  string
	path   string
	query  url.Values
	body   any
}

// do makes one call and decodes its answer into result, unless result is nil.
func (c *Client) do(ctx context.Context, call call, result any) error {
	address := c.base + call.path
	if len(call.query) > 0 {
		address += "?" + call.query.Encode()
	}
	var content []byte
	if call.body != nil {
		var err error
		if content, err = json.Marshal(call.body); err != nil {
			return fault.New(fault.Internal, "encode request for PagerDuty", err)
		}
	}
	req, err := http.NewRequestWithContext(upstream.WithRoute(ctx, call.route), call.method, address, bytes.NewReader(content))
	if err != nil {
		return fault.New(fault.Precondition, "the PagerDuty URL is not valid; check NTHLAYER_PAGERDUTY_URL", err)
	}
	answer, err := upstream.Read(c.api.Do(req, true))
	if err != nil {
		return err
	}
	if answer.Status < 200 || answer.Status > 299 {
		return refusal(call, answer)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Body, result); err != nil {
		return incomplete("PagerDuty's answer to "+call.method+" "+call.route+" is not whole", err)
	}
	return nil
}

// checkID keeps ids from changing the path they are put into. PagerDuty's ids are letters and digits.
func checkID(field, id string) error {
	notWord := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '_'
	}
	if id == "" || len(id) > 64 || strings.ContainsFunc(id, notWord) {
		return fault.Field(field, "must be a PagerDuty id: letters and digits, for example PXPGF42")
	}
	return nil
}
