package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// TokenSource gives the token for a call. It is asked for every call and must be safe for concurrent use.
type TokenSource interface {
	Token(ctx context.Context) (string, error)
}

// TokenFunc is a function as a TokenSource.
type TokenFunc func(ctx context.Context) (string, error)

// Token calls f.
func (f TokenFunc) Token(ctx context.Context) (string, error) { return f(ctx) }

// StaticToken is always the same token.
func StaticToken(token string) TokenSource {
	return TokenFunc(func(context.Context) (string, error) {
		if token == "" {
			return "", noToken("it is empty")
		}
		return token, nil
	})
}

// FileToken reads the token from a file, each time: whoever renews it beside us need not tell us.
func FileToken(path string) TokenSource {
	return TokenFunc(func(context.Context) (string, error) {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", fault.New(fault.Unauthenticated, "the token file cannot be read", err)
		}
		if token := strings.TrimSpace(string(content)); token != "" {
			return token, nil
		}
		return "", noToken("the file " + path + " is empty")
	})
}

// EnvToken reads the token from an environment variable.
func EnvToken(name string) TokenSource {
	return TokenFunc(func(context.Context) (string, error) {
		if token := strings.TrimSpace(os.Getenv(name)); token != "" {
			return token, nil
		}
		return "", noToken("set " + name)
	})
}

func noToken(why string) error {
	return fault.New(fault.Unauthenticated, "there is no token: "+why, nil).WithReason("TOKEN_MISSING")
}

const (
	tokenWithin   = 10 * time.Second
	renewBefore   = time.Minute
	maxTokenBytes = 64 << 10
)

// ClientCredentials gets tokens for a program under its own name (OAuth 2.0 client credentials, as Cognito speaks it).
// A token is used until a minute before it expires.
type ClientCredentials struct {
	TokenURL     string // for Cognito https://<domain>.auth.<region>.amazoncognito.com/oauth2/token
	ClientID     string
	ClientSecret string
	Scopes       []string     // empty: all that the client may have
	HTTP         *http.Client // nil: http.DefaultClient

	mu      sync.Mutex
	token   string
	expires time.Time
}

// Token gives the current token, or gets a new one. Callers that come meanwhile wait for it.
func (c *ClientCredentials) Token(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && time.Until(c.expires) > renewBefore {
		return c.token, nil
	}
	token, lifetime, err := c.fetch(ctx)
	if err != nil {
		return "", err
	}
	c.token, c.expires = token, time.Now().Add(lifetime)
	return token, nil
}

func (c *ClientCredentials) fetch(ctx context.Context) (string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenWithin)
	defer cancel()
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(c.Scopes) > 0 {
		form.Set("scope", strings.Join(c.Scopes, " "))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, fault.New(fault.Invalid, "the token URL is not usable", err)
	}
	request.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret)) // RFC 6749 §2.3.1
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return "", 0, fault.New(fault.Unavailable, "the token issuer could not be reached", err)
	}
	defer response.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		Error       string `json:"error"`
	}
	err = json.NewDecoder(io.LimitReader(response.Body, maxTokenBytes)).Decode(&answer)
	switch {
	case response.StatusCode >= http.StatusInternalServerError:
		return "", 0, fault.New(fault.Unavailable, "the token issuer answered "+response.Status, nil)
	case response.StatusCode != http.StatusOK:
		return "", 0, fault.New(fault.Unauthenticated, fmt.Sprintf("the token issuer refused the client: %s %s", response.Status, answer.Error), nil)
	case err != nil || answer.AccessToken == "" || answer.ExpiresIn <= 0:
		return "", 0, fault.New(fault.Unavailable, "the token issuer's answer holds no token", err)
	}
	return answer.AccessToken, time.Duration(min(answer.ExpiresIn, 86400)) * time.Second, nil
}
