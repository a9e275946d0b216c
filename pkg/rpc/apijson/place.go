package apijson

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// place is what the message has at a path.
type place struct {
	in      protoreflect.MessageDescriptor // that holds the field
	field   protoreflect.FieldDescriptor   // nil: the message has none of this name
	element bool                           // of the list or the map that the field is
	whole   bool                           // the message itself
}

func find(message protoreflect.MessageDescriptor, way path) place {
	at := place{in: message, whole: true}
	for _, step := range way {
		at.whole = false
		if at.field != nil && !at.element && (at.field.IsList() || at.field.IsMap()) {
			at.element = true
			continue
		}
		if at.field != nil {
			at.in = at.field.Message()
		}
		name, ok := step.(string)
		if at.in == nil || !ok {
			return place{}
		}
		at.element = false
		if at.field = at.in.Fields().ByJSONName(name); at.field == nil {
			at.field = at.in.Fields().ByTextName(name)
		}
		if at.field == nil {
			return at
		}
	}
	return at
}

func (p place) known() bool { return p.whole || p.field != nil }

// kind says what belongs here.
func (p place) kind() string {
	switch {
	case p.whole:
		return "a JSON object"
	case p.field.IsList() && !p.element:
		return "a list"
	case p.field.IsMap() && !p.element:
		return "an object"
	case p.field.IsMap():
		return "a value of " + string(p.field.Name())
	}
	switch p.field.Kind() {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.StringKind:
		return "a string, in quotes"
	case protoreflect.BytesKind:
		return "a string of base64"
	case protoreflect.EnumKind:
		return "one of the names of " + string(p.field.Enum().Name())
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "a number"
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return p.message()
	default:
		return "a whole number (" + p.field.Kind().String() + ")"
	}
}

func (p place) message() string {
	switch p.field.Message().FullName() {
	case "google.protobuf.Duration":
		return `seconds in quotes, such as "7200s"`
	case "google.protobuf.Timestamp":
		return `a time in quotes, such as "2026-03-01T09:00:00Z"`
	default:
		return "an object"
	}
}

// siblings are the names of the fields that there are.
func (p place) siblings() string {
	if p.in == nil {
		return "others"
	}
	var all []string
	for i := range p.in.Fields().Len() {
		all = append(all, string(p.in.Fields().Get(i).Name()))
	}
	return strings.Join(all, ", ")
}
