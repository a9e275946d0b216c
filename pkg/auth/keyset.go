package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"golang.org/x/sync/singleflight"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const (
	keySetFresh    = 15 * time.Minute // a set older than this is fetched again in the background
	keySetUsable   = 24 * time.Hour   // a set older than this is not trusted any more, whatever the endpoint says
	keySetInterval = 30 * time.Second // at most one fetch in this time …
	keySetFirst    = time.Second      // … or in this, while there is no set at all
	keySetTimeout  = 5 * time.Second
	keySetMaxBytes = 256 << 10 // Cognito's has about 1 kB
	minRSABits     = 2048      // RFC 7518 §3.3
)

// verifyKey is a public key and the one algorithm it is good for.
type verifyKey struct {
	algorithm jwa.SignatureAlgorithm
	key       any // *rsa.PublicKey or *ecdsa.PublicKey
}

// keySet is the issuer's published keys, fetched when needed and never more often than the intervals above allow.
type keySet struct {
	url    string
	client *http.Client
	now    func() time.Time
	log    *slog.Logger
	flight singleflight.Group

	mu          sync.RWMutex
	keys        map[string]verifyKey
	fetchedAt   time.Time
	attemptedAt time.Time
}

// errUnknownKey: the issuer does not publish a key with this id.
var errUnknownKey = errors.New("the issuer publishes no such key")

// find gives the key with this id. It waits for a fetch only where the id is not known.
func (s *keySet) find(ctx context.Context, kid string) (verifyKey, error) {
	key, known, age := s.lookup(kid)
	switch {
	case known && age < keySetFresh:
		return key, nil
	case known && age < keySetUsable:
		s.refresh(ctx)
		return key, nil
	}
	if fetched := s.refresh(ctx); fetched != nil {
		select {
		case <-ctx.Done():
			return verifyKey{}, ctx.Err()
		case <-fetched:
		}
	}
	key, known, age = s.lookup(kid)
	switch {
	case age >= keySetUsable:
		return verifyKey{}, fault.New(fault.Unavailable, "tokens cannot be checked: the issuer's keys are not to be had", nil).
			WithReason("ISSUER_UNAVAILABLE").WithRetryAfter(keySetFirst)
	case !known:
		return verifyKey{}, errUnknownKey
	}
	return key, nil
}

// lookup gives the key and the age of the set; the age of a set never fetched is past every bound.
func (s *keySet) lookup(kid string) (key verifyKey, known bool, age time.Duration) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.keys == nil {
		return verifyKey{}, false, keySetUsable
	}
	key, known = s.keys[kid]
	return key, known, s.now().Sub(s.fetchedAt)
}

// refresh joins the fetch under way or starts one; nil where it is too early for another. The fetch belongs to nobody's
// request: a caller that goes away does not take it from the others.
func (s *keySet) refresh(ctx context.Context) <-chan singleflight.Result {
	if !s.due() {
		return nil
	}
	return s.flight.DoChan("", func() (any, error) {
		if !s.due() { // a fetch ended between the look above and here
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keySetTimeout)
		defer cancel()
		keys, err := s.fetch(ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.attemptedAt = s.now()
		if err != nil {
			s.log.WarnContext(ctx, "the issuer's keys could not be fetched; the last good set stays in use",
				"url", s.url, "error", err, "known_keys", len(s.keys))
			return nil, nil
		}
		s.keys, s.fetchedAt = keys, s.attemptedAt
		return nil, nil
	})
}

func (s *keySet) due() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	interval := keySetInterval
	if s.keys == nil {
		interval = keySetFirst
	}
	return s.attemptedAt.IsZero() || s.now().Sub(s.attemptedAt) >= interval
}

func (s *keySet) fetch(ctx context.Context) (map[string]verifyKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answer %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, keySetMaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(body) > keySetMaxBytes {
		return nil, fmt.Errorf("answer of more than %d bytes", keySetMaxBytes)
	}
	return parseKeySet(ctx, body, s.log)
}

// parseKeySet keeps the keys that can check a token. One strange key must not make the others useless.
func parseKeySet(ctx context.Context, body []byte, log *slog.Logger) (map[string]verifyKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("not a key set: %w", err)
	}
	keys := make(map[string]verifyKey, len(set.Keys))
	for i, raw := range set.Keys {
		kid, key, err := parseKey(raw)
		if err != nil {
			log.WarnContext(ctx, "a published key is passed over", "index", i, "error", err)
			continue
		}
		keys[kid] = key
	}
	if len(keys) == 0 {
		return nil, errors.New("no usable key in the set")
	}
	return keys, nil
}

func parseKey(raw []byte) (kid string, key verifyKey, err error) {
	published, err := jwk.ParseKey(raw)
	if err != nil {
		return "", verifyKey{}, err
	}
	kid, _ = published.KeyID()
	if kid == "" {
		return "", verifyKey{}, errors.New("it has no kid")
	}
	if use, ok := published.KeyUsage(); ok && use != "sig" {
		return "", verifyKey{}, fmt.Errorf("its use is %q", use)
	}
	var public any
	if err := jwk.Export(published, &public); err != nil {
		return "", verifyKey{}, err
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return "", verifyKey{}, fmt.Errorf("RSA with %d bits is too weak", k.N.BitLen())
		}
		key = verifyKey{jwa.RS256(), k}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return "", verifyKey{}, fmt.Errorf("curve %s is not for ES256", k.Curve.Params().Name)
		}
		key = verifyKey{jwa.ES256(), k}
	default: // shared secrets, and private keys that somebody published
		return "", verifyKey{}, fmt.Errorf("%T is not a public RSA or EC key", public)
	}
	if declared, ok := published.Algorithm(); ok && declared.String() != key.algorithm.String() {
		return "", verifyKey{}, fmt.Errorf("it is for %s", declared)
	}
	return kid, key, nil
}
