package config

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Validator is a struct with rules beyond the types of its fields. Its error is a fault.Field that names the variable,
// or several joined with errors.Join.
type Validator interface{ Validate() error }

// Load reads T from an environment as os.Environ gives it. The error is one fault.Invalid that names every variable with
// a problem and says what to do about it.
func Load[T any](environ []string) (T, error) {
	var cfg T
	root := reflect.ValueOf(&cfg).Elem()
	set := present(environ)
	var problems []fault.Violation
	for l := range leaves(root) {
		if problem := l.read(set); problem != "" {
			problems = append(problems, fault.Violation{Field: l.Name, Description: problem})
		}
	}
	for _, p := range rules(root) {
		// A variable that could not be read has been complained about; and a rule seen twice is one rule (a method of an
		// embedded fragment is also a method of the struct around it).
		if !slices.ContainsFunc(problems, func(o fault.Violation) bool { return o.Field == p.Field }) {
			problems = append(problems, p)
		}
	}
	if len(problems) == 0 {
		return cfg, nil
	}
	var text strings.Builder
	text.WriteString("the configuration is not usable:")
	for _, p := range problems {
		fmt.Fprintf(&text, "\n  %s %s", p.Field, p.Description)
	}
	for _, typo := range typos(root, set) {
		text.WriteString("\n  " + typo)
	}
	err := fault.New(fault.Invalid, text.String(), nil).WithReason("CONFIG_INVALID")
	err.Violations = problems
	return cfg, err
}

// Typos finds NTHLAYER_ variables that T does not read and that look like one that it does read and that is not set.
// Other unknown variables are none: services may share an environment.
func Typos[T any](environ []string) []string {
	return typos(reflect.New(reflect.TypeFor[T]()).Elem(), present(environ))
}

// present drops empty variables: orchestrators pass optional ones on as empty.
func present(environ []string) map[string]string {
	set := env.ToMap(environ)
	for name, value := range set {
		if value == "" {
			delete(set, name)
		}
	}
	return set
}

// read sets the field and gives the problem, or "". Each field is parsed as a struct of its own, because the library's
// errors name Go fields, and those are not unique.
func (l leaf) read(set map[string]string) string {
	single := reflect.New(reflect.StructOf([]reflect.StructField{{Name: l.field.Name, Type: l.field.Type, Tag: l.field.Tag}}))
	err := env.ParseWithOptions(single.Interface(), env.Options{Environment: set})
	if err == nil {
		l.value.Set(single.Elem().Field(0))
		return ""
	}
	if _, missing := errors.AsType[env.VarIsNotSetError](err); missing {
		return "is not set: " + cmp.Or(l.Doc, "it is required")
	}
	parse, ok := errors.AsType[env.ParseError](err)
	if !ok || l.Secret {
		return "cannot be read: " + want(l.field.Type)
	}
	return fmt.Sprintf("cannot be read: %s (%s)", want(l.field.Type), parse.Err)
}

// want says how a value of a type is written.
func want(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[slog.Level]():
		return "use debug, info, warn or error"
	case t == reflect.TypeFor[time.Duration]():
		return "use a duration such as 30s or 5m"
	case t.Kind() == reflect.Bool:
		return "use true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return "use a whole number"
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		return "use a number such as 0.25"
	case t.Kind() == reflect.Map:
		return "use pairs such as a:b,c:d"
	default:
		return "use a value of its type"
	}
}

// rules runs Validate on the struct and on those in it, innermost first.
func rules(v reflect.Value) []fault.Violation {
	var problems []fault.Violation
	for i := range v.NumField() {
		if field := v.Type().Field(i); field.IsExported() && field.Type.Kind() == reflect.Struct && field.Tag.Get("env") == "" {
			problems = append(problems, rules(v.Field(i))...)
		}
	}
	if validator, ok := v.Addr().Interface().(Validator); ok {
		problems = append(problems, violations(validator.Validate())...)
	}
	return problems
}

func violations(err error) []fault.Violation {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []fault.Violation
		for _, e := range joined.Unwrap() {
			all = append(all, violations(e)...)
		}
		return all
	}
	if f, ok := fault.As(err); ok && len(f.Violations) > 0 {
		return f.Violations
	}
	return []fault.Violation{{Field: "configuration", Description: err.Error()}}
}
