package pagerduty

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
)

const (
	pageLimit = 100    // the most PagerDuty gives
	maxDepth  = 10_000 // offset+limit beyond it is refused (reference: PagerDuty pagination)
)

var (
	// errTooDeep: the list is longer than offsets reach.
	errTooDeep = errors.New("list is longer than PagerDuty's offsets reach")
	// errMoved: rows came or went during the walk, so some may have been stepped over.
	errMoved = errors.New("list changed while it was read")
)

// list is a classic paged list of PagerDuty.
type list struct {
	route string
	path  string
	query url.Values
	key   string // the plural under which the rows stand
}

type page[T any] struct {
	rows  []T
	more  bool
	total *int
}

// read gives the whole list, or fails. A list that moved under the walk is walked once more.
func read[T any](ctx context.Context, c *Client, l list, id func(T) string) ([]T, error) {
	rows, err := walk(ctx, c, l, id)
	if errors.Is(err, errMoved) {
		rows, err = walk(ctx, c, l, id)
	}
	switch {
	case errors.Is(err, errMoved), errors.Is(err, errTooDeep):
		return nil, incomplete("PagerDuty's list "+l.route+" could not be read whole", err)
	case err != nil:
		return nil, err
	}
	return rows, nil
}

// walk reads page after page. Offsets grow by the rows received, not by the limit asked for, which PagerDuty may cut.
// Without snapshot isolation only the count shows what was missed: it must be the same on every page and equal the
// distinct rows.
func walk[T any](ctx context.Context, c *Client, l list, id func(T) string) ([]T, error) {
	var rows []T
	var total *int
	seen := map[string]bool{}
	for offset := 0; ; {
		if offset+pageLimit > maxDepth {
			return nil, errTooDeep
		}
		p, err := readPage[T](ctx, c, l, offset)
		if err != nil {
			return nil, err
		}
		if total != nil && (p.total == nil || *p.total != *total) {
			return nil, fmt.Errorf("total changed after %d rows: %w", offset, errMoved)
		}
		if total = p.total; total != nil && *total > maxDepth {
			return nil, errTooDeep
		}
		for _, row := range p.rows {
			if key := id(row); key == "" {
				return nil, incomplete("PagerDuty's list "+l.route+" has a row without id", nil)
			} else if !seen[key] {
				seen[key] = true
				rows = append(rows, row)
			}
		}
		offset += len(p.rows)
		if !p.more {
			return rows, whole(len(rows), offset, total)
		}
		if len(p.rows) == 0 {
			return nil, incomplete("PagerDuty's list "+l.route+" announces more rows and gives none", nil)
		}
	}
}

// whole checks the end of a walk: distinct rows against rows received, and against the total, which some endpoints
// leave out (reference: pagerduty-cli issue 8).
func whole(distinct, received int, total *int) error {
	if distinct != received || total != nil && distinct != *total {
		announced := "no"
		if total != nil {
			announced = strconv.Itoa(*total)
		}
		return fmt.Errorf("%d rows, %d distinct, total %s: %w", received, distinct, announced, errMoved)
	}
	return nil
}

func readPage[T any](ctx context.Context, c *Client, l list, offset int) (page[T], error) {
	query := maps.Clone(l.query)
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", strconv.Itoa(pageLimit))
	query.Set("offset", strconv.Itoa(offset))
	query.Set("total", "true")
	var answer map[string]json.RawMessage
	if err := c.do(ctx, call{method: http.MethodGet, route: l.route, path: l.path, query: query}, &answer); err != nil {
		return page[T]{}, err
	}
	return decodePage[T](answer, l)
}

func decodePage[T any](answer map[string]json.RawMessage, l list) (page[T], error) {
	var p page[T]
	var more *bool
	for key, into := range map[string]any{l.key: &p.rows, "more": &more, "total": &p.total} {
		if raw, ok := answer[key]; ok {
			if err := json.Unmarshal(raw, into); err != nil {
				return page[T]{}, incomplete("PagerDuty's list "+l.route+" has an unreadable "+key, err)
			}
		}
	}
	if p.rows == nil || more == nil {
		return page[T]{}, incomplete("PagerDuty's list "+l.route+" comes without its rows or without saying whether there are more", nil)
	}
	p.more = *more
	return p, nil
}
