// Package progress shows a run while it happens: on a terminal a board of steps that is drawn again in place, elsewhere
// one plain line an event, fit for a log.
package progress

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const redrawEvery = 100 * time.Millisecond

// Events is a run's events as they happen, up to the one that ends the run.
type Events = iter.Seq2[*nthlayerv1.RunEvent, error]

// Show follows the events and gives the kind of the one that ended the run: see client.Ends. It draws in place and is for
// terminals of that width; width 0 writes plain lines.
func Show(ctx context.Context, w io.Writer, width int, events Events) (ended string, err error) {
	if width > 0 {
		return showLive(ctx, w, width, events)
	}
	for e, err := range events {
		if err != nil {
			return "", err
		}
		if line := plainLine(e); line != "" {
			if _, err := fmt.Fprintln(w, line); err != nil {
				return "", err
			}
		}
		ended = e.GetKind()
	}
	return last(ended)
}

// last is the kind of a run's last event, if it was one that ends a run.
func last(kind string) (string, error) {
	if !client.Ends(kind) {
		return "", io.ErrUnexpectedEOF
	}
	return kind, nil
}

func showLive(ctx context.Context, w io.Writer, width int, events Events) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type item struct {
		event *nthlayerv1.RunEvent
		err   error
	}
	items := make(chan item)
	go func() {
		defer close(items)
		for e, err := range events {
			select {
			case items <- item{e, err}:
			case <-ctx.Done():
				return
			}
		}
	}()

	var b board
	ended, drawn := "", 0
	draw := func(now time.Time) error {
		lines := b.lines(now)
		var out strings.Builder
		if drawn > 0 {
			fmt.Fprintf(&out, "\x1b[%dA", drawn) // up to the board's first line
		}
		for _, line := range lines {
			// Clear the line, write it anew, never wider than the terminal: a line that wraps would be counted as one.
			out.WriteString("\r\x1b[2K" + ansi.Truncate(line, width, "…") + "\n")
		}
		drawn = len(lines)
		_, err := io.WriteString(w, out.String())
		return err
	}
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	for {
		select {
		case it, ok := <-items:
			if !ok {
				return last(ended)
			}
			if it.err != nil {
				return "", it.err
			}
			b.add(it.event)
			ended = it.event.GetKind()
			if err := draw(time.Now()); err != nil {
				return "", err
			}
		case now := <-tick.C:
			if err := draw(now); err != nil {
				return "", err
			}
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
