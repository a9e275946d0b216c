package telemetry

import (
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

const redacted = "[redacted]"

// credentials finds what stands behind the words of an Authorization header ("Token token=" is PagerDuty's), and
// passwords in URLs. The first group is kept.
var credentials = regexp.MustCompile(`(?i)((?:\bbearer |\bbasic |\btoken token=|://[^/\s:@]*:))[^\s"',;@]+`)

// redact is the last look at every attribute before it is written.
func redact(_ []string, a slog.Attr) slog.Attr {
	if secretKey(a.Key) {
		return slog.String(a.Key, redacted)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		return slog.String(a.Key, clean(a.Value.String()))
	case slog.KindAny:
		switch value := a.Value.Any().(type) {
		case error:
			return slog.String(a.Key, clean(value.Error()))
		case *url.URL:
			return slog.String(a.Key, value.Scheme+"://"+value.Host+value.Path) // queries and users hold keys
		case http.Header:
			return slog.Any(a.Key, cleanHeader(value))
		case *http.Request:
			return slog.String(a.Key, value.Method+" "+value.URL.Path) // its headers and body are nobody's business
		}
	}
	return a
}

// secretKey reports whether an attribute's name says that its value must not be read.
func secretKey(key string) bool {
	switch strings.ToLower(key) {
	case "authorization", "proxy-authorization", "cookie", "set-cookie", "token", "access_token", "password", "secret", "api_key":
		return true
	}
	return false
}

func clean(text string) string {
	if !strings.ContainsAny(text, " :") { // nothing that the pattern could find: most values
		return text
	}
	return credentials.ReplaceAllString(text, "${1}"+redacted)
}

func cleanHeader(h http.Header) http.Header {
	h = h.Clone()
	for name := range h {
		if secretKey(name) {
			h[name] = []string{redacted}
		}
	}
	return h
}
