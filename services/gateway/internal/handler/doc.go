// Package handler answers the public API. Each handler is what is left when the chain around it (package rpc) has done
// its part: the caller is known and allowed, the request is well-formed, and errors become statuses by themselves.
package handler
