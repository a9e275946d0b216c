package testkit

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	colmetric "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// Collector starts an OpenTelemetry collector that adds all it gets to o, as "spans" and "metrics", and gives its
// endpoint.
func Collector(t testing.TB, o *Outside) (endpoint string) {
	t.Helper()
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	coltrace.RegisterTraceServiceServer(server, spanCollector{o: o})
	colmetric.RegisterMetricsServiceServer(server, metricCollector{o: o})
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	t.Cleanup(func() { server.Stop(); require.NoError(t, <-served) })
	return "http://" + lis.Addr().String()
}

type spanCollector struct {
	coltrace.UnimplementedTraceServiceServer
	o *Outside
}

func (c spanCollector) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	c.o.Add("spans", r.String())
	return &coltrace.ExportTraceServiceResponse{}, nil
}

type metricCollector struct {
	colmetric.UnimplementedMetricsServiceServer
	o *Outside
}

func (c metricCollector) Export(_ context.Context, r *colmetric.ExportMetricsServiceRequest) (*colmetric.ExportMetricsServiceResponse, error) {
	c.o.Add("metrics", r.String())
	return &colmetric.ExportMetricsServiceResponse{}, nil
}
