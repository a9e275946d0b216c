package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const maxBody = 1 << 20

// read decodes a body strictly. The error names the field.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return fault.Field("body", "must be one JSON value")
		}
		return nil
	}
	if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := typed.Field
		if field == "" {
			field = "body"
		}
		return fault.Field(field, "cannot be a "+typed.Value)
	}
	if name, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		return fault.Field(strings.Trim(name, `"`), "is not a known field")
	}
	return fault.Field("body", "is not JSON as expected here: "+err.Error())
}

func outOfRange(field string, least, most int) error {
	return fault.Field(field, fmt.Sprintf("must be from %d to %d", least, most))
}

// refuse answers 400 with the field that is wrong.
func refuse(w http.ResponseWriter, err error) {
	body := map[string]string{"message": err.Error()}
	if f, ok := fault.As(err); ok && len(f.Violations) > 0 {
		body = map[string]string{"field": f.Violations[0].Field, "message": f.Violations[0].Description}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": body})
}
