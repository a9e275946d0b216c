package rest

import (
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// knownQuery refuses query parameters that the route does not have. The gateway passes them over, and a misspelt filter
// then lists everything.
func knownQuery(pkg protoreflect.FullName, log *slog.Logger) runtime.Middleware {
	routes := queryParameters(pkg)
	return func(next runtime.HandlerFunc) runtime.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request, path map[string]string) {
			pattern, _ := runtime.HTTPPattern(r.Context())
			known := routes[r.Method+" "+pattern.String()]
			for _, name := range slices.Sorted(maps.Keys(r.URL.Query())) {
				if !slices.Contains(known, name) {
					refuse(w, r, log, http.StatusBadRequest, fault.Field(name, "there is no such query parameter here; known: "+list(known)))
					return
				}
			}
			next(w, r, path)
		}
	}
}

// onlyText refuses parameters that are not UTF-8. gRPC does so on the wire, and everything behind relies on it.
func onlyText(log *slog.Logger) runtime.Middleware {
	return func(next runtime.HandlerFunc) runtime.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request, path map[string]string) {
			parameters := r.URL.Query()
			for name, value := range path {
				parameters.Add(name, value)
			}
			for name, values := range parameters {
				if slices.ContainsFunc(values, func(v string) bool { return !utf8.ValidString(v) }) {
					refuse(w, r, log, http.StatusBadRequest, fault.Field(name, "must be UTF-8"))
					return
				}
			}
			next(w, r, path)
		}
	}
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// queryParameters reads from the descriptors which parameters each route takes, by "METHOD pattern".
func queryParameters(pkg protoreflect.FullName) map[string][]string {
	routes := map[string][]string{}
	protoregistry.GlobalFiles.RangeFilesByPackage(pkg, func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				rule, ok := proto.GetExtension(methods.Get(j).Options(), annotations.E_Http).(*annotations.HttpRule)
				if !ok || rule == nil {
					continue
				}
				for _, binding := range append(rule.GetAdditionalBindings(), rule) {
					route, template := routeOf(binding)
					routes[route] = parametersOf(methods.Get(j).Input(), binding, template)
				}
			}
		}
		return true
	})
	return routes
}

func routeOf(rule *annotations.HttpRule) (route, template string) {
	method := http.MethodPost
	switch {
	case rule.GetGet() != "":
		method, template = http.MethodGet, rule.GetGet()
	case rule.GetPut() != "":
		method, template = http.MethodPut, rule.GetPut()
	case rule.GetDelete() != "":
		method, template = http.MethodDelete, rule.GetDelete()
	default:
		template = rule.GetPost()
	}
	// The gateway prints a variable with what it matches.
	return method + " " + regexp.MustCompile(`\{(\w+)\}`).ReplaceAllString(template, "{$1=*}"), template
}

// parametersOf: what is neither in the path nor in the body. A body of "*" takes everything.
func parametersOf(input protoreflect.MessageDescriptor, rule *annotations.HttpRule, template string) (names []string) {
	if rule.GetBody() == "*" {
		return nil
	}
	for i := range input.Fields().Len() {
		name := string(input.Fields().Get(i).Name())
		inPath := strings.Contains(template, "{"+name+"}") || strings.Contains(template, "{"+name+"=")
		if !inPath && rule.GetBody() != name {
			names = append(names, name)
		}
	}
	return names
}
