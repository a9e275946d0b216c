package slack

import (
	"net/http"
	"testing"

	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// FuzzClassify: a body never makes a success of a refusal, and only Slack's own words say more than its status.
func FuzzClassify(f *testing.F) {
	for _, seed := range []string{``, `{}`, `null`, `{"ok":true}`, `{"ok":false,"error":"ratelimited"}`, `{"ok":false,"error":7}`, `[]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if class, ok := classify(http.StatusOK, body); ok && class != upstream.Throttled && class != upstream.Busy && class != upstream.Unauthorized {
			t.Fatalf("class %s", class)
		}
		if _, ok := classify(http.StatusInternalServerError, body); ok {
			t.Fatal("a status that is clear was overruled")
		}
	})
}
