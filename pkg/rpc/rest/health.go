package rest

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

const checkWithin = 3 * time.Second

// healthz says that the process serves. What it depends on is not asked: restarting us would not help that.
func healthz(w http.ResponseWriter, _ *http.Request) {
	answerHealth(w, http.StatusOK, map[string]any{"status": "ok"})
}

// readyz says whether requests can be served now. Names are shown, causes are logged.
func readyz(checks map[string]Check, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkWithin)
		defer cancel()
		var (
			mu      sync.Mutex
			wg      sync.WaitGroup
			results = map[string]string{}
			status  = http.StatusOK
			overall = "ready"
		)
		for name, check := range checks {
			wg.Go(func() {
				err := check(ctx)
				mu.Lock()
				defer mu.Unlock()
				results[name] = "ok"
				if err != nil {
					results[name], status, overall = "failed", http.StatusServiceUnavailable, "not ready"
					log.WarnContext(ctx, "not ready", "check", name, "error", err)
				}
			})
		}
		wg.Wait()
		answerHealth(w, status, map[string]any{"status": overall, "checks": results})
	})
}

func answerHealth(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
