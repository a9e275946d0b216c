// Package cortex reads declared ownership from Cortex, the source.
//
// Its one guarantee: what it returns is whole. An answer that is missing, cut short, of the wrong shape, or that covers
// fewer teams than it announces is fault.Incomplete or fault.Unavailable, never a team without members. A refused key
// is told apart from a used-up quota, and "no such team" from "Cortex could not look".
package cortex

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

const (
	// PerMinute is Cortex's documented quota for one client.
	PerMinute = 1000
	// TargetKey is the custom-data key under which a team declares its PagerDuty team.
	TargetKey = "pagerduty-team-id"

	scheme     = "Bearer "
	defaultURL = "https://api.getcortexapp.com"
	pageSize   = 1000 // the most Cortex gives
	maxPages   = 100  // 100,000 rows; a longer walk is a server that repeats itself
)

// Config says where Cortex is and who asks.
type Config struct {
	BaseURL string        // empty: https://api.getcortexapp.com
	Token   config.Secret // empty: the transport has credentials
	HTTP    *http.Client  // nil: HTTP(upstream.Config{})
}

// Client reads teams. It is safe for concurrent use.
type Client struct {
	base  string
	token config.Secret
	http  *http.Client
}

// Upstream describes the way to Cortex with cfg's credentials, limiter and limits.
func Upstream(cfg upstream.Config) upstream.Config {
	cfg.Platform = "cortex"
	cfg.Scheme = scheme
	return cfg
}

// HTTP is the http.Client over a transport of its own.
func HTTP(cfg upstream.Config) *http.Client { return upstream.New(Upstream(cfg)).Client() }

// New makes a Client.
func New(cfg Config) *Client {
	c := &Client{base: strings.TrimRight(cmp.Or(cfg.BaseURL, defaultURL), "/"), token: cfg.Token, http: cfg.HTTP}
	if c.http == nil {
		c.http = HTTP(upstream.Config{})
	}
	return c
}

// Team reads one team by its tag or id. The error is fault.NotFound (SOURCE_TEAM_NOT_FOUND) only when Cortex itself
// says that there is no such team.
func (c *Client) Team(ctx context.Context, teamID string) (ownership.Desired, error) {
	if err := checkID(teamID); err != nil {
		return ownership.Desired{}, err
	}
	body, err := c.get(ctx, "/api/v1/teams/{tag}", "/api/v1/teams/"+url.PathEscape(teamID), nil)
	if err != nil {
		return ownership.Desired{}, fmt.Errorf("read team %s from cortex: %w", teamID, err)
	}
	return decodeTeam(body, teamID)
}

// Groups are the groups that the catalogue puts a team in.
func (c *Client) Groups(ctx context.Context, teamID string) ([]string, error) {
	if err := checkID(teamID); err != nil {
		return nil, err
	}
	body, err := c.get(ctx, "/api/v1/catalog/{tag}", "/api/v1/catalog/"+url.PathEscape(teamID), nil)
	if err != nil {
		return nil, fmt.Errorf("read the groups of %s from cortex: %w", teamID, err)
	}
	return decodeGroups(body, teamID)
}

// DeclaredTarget is the PagerDuty team id that the team declares in its custom data, or "".
func (c *Client) DeclaredTarget(ctx context.Context, teamID string) (string, error) {
	if err := checkID(teamID); err != nil {
		return "", err
	}
	seen := map[string]bool{}
	for page := range maxPages {
		body, err := c.get(ctx, "/api/v1/catalog/{tag}/custom-data", "/api/v1/catalog/"+url.PathEscape(teamID)+"/custom-data",
			url.Values{"page": {strconv.Itoa(page)}, "pageSize": {strconv.Itoa(pageSize)}})
		if err != nil {
			return "", fmt.Errorf("read custom data of %s from cortex: %w", teamID, err)
		}
		rows, err := decodeCustomData(body)
		if err != nil {
			return "", err
		}
		news := false
		for _, row := range rows {
			if row.Key == TargetKey {
				return row.target()
			}
			news = news || !seen[row.Key]
			seen[row.Key] = true
		}
		if !news { // the list has no totals: it ends with an empty page (or begins to repeat itself)
			return "", nil
		}
	}
	return "", incomplete(fmt.Sprintf("custom data of %s did not end after %d pages", teamID, maxPages), nil)
}

// Teams reads the whole catalogue of teams, archived ones included. A team for which the catalogue gives no member
// list has nil Members: it is not known here, and Team must be asked. (An empty list is not nil.)
func (c *Client) Teams(ctx context.Context) ([]ownership.Desired, error) {
	var teams []ownership.Desired
	if _, err := c.EachTeamPage(ctx, func(page []ownership.Desired) error {
		teams = append(teams, page...)
		return nil
	}); err != nil {
		return nil, err
	}
	return teams, nil
}

