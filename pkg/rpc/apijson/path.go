package apijson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// path leads to a value: the names of fields and, as ints, the places in lists.
type path []any

func (p path) String() string {
	var b strings.Builder
	for _, step := range p {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step[:min(len(step), 64)])
		}
	}
	return b.String()
}

// open is an object or a list that is being read.
type open struct {
	object, named bool // named: its name was read, its value was not
	name          string
	index         int
}

func (o *open) valueRead() {
	o.named = false
	o.index++
}

// pathAt is the way to the value, or to the name of the field, that stands at a byte of well-formed JSON.
func pathAt(raw []byte, at int64) path {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	var way []*open
	for {
		token, err := decoder.Token()
		if err != nil {
			return nil
		}
		delim, _ := token.(json.Delim)
		if delim == '}' || delim == ']' {
			way = way[:len(way)-1]
		}
		var in *open
		if len(way) > 0 {
			in = way[len(way)-1]
		}
		name := false
		if in != nil && in.object && !in.named {
			in.name, name = token.(string)
			in.named = name
		}
		switch {
		case decoder.InputOffset() > at:
			return steps(way)
		case name:
		case delim == '{' || delim == '[':
			way = append(way, &open{object: delim == '{'})
		case in != nil:
			in.valueRead()
		}
	}
}

func steps(way []*open) (p path) {
	for _, in := range way {
		switch {
		case in.object && in.named:
			p = append(p, in.name)
		case !in.object:
			p = append(p, in.index)
		}
	}
	return p
}
