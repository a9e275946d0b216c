// Package strict decodes JSON that people write for the simulators: what it does not know, it refuses, and it names the
// field. A misspelt "times" that is silently ignored would make a test prove nothing.
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Decode reads one JSON value of at most limit bytes into v. Errors are fault.Invalid and name the field.
func Decode(r io.Reader, limit int64, v any) error {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return fault.New(fault.Unavailable, "the body could not be read", err)
	}
	if int64(len(data)) > limit {
		return fault.Field("body", fmt.Sprintf("must not be larger than %d bytes", limit))
	}
	return Unmarshal(data, v)
}

// Unmarshal is Decode for bytes at hand. Types with an UnmarshalJSON of their own call it to stay strict inside.
func Unmarshal(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return explain(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fault.Field("body", "must be one JSON value")
	}
	return nil
}

func explain(err error) error {
	if _, known := fault.As(err); known {
		return err
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := wrong.Field
		if field == "" {
			field = "body"
		}
		return fault.Field(field, fmt.Sprintf("must be %s, not %s", word(wrong.Type.Kind().String()), wrong.Value))
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok { // encoding/json has no type for it
		return fault.Field(strings.Trim(field, `"`), "is not known")
	}
	return fault.Field("body", "must be JSON: "+err.Error())
}

// word says a Go kind as JSON calls it.
func word(kind string) string {
	switch {
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"), strings.HasPrefix(kind, "float"):
		return "a number"
	case kind == "bool":
		return "true or false"
	case kind == "slice":
		return "a list"
	case kind == "struct", kind == "map", kind == "ptr":
		return "an object"
	default:
		return "a " + kind
	}
}