// EachTeamPage is Teams page by page, for fleets that need not be in memory at once: each gets every team once and may
// keep the slice. Whether the catalogue was whole shows at its end only, so until EachTeamPage returns without an error
// nothing follows from a team that did not come. An error of each ends the walk and is returned as it is.
func (c *Client) EachTeamPage(ctx context.Context, each func([]ownership.Desired) error) (total int, err error) {
	query := url.Values{
		"types":               {"team"}, // left out, Cortex lists everything but teams
		"includeNestedFields": {"team:members"},
		"includeMetadata":     {"true"},
		"includeArchived":     {"true"},
		"hierarchyDepth":      {"0"},
		"pageSize":            {strconv.Itoa(pageSize)},
	}
	announced := -1
	seen := map[string]bool{}
	for page := range maxPages {
		query.Set("page", strconv.Itoa(page))
		rows, total, err := c.teamPage(ctx, query)
		if err != nil {
			return 0, err
		}
		if announced >= 0 && total != announced {
			return 0, incomplete(fmt.Sprintf("the number of teams changed from %d to %d while they were read", announced, total), nil)
		}
		announced = total
		var fresh []ownership.Desired
		for _, row := range rows {
			if !seen[row.ID] { // rows shift between pages when teams come and go
				seen[row.ID] = true
				fresh = append(fresh, row.desired())
			}
		}
		if len(fresh) > 0 {
			if err := each(fresh); err != nil {
				return 0, err
			}
		}
		if len(seen) >= total {
			return len(seen), nil
		}
		if len(rows) == 0 {
			return 0, incomplete(fmt.Sprintf("cortex announces %d teams but gave %d", total, len(seen)), nil)
		}
	}
	return 0, incomplete(fmt.Sprintf("the list of teams did not end after %d pages", maxPages), nil)
}

func (c *Client) teamPage(ctx context.Context, query url.Values) (rows []row, total int, err error) {
	body, err := c.get(ctx, "/api/v1/catalog", "/api/v1/catalog", query)
	if err != nil {
		return nil, 0, fmt.Errorf("list teams of cortex: %w", err)
	}
	return decodeCatalog(body)
}

func (c *Client) get(ctx context.Context, route, path string, query url.Values) ([]byte, error) {
	address := c.base + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(upstream.WithRoute(ctx, route), http.MethodGet, address, nil)
	if err != nil {
		return nil, fault.New(fault.Precondition, "the Cortex URL is not valid; check NTHLAYER_CORTEX_URL", err)
	}
	req.Header.Set("Authorization", scheme+c.token.Reveal())
	req.Header.Set("Accept", "application/json")
	answer, err := upstream.Read(c.http.Do(req))
	if err != nil {
		return nil, err
	}
	if answer.Status != http.StatusOK {
		return nil, refusal(answer)
	}
	return answer.Body, nil
}

// refusal turns an error answer into a fault.
func refusal(answer upstream.Answer) error {
	var said struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(answer.Body, &said) // an answer that is not Cortex's error says nothing more than its status
	cause := fmt.Errorf("HTTP %d %s %s", answer.Status, said.Type, said.Message)
	status := answer.Status
	switch {
	case strings.HasPrefix(said.Type, "INTEGRATION_"):
		return fault.New(fault.Unavailable, "the identity provider behind Cortex failed ("+said.Type+"); membership is unknown", cause).
			WithReason("SOURCE_INTEGRATION_FAILED")
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fault.New(fault.Precondition,
			fmt.Sprintf("Cortex refused the API key (HTTP %d); check NTHLAYER_CORTEX_TOKEN, that the key is not revoked and that it may edit entities", status), cause).
			WithReason("SOURCE_CREDENTIAL_REFUSED")
	case status == http.StatusTooManyRequests: // only over an http.Client without our transport
		return fault.New(fault.Throttled, "cortex has no quota left for this key; try again later", cause).WithReason("CORTEX_THROTTLED")
	case status == http.StatusNotFound && said.Type != "":
		return fault.New(fault.NotFound, "Cortex has no such team; check the tag", cause).WithReason("SOURCE_TEAM_NOT_FOUND")
	case status >= http.StatusInternalServerError || status == http.StatusRequestTimeout:
		return fault.New(fault.Unavailable, fmt.Sprintf("Cortex failed with HTTP %d; try again later", status), cause).WithReason("CORTEX_UNAVAILABLE")
	case status == http.StatusNotFound || status < http.StatusBadRequest:
		// A proxy or a wrong address speaks here, not Cortex; "not found" would be a guess.
		return fault.New(fault.Unavailable, fmt.Sprintf("HTTP %d came from something that is not Cortex; check NTHLAYER_CORTEX_URL", status), cause).
			WithReason("CORTEX_UNAVAILABLE")
	default:
		return fault.New(fault.Precondition, fmt.Sprintf("Cortex refused the request (HTTP %d): %s", status, said.Message), cause).
			WithReason("SOURCE_REFUSED")
	}
}

func incomplete(text string, cause error) error {
	return fault.New(fault.Incomplete, text, cause).WithReason("SOURCE_INCOMPLETE")
}

// checkID keeps ids from changing the path they are put into.
func checkID(id string) error {
	if id == "" || id == "." || id == ".." || len(id) > 255 {
		return fault.Field("team_id", "must be a Cortex tag or id")
	}
	return nil
}
