// Package progress shows a run or an audit while it happens: on a terminal a board that is drawn again in place, elsewhere
// plain lines, fit for a log.
package progress

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/nthlayer/nthlayer/pkg/client"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

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
	var b board
	ended := ""
	err := live(ctx, w, width, events, func(e *nthlayerv1.RunEvent) {
		b.add(e)
		ended = e.GetKind()
	}, b.lines)
	if err != nil {
		return "", err
	}
	return last(ended)
}
