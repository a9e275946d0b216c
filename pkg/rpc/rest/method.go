package rest

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// methodsAt says which methods the API takes at a path, for the Allow header: the mux knows, and does not tell.
func methodsAt(pkg protoreflect.FullName) func(escapedPath string) []string {
	type route struct {
		method string
		path   *regexp.Regexp
	}
	variable := regexp.MustCompile(`\\\{\w+=\\\*\\\}`)
	var routes []route
	for name := range queryParameters(pkg) {
		method, template, _ := strings.Cut(name, " ")
		routes = append(routes, route{method, regexp.MustCompile("^" + variable.ReplaceAllString(regexp.QuoteMeta(template), "[^/]+") + "$")})
	}
	return func(path string) (methods []string) {
		for _, r := range routes {
			if r.path.MatchString(path) {
				methods = append(methods, r.method)
				if r.method == http.MethodGet {
					methods = append(methods, http.MethodHead)
				}
			}
		}
		slices.Sort(methods)
		return slices.Compact(methods)
	}
}

// heads serves HEAD as GET. That nothing of the body is sent sees the server to, which knows the request as it came.
func heads(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		get := r.WithContext(ctx)
		get.Method = http.MethodGet
		next.ServeHTTP(&headWriter{w, cancel}, get)
	})
}

// headWriter ends the call with the first byte of the body: by then the headers are known, and a stream would go on.
type headWriter struct {
	http.ResponseWriter
	enough context.CancelFunc
}

func (w *headWriter) Write(p []byte) (int, error) {
	w.enough()
	return w.ResponseWriter.Write(p)
}

func (w *headWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
