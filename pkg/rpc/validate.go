package rpc

import (
	"context"
	"errors"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// validating checks requests against the rules in their .proto files and names every field that breaks one.
func validating() (Link, error) {
	validator, err := protovalidate.New()
	if err != nil {
		return Link{}, fault.New(fault.Internal, "the request validator could not be made", err)
	}
	return Link{Name: "validate", Check: func(_ context.Context, _ *Call, request proto.Message) error {
		err := validator.Validate(request)
		if err == nil {
			return nil
		}
		var broken *protovalidate.ValidationError
		if !errors.As(err, &broken) {
			return fault.New(fault.Internal, "the rules for this request cannot be evaluated", err)
		}
		return violations(broken)
	}}, nil
}

func violations(broken *protovalidate.ValidationError) *fault.Error {
	var all []fault.Violation
	for _, v := range broken.Violations {
		all = append(all, fault.Violation{
			Field:       protovalidate.FieldPathString(v.Proto.GetField()),
			Description: inWords(v),
		})
	}
	f := fault.Field(all[0].Field, all[0].Description)
	f.Violations = all
	return f
}

// patternWords says what the patterns of the .proto files allow: a regular expression is no answer to a person.
var patternWords = map[string]string{
	`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`:    "must be 1 to 128 letters, digits or . _ / - and begin with a letter or a digit",
	`^([A-Za-z0-9][A-Za-z0-9._/-]{0,127})?$`: "must be up to 128 letters, digits or . _ / - and begin with a letter or a digit",
	`^[A-Za-z0-9._-]{1,128}$`:                "must be 1 to 128 letters, digits or . _ -",
	`^[A-Za-z0-9_-]*$`:                       "must be letters, digits or _ -",
	`^[A-Z0-9_]{0,64}$`:                      "must be up to 64 capital letters, digits or _",
	`^[a-z0-9][a-z0-9-]{0,62}$`:              "must be 1 to 63 small letters, digits or - and begin with a letter or a digit",
	`^([a-z0-9][a-z0-9-]{0,62})?$`:           "must be up to 63 small letters, digits or - and begin with a letter or a digit",
	`^([a-z][a-z_]{0,63})?$`:                 "must be small letters or _ such as add_member",
	`^([A-Z0-9]{2,32})?$`:                    "must be a channel's id: 2 to 32 capital letters or digits, such as C0123456789",
	`^[0-9a-f]{64}$`:                         "must be the hash of a plan: 64 digits or letters a to f, as the run's plan shows it",
	`^([0-9a-f]{64})?$`:                      "must be the hash of a plan, 64 digits or letters a to f, or left out",
	`^[A-Z0-9]{2,32}$`:                       "must be an id of Slack: 2 to 32 capital letters or digits, such as U0123456789",
	`^[a-z][a-z_]{0,63}\.[a-z][a-z_]{0,63}$`: "must be an action, such as teams.reconcile",
	`^[a-z][a-z0-9_.-]{0,127}$`:              "must be a role or an action: small letters, digits or _ . - beginning with a letter",
	`^[a-z][a-z0-9-]{0,62}$`:                 "must be 1 to 63 small letters, digits or - and begin with a letter",
	`^[A-Za-z0-9_+/-]{0,64}$`:                "must be a time zone of the IANA database, such as Europe/Berlin",
	`^[A-Za-z0-9._/*?-]{1,128}$`:             "must be a pattern of a team's id: letters, digits or . _ / - with * for anything and ? for one character",
	`^[^\p{Cc}]*$`:                           "must not hold line breaks or other control characters",
	`^[^\p{Cc}]+$`:                           "must not be empty, and not hold line breaks or other control characters",
}

// inWords is a violation as a person would put it.
func inWords(v *protovalidate.Violation) string {
	switch v.Proto.GetRuleId() {
	case "string.pattern":
		if words, ok := patternWords[v.RuleValue.String()]; ok {
			return words
		}
	case "string.in":
		list, leftOut := v.RuleValue.List(), ""
		var allowed []string
		for i := range list.Len() {
			if value := list.Get(i).String(); value != "" {
				allowed = append(allowed, value)
			} else {
				leftOut = ", or left out"
			}
		}
		if len(allowed) == 1 {
			return "must be " + allowed[0] + leftOut
		}
		return "must be one of " + strings.Join(allowed, ", ") + leftOut
	}
	return v.Proto.GetMessage()
}
