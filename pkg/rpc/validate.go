package rpc

import (
	"context"
	"errors"

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
			Description: v.Proto.GetMessage(),
		})
	}
	f := fault.Field(all[0].Field, all[0].Description)
	f.Violations = all
	return f
}
