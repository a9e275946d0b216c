// Command gateway serves the public API of NthLayer: REST and gRPC over one chain. It accepts runs, shows what is known,
// and asks the other services for the rest.
package main

import (
	"github.com/nthlayer/nthlayer/pkg/service"
	"github.com/nthlayer/nthlayer/services/gateway/internal/wire"
)

func main() { service.Main("gateway", wire.Gateway) }
