package system

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/nthlayer/nthlayer/pkg/auth/issuer"
	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/pgserver"
	"github.com/nthlayer/nthlayer/pkg/queue"
	"github.com/nthlayer/nthlayer/pkg/simulator/sqs"
	"github.com/nthlayer/nthlayer/pkg/store"
)

const (
	database      = "nthlayer"
	audience      = "nthlayer"
	tokenSubject  = "dev"
	tokenScope    = "nthlayer/admin"
	tokenLifetime = 30 * 24 * time.Hour
	lookWithin    = 2 * time.Second
)

// startPostgres runs PostgreSQL in the state directory and brings the schema up to date.
func (s *System) startPostgres(ctx context.Context, ports *ports) error {
	s.info.Postgres = s.cfg.Outside.DatabaseURL.Reveal()
	if s.info.Postgres == "" {
		var port int
		if ports.next != 0 {
			r, err := ports.reserve(ctx)
			if err != nil {
				return err
			}
			port = r.port()
			r.release()
		}
		p := &postgres{
			opts: pgserver.Options{Dir: s.path("postgres"), Port: port, Settings: s.cfg.PostgresSettings},
			log:  s.cfg.Log, changed: s.processChanged,
		}
		server, err := p.start(ctx)
		if err != nil {
			return err
		}
		s.onStop("PostgreSQL", p.end)
		s.mu.Lock()
		s.postgres = p
		s.mu.Unlock()
		if err := server.EnsureDatabase(ctx, database); err != nil {
			return err
		}
		s.info.Postgres = server.URL(database)
	}
	_, err := store.Migrate(ctx, config.NewSecret(s.info.Postgres))
	return err
}

// startRedis runs the Redis protocol in memory: what it holds (rate limits) may be lost at any time.
func (s *System) startRedis(ctx context.Context, ports *ports) error {
	if s.info.Redis = s.cfg.Outside.RedisAddr; s.info.Redis != "" {
		s.lookForRedis(ctx)
		return nil
	}
	r, err := ports.reserve(ctx)
	if err != nil {
		return err
	}
	redis := miniredis.NewMiniRedis()
	r.release()
	if err := redis.StartAddr(r.addr()); err != nil {
		return fmt.Errorf("start on %s: %w", r.addr(), err)
	}
	s.onStop("Redis", func(context.Context) error { redis.Close(); return nil })
	s.info.Redis = r.addr()
	return nil
}

// lookForRedis warns when nobody is there. Services start without Redis and do without it, each at a part of the quotas,
// which may not be what the person wanted who wrote the address.
func (s *System) lookForRedis(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.info.Redis)
	if err != nil {
		s.cfg.Log.Warn("the Redis of NTHLAYER_REDIS_ADDR is not there: until it is, each process keeps to its share of the quotas",
			"addr", s.info.Redis, "error", err)
		return
	}
	_ = conn.Close()
}

// startSQS runs the SQS endpoint in memory and makes the queues, also on an endpoint outside, where they may be missing.
func (s *System) startSQS(ctx context.Context, ports *ports) error {
	if s.info.SQS = s.cfg.Outside.SQSEndpoint; s.info.SQS == "" {
		l, err := ports.listen(ctx)
		if err != nil {
			return err
		}
		s.info.SQS = s.serveSQS(l)
	}
	client, err := queue.Open(ctx, queue.Config{Endpoint: s.info.SQS})
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ensure(ctx, queue.Layout{}, reconcileQueue, notificationsQueue, auditQueue)
}

func (s *System) serveSQS(l net.Listener) string {
	endpoint := sqs.New(sqs.Options{})
	address := s.serve("SQS", l, endpoint)
	// Stopped before the HTTP server around it, which would otherwise wait for the long polls.
	s.onStop("SQS long polls", func(context.Context) error { endpoint.Close(); return nil })
	return address
}

// startIssuer runs the issuer of tokens. Its key is kept, so a token stays good when the system is started again under
// the same address.
func (s *System) startIssuer(ctx context.Context, ports *ports) error {
	key, err := issuerKey(s.cfg.StateDir)
	if err != nil {
		return err
	}
	l, err := ports.listen(ctx)
	if err != nil {
		return err
	}
	tokens, err := issuer.New(issuer.Config{URL: "http://" + l.Addr().String(), Audience: audience, Key: key})
	if err != nil {
		_ = l.Close()
		return err
	}
	s.info.Issuer = s.serve("issuer", l, tokens)
	s.info.Token, err = tokens.Token(tokenSubject, []string{tokenScope}, tokenLifetime)
	return err
}

// IssueToken makes a token of the system that runs in a state directory, for somebody else than its own user: to see what
// another role may do.
func IssueToken(stateDir, subject string, scopes ...string) (string, error) {
	content, err := os.ReadFile(InfoFile(stateDir))
	if err != nil {
		return "", fmt.Errorf("no system runs in %s: %w", stateDir, err)
	}
	var info Info
	if err := json.Unmarshal(content, &info); err != nil {
		return "", fmt.Errorf("read %s: %w", InfoFile(stateDir), err)
	}
	key, err := issuerKey(stateDir)
	if err != nil {
		return "", err
	}
	tokens, err := issuer.New(issuer.Config{URL: info.Issuer, Audience: audience, Key: key})
	if err != nil {
		return "", err
	}
	return tokens.Token(subject, scopes, tokenLifetime)
}

func issuerKey(stateDir string) (*ecdsa.PrivateKey, error) {
	path := filepath.Join(stateDir, "issuer-key.pem")
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), privateFileMode)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key; remove it to get a new one", path)
	}
	return x509.ParseECPrivateKey(block.Bytes)
}
