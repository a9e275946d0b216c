package rest

import (
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
)

// slashes lets path parameters hold slashes, which callers write as %2F: team ids do. The mux routes on the escaped path
// (UnescapingModeAllExceptSlash), so that such a slash is not taken for the end of a segment, and leaves it to us.
func slashes(next runtime.HandlerFunc) runtime.HandlerFunc {
	escaped := strings.NewReplacer("%2F", "/", "%2f", "/")
	return func(w http.ResponseWriter, r *http.Request, path map[string]string) {
		for name, value := range path {
			path[name] = escaped.Replace(value)
		}
		next(w, r, path)
	}
}
