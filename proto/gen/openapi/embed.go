// Package openapi holds the OpenAPI description of the public REST API, generated from proto/nthlayer/v1.
package openapi

import _ "embed"

//go:embed nthlayer.swagger.json
var spec string

// Spec is the description as JSON (OpenAPI 2.0).
func Spec() string { return spec }
