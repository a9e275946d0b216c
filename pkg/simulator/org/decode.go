package org

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/nthlayer/nthlayer/pkg/simulator/strict"
)

// maxBytes bounds a document. The largest real one known (765 teams) has 0.4 MB.
const maxBytes = 32 << 20

// Decode reads and checks a document. Errors are fault.Invalid and name the field, with its place in its list.
func Decode(r io.Reader) (*Org, error) {
	var o Org
	if err := strict.Decode(r, maxBytes, &o); err != nil {
		return nil, err
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &o, nil
}

// UnmarshalJSON takes a bare handle as well as an object.
func (p *Person) UnmarshalJSON(data []byte) error {
	*p = Person{}
	if bytes.HasPrefix(data, []byte(`"`)) {
		return json.Unmarshal(data, &p.Handle)
	}
	type plain Person // without this method
	return strict.Unmarshal(data, (*plain)(p))
}
