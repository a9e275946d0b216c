package connection

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// API is a connection to a system.
type API struct {
	Teams      nthlayerv1.TeamServiceClient
	Runs       nthlayerv1.RunServiceClient
	Trail      nthlayerv1.TrailServiceClient
	Deliveries nthlayerv1.DeliveryServiceClient

	conn *grpc.ClientConn
}

// Open connects to the system that the settings name. It does not wait for an answer: the first call does.
func Open(_ context.Context, s Settings) (*API, error) {
	s, err := s.resolve()
	if err != nil {
		return nil, err
	}
	transport, err := s.transport()
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(s.Addr, grpc.WithTransportCredentials(transport), grpc.WithPerRPCCredentials(bearer(s)))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", s.Addr, err)
	}
	return &API{
		Teams:      nthlayerv1.NewTeamServiceClient(conn),
		Runs:       nthlayerv1.NewRunServiceClient(conn),
		Trail:      nthlayerv1.NewTrailServiceClient(conn),
		Deliveries: nthlayerv1.NewDeliveryServiceClient(conn),
		conn:       conn,
	}, nil
}

// Close ends the connection.
func (a *API) Close() error { return a.conn.Close() }

// Reconcile asks for a run under a name; without one it gets a new name.
func (a *API) Reconcile(ctx context.Context, key string, req *nthlayerv1.ReconcileTeamRequest) (*nthlayerv1.ReconcileTeamResponse, error) {
	if key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "idempotency-key", key)
	}
	return a.Teams.ReconcileTeam(ctx, req)
}

// Watch gives a run's events as they happen, up to the one that ends it.
func (a *API) Watch(ctx context.Context, jobID string, after int64) iter.Seq2[*nthlayerv1.RunEvent, error] {
	return func(yield func(*nthlayerv1.RunEvent, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := a.Runs.WatchRun(ctx, &nthlayerv1.WatchRunRequest{JobId: jobID, AfterSeq: after})
		if err != nil {
			yield(nil, err)
			return
		}
		for {
			e, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (s Settings) transport() (credentials.TransportCredentials, error) {
	if s.Plaintext {
		return insecure.NewCredentials(), nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		content, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the CA to trust: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("%s holds no certificate", s.CAFile)
		}
	}
	return credentials.NewTLS(cfg), nil
}

type bearer Settings

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token := b.Token
	if b.TokenFile != "" {
		content, err := os.ReadFile(b.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		token = strings.TrimSpace(string(content))
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

func (b bearer) RequireTransportSecurity() bool { return !b.Plaintext }
