package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/system"
)

const (
	askWithin  = 5 * time.Second
	toldWithin = 15 * time.Second
	lookEvery  = 50 * time.Millisecond
)

// upstreams asks the simulators what they were asked.
type upstreams struct {
	client *http.Client
	names  []string // in the order of a run
	urls   map[string]string
}

func newUpstreams(info system.Info) upstreams {
	return upstreams{
		client: &http.Client{Timeout: askWithin},
		names:  []string{"Cortex", "PagerDuty", "Slack"},
		urls:   map[string]string{"Cortex": info.Cortex, "PagerDuty": info.PagerDuty, "Slack": info.Slack},
	}
}

func (u upstreams) control(ctx context.Context, method, name, what, body string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, u.urls[name]+"/_control/"+what, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask the %s simulator: %w", name, err)
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the %s simulator: %w", name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("ask the %s simulator: %s", name, resp.Status)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("ask the %s simulator: %w", name, err)
	}
	return nil
}

func (u upstreams) forgetCalls(ctx context.Context) error {
	var errs []error
	for _, name := range u.names {
		errs = append(errs, u.control(ctx, http.MethodDelete, name, "calls", "", nil))
	}
	return errors.Join(errs...)
}

// answerAsOverTheInternet gives every platform a latency, so that the steps of a run can be followed by eye.
func (u upstreams) answerAsOverTheInternet(ctx context.Context) error {
	var errs []error
	for _, name := range u.names {
		errs = append(errs, u.control(ctx, http.MethodPut, name, "limits", `{"latency_ms": 60}`, nil))
	}
	return errors.Join(errs...)
}

// calls is what a simulator counted.
type calls struct {
	Total  int            `json:"total"`
	Writes int            `json:"writes"`
	Counts map[string]int `json:"counts"` // by "METHOD /route"
}

func (u upstreams) showCalls(ctx context.Context, w io.Writer) error {
	for _, name := range u.names {
		var c calls
		if err := u.control(ctx, http.MethodGet, name, "calls", "", &c); err != nil {
			return err
		}
		fmt.Fprintf(w, "%-10s %3d\n", name, c.Total)
		for _, route := range slices.Sorted(maps.Keys(c.Counts)) {
			fmt.Fprintf(w, "  %6s   %s\n", fmt.Sprintf("%d ×", c.Counts[route]), route)
		}
	}
	return nil
}

func (u upstreams) writesToPagerDuty(ctx context.Context) (int, error) {
	var c calls
	err := u.control(ctx, http.MethodGet, "PagerDuty", "calls", "", &c)
	return c.Writes, err
}

type message struct {
	Channel  string          `json:"channel"`
	ThreadTS string          `json:"thread_ts"`
	Text     string          `json:"text"`
	Blocks   json.RawMessage `json:"blocks"`
}

// showMessages shows what Slack got. The notifier works on its own, so its message may come a moment after the run's end.
func (u upstreams) showMessages(ctx context.Context, w io.Writer) error {
	patience := time.NewTimer(toldWithin)
	defer patience.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		var state struct {
			Messages []message `json:"messages"`
		}
		if err := u.control(ctx, http.MethodGet, "Slack", "state", "", &state); err != nil {
			return err
		}
		if len(state.Messages) > 0 {
			for _, m := range state.Messages {
				where := m.Channel
				if m.ThreadTS != "" {
					where += ", in the thread"
				}
				fmt.Fprintf(w, "%s\n%s\n", where, quoted(m.readable()))
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-patience.C:
			return fmt.Errorf("Slack was told nothing within %s; the notifier's log says why", toldWithin)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readable is a message as a person sees it: the text of its blocks, or where it has none its plain text.
func (m message) readable() string {
	var blocks any
	if json.Unmarshal(m.Blocks, &blocks) != nil {
		return m.Text
	}
	var texts []string
	collect(blocks, &texts)
	return cmp.Or(strings.Join(texts, "\n"), m.Text)
}

// collect gathers the texts of Block Kit: every object with a type of text and a "text".
func collect(node any, texts *[]string) {
	switch n := node.(type) {
	case []any:
		for _, child := range n {
			collect(child, texts)
		}
	case map[string]any:
		if text, ok := n["text"].(string); ok {
			*texts = append(*texts, text)
			return
		}
		for _, key := range []string{"text", "fields", "elements"} {
			collect(n[key], texts)
		}
	}
}
