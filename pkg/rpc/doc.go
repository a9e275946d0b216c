// Package rpc holds what every NthLayer server and client does around a call, so that the services hold only what is
// theirs: who asks, may they, is the request well-formed, how long may it take, what is logged, what an error becomes.
//
// The way of a call is a Chain: a list of named Links, the same for unary calls and streams, over the network and in
// process. The public one is
//
//	recover → request_id → metrics → log → deadline → authn → validate → authz → audit → handler
//
// Validation comes before authorization because authorization reads the resource from the request and must be able to
// trust it; it comes after authentication, so that strangers learn nothing about what is well-formed.
//
// Sub-packages: rest (JSON over the same chain, in process), grpcfault (errors), pagetoken (lists), mtls and devca (internal
// TLS).
package rpc
