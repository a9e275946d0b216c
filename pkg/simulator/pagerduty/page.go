package pagerduty

import (
	"fmt"
	"net/http"
	"strconv"
)

// Classic pagination: limit 25 unless told, 100 at most, and nothing beyond row 10,000 (PagerDuty developer
// documentation, "Pagination").
const (
	defaultLimit = 25
	maxLimit     = 100
	maxRow       = 10_000
)

// page answers one page of rows under key. total is null unless it is asked for.
func page[T any](r *http.Request, key string, rows []T, show func(T) any) (int, any) {
	query := r.URL.Query()
	limit, err := number(query.Get("limit"), defaultLimit)
	if err != nil {
		return invalid("Limit must be a number")
	}
	offset, err := number(query.Get("offset"), 0)
	if err != nil {
		return invalid("Offset must be a number")
	}
	limit = min(max(limit, 1), maxLimit)
	if offset > maxRow-limit {
		return invalid(fmt.Sprintf("Offset must be less than %d", maxRow-limit))
	}
	end := min(offset+limit, len(rows))
	shown := []any{}
	for i := offset; i < end; i++ {
		shown = append(shown, show(rows[i]))
	}
	answer := object{key: shown, "limit": limit, "offset": offset, "more": end < len(rows), "total": nil}
	if query.Get("total") == "true" {
		answer["total"] = len(rows)
	}
	return http.StatusOK, answer
}

func number(text string, otherwise int) (int, error) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err == nil && n < 0 {
		err = fmt.Errorf("%d is negative", n)
	}
	return n, err
}
