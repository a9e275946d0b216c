// Package settings is what the gateway reads from its environment.
package settings

import (
	"errors"

	"github.com/nthlayer/nthlayer/pkg/config"
)

// Settings of the gateway.
type Settings struct {
	config.Process
	Listen   Listen
	Database config.Database
	SQS      config.SQS
	TLS      config.InternalTLS
	Peers    config.Peers
	JWT      config.JWT
}

// Listen is where the public API is served. TLS ends at the load balancer.
type Listen struct {
	REST string `env:"NTHLAYER_REST_ADDR" envDefault:":8080" doc:"where the public REST API is served"`
	GRPC string `env:"NTHLAYER_GRPC_ADDR" envDefault:":9000" doc:"where the public gRPC API is served"`
}

// Validate checks the addresses.
func (l Listen) Validate() error {
	return errors.Join(config.CheckAddr("NTHLAYER_REST_ADDR", l.REST), config.CheckAddr("NTHLAYER_GRPC_ADDR", l.GRPC))
}
