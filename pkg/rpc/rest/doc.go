// Package rest serves the API as JSON over HTTP. It translates, and nothing else: each request becomes a call through
// the same chain that gRPC calls pass, in process, streams included. What a request can get wrong before there is a call
// (path, method, size, type, syntax) is answered here, in the same shape as every other error: google.rpc.Status with
// the field named.
package rest

import (
	// The types that stand in the details of a Status.
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
)
