// Package config turns the environment into one validated struct a service.
//
// A service's struct is composed of the fragments here and of fields of its own. Tags say everything once:
//
//	Addr string `env:"NTHLAYER_ADMIN_ADDR" envDefault:":9090" doc:"where health and readiness are served"`
//
// env names the variable, whole, so that a search finds it; add ",required" where there is no sensible default. doc is
// the meaning, as docs/config.md and error messages show it. A struct with rules beyond its types has a method
// Validate() error and names variables in the faults it gives (fault.Field). An empty variable counts as not set.
//
// Load reports every problem at once. Secrets have the type Secret and are never printed.
package config
