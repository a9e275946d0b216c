package testkit

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Outside is all that a service lets out: logs, answers, errors, spans. A test collects it and looks whether anything is
// in it that should have stayed inside. It is an io.Writer for the service's own output.
type Outside struct {
	mu   sync.Mutex
	said map[string]*strings.Builder // by where it was said
	more chan struct{}               // closed when more was said; nil: nobody waits
}

// Write notes output of the service.
func (o *Outside) Write(p []byte) (int, error) {
	o.Add("output", string(p))
	return len(p), nil
}

// Add notes what was said somewhere.
func (o *Outside) Add(where, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.said == nil {
		o.said = map[string]*strings.Builder{}
	}
	if o.said[where] == nil {
		o.said[where] = &strings.Builder{}
	}
	o.said[where].WriteString(text)
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
}

// Get makes a request, adds what is answered, and gives it.
func (o *Outside) Get(t testing.TB, address string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
	require.NoError(t, err)
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	o.Add(request.URL.Path, fmt.Sprint(answer.Header)+string(body))
	return string(body)
}

// Said is everything said somewhere so far.
func (o *Outside) Said(where string) string {
	text, _ := o.saidUntil(where)
	return text
}

// saidUntil also gives a channel that is closed when more is said.
func (o *Outside) saidUntil(where string) (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	if o.said[where] == nil {
		return "", o.more
	}
	return o.said[where].String(), o.more
}

// Await waits until a pattern stands in what was said somewhere, for 30 s at most, and gives its last group, or the whole.
func (o *Outside) Await(t testing.TB, where, pattern string) string {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	for {
		text, more := o.saidUntil(where)
		if found := wanted.FindStringSubmatch(text); found != nil {
			return found[len(found)-1]
		}
		select {
		case <-more:
		case <-late.C:
			require.FailNow(t, "nobody said "+pattern, text)
		}
	}
}

// Holding lists where a secret can be read: as it is, or in one of the forms in which values travel.
func (o *Outside) Holding(secret string) (places []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	forms := []struct{ name, value string }{
		{"", secret}, {" in a query", url.QueryEscape(secret)}, {" in a path", url.PathEscape(secret)}, {" in capitals", strings.ToUpper(secret)},
		{" in hex", hex.EncodeToString([]byte(secret))}, {" in base64", base64.RawStdEncoding.EncodeToString([]byte(secret))},
		{" in base64url", base64.RawURLEncoding.EncodeToString([]byte(secret))},
	}
	for where, said := range o.said {
		for _, form := range forms {
			if strings.Contains(said.String(), form.value) {
				places = append(places, where+form.name)
				break
			}
		}
	}
	slices.Sort(places)
	return places
}
