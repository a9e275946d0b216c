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
	var rows []T
	collect := func(page []T) error {
		rows = append(rows, page...)
		return nil
	}
	err := stream(ctx, c, l, id, func() { rows = nil }, collect)
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// stream gives the list page by page. A list that moved under the walk is walked once more; again says that it begins
// anew. What each was given is whole only when stream ends without an error.
func stream[T any](ctx context.Context, c *Client, l list, id func(T) string, again func(), each func([]T) error) error {
	err := walk(ctx, c, l, id, each)
	if errors.Is(err, errMoved) {
		again()
		err = walk(ctx, c, l, id, each)
	}
	if errors.Is(err, errMoved) || errors.Is(err, errTooDeep) {
		return incomplete("PagerDuty's list "+l.route+" could not be read whole", err)
	}
	return err
}

// walk reads page after page and gives each the rows that it has not had. Offsets grow by the rows received, not by the
// limit asked for, which PagerDuty may cut. Without snapshot isolation only the count shows what was missed: it must be
// the same on every page and equal the distinct rows.
func walk[T any](ctx context.Context, c *Client, l list, id func(T) string, each func([]T) error) error {
	var total *int
	seen := map[string]bool{}
	for offset := 0; ; {
		if offset+pageLimit > maxDepth {
			return errTooDeep
		}
		p, err := readPage[T](ctx, c, l, offset)
		if err != nil {
			return err
		}
		if total != nil && (p.total == nil || *p.total != *total) {
			return fmt.Errorf("total changed after %d rows: %w", offset, errMoved)
		}
		if total = p.total; total != nil && *total > maxDepth {
			return errTooDeep
		}
		fresh, err := unseen(p.rows, seen, l, id)
		if err != nil {
			return err
		}
		if len(fresh) > 0 {
			if err := each(fresh); err != nil {
				return err
			}
		}
		offset += len(p.rows)
		if !p.more {
			return whole(len(seen), offset, total)
		}
		if len(p.rows) == 0 {
			return incomplete("PagerDuty's list "+l.route+" announces more rows and gives none", nil)
		}
	}
}

// unseen leaves out rows that came before, and remembers the others.
func unseen[T any](rows []T, seen map[string]bool, l list, id func(T) string) ([]T, error) {
	fresh := make([]T, 0, len(rows))
	for _, row := range rows {
		key := id(row)
		if key == "" {
			return nil, incomplete("PagerDuty's list "+l.route+" has a row without id", nil)
		}
		if !seen[key] {
			seen[key] = true
			fresh = append(fresh, row)
		}
	}
	return fresh, nil
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
