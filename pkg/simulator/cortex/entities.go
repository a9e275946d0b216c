package cortex

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Page sizes of the catalogue (Cortex API, "List entities").
const (
	defaultPageSize = 250
	maxPageSize     = 1000
)

// window reads page and pageSize and gives the rows they stand for.
func window(r *http.Request, rows int) (page, from, to, pages int, problem string) {
	query := r.URL.Query()
	size, err := strconv.Atoi(or(query.Get("pageSize"), strconv.Itoa(defaultPageSize)))
	if err != nil || size < 1 || size > maxPageSize {
		return 0, 0, 0, 0, "pageSize must be between 1 and 1000"
	}
	page, err = strconv.Atoi(or(query.Get("page"), "0"))
	if err != nil || page < 0 {
		return 0, 0, 0, 0, "page must not be negative"
	}
	pages = (rows + size - 1) / size
	from = min(page, pages) * size // a page far behind the last would overflow
	return page, min(from, rows), min(from+size, rows), pages, ""
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// listCatalogue knows teams only. Without a filter on types Cortex lists everything but teams.
func (s *Server) listCatalogue(r *http.Request) (int, any) {
	query := r.URL.Query()
	flags := map[string]bool{}
	for _, name := range []string{"includeMetadata", "includeSlackChannels"} {
		flags[name] = query.Get(name) == "true"
	}
	for name := range strings.SplitSeq(query.Get("includeNestedFields"), ",") {
		flags[name] = true
	}
	var rows []*team
	if slices.Contains(strings.Split(query.Get("types"), ","), "team") {
		needle := strings.ToLower(query.Get("query"))
		for _, t := range s.teams.order {
			if (!t.Archived || query.Get("includeArchived") == "true") &&
				(needle == "" || strings.Contains(strings.ToLower(t.Name+" "+t.Tag), needle)) {
				rows = append(rows, t)
			}
		}
	}
	page, from, to, pages, problem := window(r, len(rows))
	if problem != "" {
		return badRequest(problem)
	}
	shown := []any{}
	for _, t := range rows[from:to] {
		shown = append(shown, t.row(flags))
	}
	return http.StatusOK, object{"entities": shown, "page": page, "total": len(rows), "totalPages": pages}
}

func (s *Server) getEntity(r *http.Request) (int, any) {
	t := s.teams.find(r.PathValue("tag"))
	if t == nil {
		return notFound(r.PathValue("tag"))
	}
	return http.StatusOK, t.row(map[string]bool{"includeMetadata": true, "includeSlackChannels": true})
}

// listCustomData is a bare array without totals: it ends with an empty page.
func (s *Server) listCustomData(r *http.Request) (int, any) {
	t := s.teams.find(r.PathValue("tag"))
	if t == nil {
		return notFound(r.PathValue("tag"))
	}
	keys := slices.Sorted(maps.Keys(t.Custom))
	_, from, to, _, problem := window(r, len(keys))
	if problem != "" {
		return badRequest(problem)
	}
	shown := []any{}
	for _, key := range keys[from:to] {
		shown = append(shown, customData(t, key))
	}
	return http.StatusOK, shown
}

func customData(t *team, key string) object {
	return object{"key": key, "value": t.Custom[key], "description": nil, "source": "API"}
}

func (s *Server) getCustomData(r *http.Request) (int, any) {
	t, key := s.teams.find(r.PathValue("tag")), r.PathValue("key")
	if t == nil || t.Custom[key] == nil {
		return notFound(r.PathValue("tag") + " " + key)
	}
	return http.StatusOK, customData(t, key)
}

func (s *Server) putCustomData(r *http.Request) (int, any) {
	t := s.teams.find(r.PathValue("tag"))
	if t == nil {
		return notFound(r.PathValue("tag"))
	}
	var body struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Key == "" {
		return badRequest("key and value are required")
	}
	t.Custom[body.Key] = body.Value
	return http.StatusOK, customData(t, body.Key)
}
