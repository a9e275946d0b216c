package rpc

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/nthlayer/nthlayer/pkg/fault"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Access is the access option of a method, as declared in its .proto file; false where it has none.
func Access(fullMethod string) (*nthlayerv1.Access, bool) {
	method, ok := descriptor(fullMethod)
	if !ok {
		return nil, false
	}
	access, ok := proto.GetExtension(method.Options(), nthlayerv1.E_Access).(*nthlayerv1.Access)
	return access, ok && access.GetAction() != ""
}

// Actions are the actions of all methods of the public API, by name.
var Actions = sync.OnceValue(func() []string {
	var actions []string
	protoregistry.GlobalFiles.RangeFilesByPackage("nthlayer.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				access, _ := proto.GetExtension(methods.Get(j).Options(), nthlayerv1.E_Access).(*nthlayerv1.Access)
				actions = append(actions, access.GetAction())
			}
		}
		return true
	})
	slices.Sort(actions)
	return slices.Compact(actions)
})

func descriptor(fullMethod string) (protoreflect.MethodDescriptor, bool) {
	name := strings.ReplaceAll(strings.TrimPrefix(fullMethod, "/"), "/", ".")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil, false
	}
	method, ok := found.(protoreflect.MethodDescriptor)
	return method, ok
}

// checkAccess refuses a server on which some method could be reached without anybody having said who may.
func checkAccess(services map[string]grpc.ServiceInfo) error {
	var problems []string
	for service, info := range services {
		for _, m := range info.Methods {
			if problem := accessProblem("/" + service + "/" + m.Name); problem != "" {
				problems = append(problems, problem)
			}
		}
	}
	if len(problems) == 0 {
		return nil
	}
	slices.Sort(problems)
	return fault.New(fault.Internal, "the server does not start: "+strings.Join(problems, "; "), nil)
}

func accessProblem(fullMethod string) string {
	if exempt(fullMethod) {
		return ""
	}
	access, ok := Access(fullMethod)
	if !ok {
		return fullMethod + " declares no access option"
	}
	method, _ := descriptor(fullMethod)
	if method.IsStreamingClient() { // its handler would run before the first message was checked
		return fullMethod + " takes a stream of requests, which the chain cannot authorize"
	}
	if access.GetResource() == "*" {
		return ""
	}
	field := method.Input().Fields().ByName(protoreflect.Name(access.GetResource()))
	if field == nil || field.Kind() != protoreflect.StringKind || field.IsList() {
		return fmt.Sprintf("%s names the resource %q, which is not a string field of its request", fullMethod, access.GetResource())
	}
	return ""
}

// resourceOf reads the resource that a request is about. A field that the request leaves empty names none: then it is about all
// of them, and a grant for one must not do.
func resourceOf(access *nthlayerv1.Access, request proto.Message) string {
	message := request.ProtoReflect()
	if field := message.Descriptor().Fields().ByName(protoreflect.Name(access.GetResource())); field != nil {
		return cmp.Or(message.Get(field).String(), "*")
	}
	return access.GetResource()
}
