package org

import (
	"bytes"
	_ "embed"
)

//go:embed example.json
var example []byte

// Example is Lumen, a fictional company of 40 people and 13 teams: small, and messy in every way that a reconciler has
// to survive. docs/simulators.md says which team shows what.
func Example() *Org {
	o, err := Decode(bytes.NewReader(example))
	if err != nil {
		panic("the embedded example organisation is broken: " + err.Error()) // a test decodes it
	}
	return o
}
