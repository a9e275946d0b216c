package progress

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
)

const redrawEvery = 100 * time.Millisecond

// live takes the items as they come and draws the lines in place, again with each item and so often that a clock moves.
func live[T any](ctx context.Context, w io.Writer, width int, items iter.Seq2[T, error], add func(T), lines func(now time.Time) []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type item struct {
		what T
		err  error
	}
	come := make(chan item)
	go func() {
		defer close(come)
		for what, err := range items {
			select {
			case come <- item{what, err}:
			case <-ctx.Done():
				return
			}
		}
	}()

	drawn := 0
	draw := func(now time.Time) error {
		lines := lines(now)
		var out strings.Builder
		if drawn > 0 {
			fmt.Fprintf(&out, "\x1b[%dA", drawn) // up to the first line
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
		case it, ok := <-come:
			if !ok {
				return nil
			}
			if it.err != nil {
				return it.err
			}
			add(it.what)
			if err := draw(time.Now()); err != nil {
				return err
			}
		case now := <-tick.C:
			if err := draw(now); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// spin is the picture of something that goes on.
func spin(now time.Time) string {
	pictures := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	return string(pictures[now.UnixMilli()/redrawEvery.Milliseconds()%int64(len(pictures))])
}
