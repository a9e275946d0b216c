package rest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Check reports whether something the service needs is there; nil: it is.
type Check func(context.Context) error

// Register adds one service's routes to the mux.
type Register func(context.Context, *runtime.ServeMux, grpc.ClientConnInterface) error

// Config describes the REST side of a server.
type Config struct {
	Conn     grpc.ClientConnInterface // the server in process
	Services []Register
	Package  protoreflect.FullName         // of the services, to know which query parameters each route has
	Statuses map[protoreflect.FullName]int // HTTP status by type of answer, where it is not 200
	OpenAPI  string
	Ready    map[string]Check
	Beside   map[string]http.Handler // what is served beside the API, by pattern; each bounds what it reads
	Log      *slog.Logger
}

// New makes the handler of the whole REST side: the API, /openapi.json, /docs, /healthz and /readyz.
func New(c Config) (http.Handler, error) {
	api := newMux(c)
	for _, register := range c.Services {
		if err := register(context.Background(), api, c.Conn); err != nil {
			return nil, fmt.Errorf("rest: register routes: %w", err)
		}
	}
	description, err := withStatuses(c.OpenAPI, c.Statuses)
	if err != nil {
		return nil, fmt.Errorf("rest: OpenAPI: %w", err)
	}
	docs, err := renderDocs(description)
	if err != nil {
		return nil, fmt.Errorf("rest: docs: %w", err)
	}
	root := http.NewServeMux()
	root.Handle("/", limited(c.Log, heads(api)))
	root.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, description)
	})
	root.Handle("GET /docs", docs)
	for pattern, beside := range c.Beside {
		root.Handle(pattern, beside)
	}
	root.HandleFunc("GET /healthz", healthz)
	root.Handle("GET /readyz", readyz(c.Ready, c.Log))
	return hurried(readWithin, guarded(c.Log, root)), nil
}
