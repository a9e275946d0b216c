package config

import (
	"encoding"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// Write prints the effective configuration, one variable a line. Secrets are redacted; one that is not set is empty.
func Write[T any](w io.Writer, cfg T) error {
	var text strings.Builder
	for l := range leaves(reflect.ValueOf(&cfg).Elem()) {
		fmt.Fprintf(&text, "%s=%s\n", l.Name, l.effective())
	}
	_, err := io.WriteString(w, text.String())
	return err
}

func (l leaf) effective() string {
	switch value := l.value.Interface().(type) {
	case Secret:
		if value.Empty() {
			return ""
		}
		return redacted
	case encoding.TextMarshaler:
		text, err := value.MarshalText()
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
	var parts []string
	switch l.value.Kind() {
	case reflect.Slice:
		for i := range l.value.Len() {
			parts = append(parts, fmt.Sprint(l.value.Index(i)))
		}
	case reflect.Map:
		for _, key := range l.value.MapKeys() {
			parts = append(parts, fmt.Sprint(key, ":", l.value.MapIndex(key)))
		}
		slices.Sort(parts)
	default:
		parts = append(parts, fmt.Sprint(l.value.Interface()))
	}
	return strings.Join(parts, ",")
}
