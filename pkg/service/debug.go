package service

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof" // it adds itself to http.DefaultServeMux, which nothing here serves
	"strconv"
	"strings"
)

const (
	maxLevelBytes     = 64
	maxProfileSeconds = 120
)

// inside is what /debug shows of a running service, on the admin listener alone.
type inside struct {
	config string // as --check-config prints it: without secrets
	level  *slog.LevelVar
	log    *slog.Logger
}

func (i inside) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/config", i.showConfig)
	mux.HandleFunc("GET /debug/log-level", i.showLevel)
	mux.HandleFunc("PUT /debug/log-level", i.setLevel)
	// All of net/http/pprof but the command line, which may hold what the configuration hides.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", timed(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/trace", timed(pprof.Trace))
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
}

func (i inside) showConfig(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, i.config)
}

func (i inside) showLevel(w http.ResponseWriter, _ *http.Request) {
	answerLevel(w, map[string]string{"is": word(i.level.Level())})
}

// setLevel changes what is logged until the service ends or somebody changes it again.
func (i inside) setLevel(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLevelBytes))
	level, known := levels[strings.ToLower(strings.TrimSpace(string(body)))]
	if err != nil || !known {
		http.Error(w, "the body must be one of debug, info, warn, error", http.StatusBadRequest)
		return
	}
	was := i.level.Level()
	i.level.Set(level)
	i.log.WarnContext(r.Context(), "log level changed", "was", word(was), "is", word(level))
	answerLevel(w, map[string]string{"was": word(was), "is": word(level)})
}

var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func word(level slog.Level) string { return strings.ToLower(level.String()) }

func answerLevel(w http.ResponseWriter, answer map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// timed refuses a length that pprof would read as its default, and one that would keep the service busy for long.
func timed(profile http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if asked := r.URL.Query().Get("seconds"); asked != "" {
			if n, err := strconv.Atoi(asked); err != nil || n < 1 || n > maxProfileSeconds {
				http.Error(w, fmt.Sprintf("seconds must be a whole number between 1 and %d", maxProfileSeconds), http.StatusBadRequest)
				return
			}
		}
		profile(w, r)
	}
}
