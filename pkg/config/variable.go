package config

import (
	"reflect"
	"strings"
)

// Variable is an environment variable that a configuration struct reads.
type Variable struct {
	Name     string `json:"name"`
	Default  string `json:"default,omitempty"`
	Required bool   `json:"required,omitempty"`
	Secret   bool   `json:"secret,omitempty"`
	Doc      string `json:"doc"`
}

// Describe lists the variables of T, in the order of its fields.
func Describe[T any]() []Variable {
	var variables []Variable
	for leaf := range leaves(reflect.New(reflect.TypeFor[T]()).Elem()) {
		variables = append(variables, leaf.Variable)
	}
	return variables
}

// leaf is a field that is read from a variable.
type leaf struct {
	Variable
	field reflect.StructField
	value reflect.Value
}

// leaves walks the fields of a struct and of the structs in it.
func leaves(v reflect.Value) func(yield func(leaf) bool) {
	return func(yield func(leaf) bool) { walkLeaves(v, yield) }
}

func walkLeaves(v reflect.Value, yield func(leaf) bool) bool {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(field.Tag.Get("env"), ",")
		switch {
		case name != "":
			l := leaf{field: field, value: v.Field(i), Variable: Variable{
				Name: name, Default: field.Tag.Get("envDefault"), Doc: field.Tag.Get("doc"),
				Required: strings.Contains(options, "required"), Secret: field.Type == reflect.TypeFor[Secret](),
			}}
			if !yield(l) {
				return false
			}
		case field.Type.Kind() == reflect.Struct:
			if !walkLeaves(v.Field(i), yield) {
				return false
			}
		}
	}
	return true
}
