package mail

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/emersion/go-smtp"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/simulator/strict"
)

// Fault makes the server refuse what a client asks for. The first that matches is used.
type Fault struct {
	At    string `json:"at"`              // auth, mail, rcpt or data
	Code  int    `json:"code,omitempty"`  // 400 to 599
	Text  string `json:"text,omitempty"`  // what the server says
	Lose  bool   `json:"lose,omitempty"`  // with data: the message is taken, and the connection breaks before the answer
	Times int    `json:"times,omitempty"` // 0: until it is deleted
}

func (f Fault) check() error {
	switch {
	case !slices.Contains([]string{"auth", "mail", "rcpt", "data"}, f.At):
		return fault.Field("at", "must be auth, mail, rcpt or data")
	case f.Lose && f.At != "data":
		return fault.Field("lose", "goes with data")
	case !f.Lose && (f.Code < 400 || f.Code > 599):
		return fault.Field("code", "must be from 400 to 599")
	case f.Times < 0:
		return fault.Field("times", "must not be negative")
	}
	return nil
}

func (f Fault) refusal() error {
	return &smtp.SMTPError{Code: f.Code, EnhancedCode: smtp.EnhancedCode{f.Code / 100, 0, 0}, Message: f.Text}
}

// Inject adds faults behind those that stand.
func (s *Server) Inject(faults ...Fault) error {
	for _, f := range faults {
		if err := f.check(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		s.faults = append(s.faults, &f)
	}
	return nil
}

// ClearFaults ends all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// take uses up the fault that a command meets; nil: none.
func (s *Server) take(at string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.At != at {
			continue
		}
		taken := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				s.faults = slices.Delete(s.faults, i, i+1)
			}
		}
		return &taken
	}
	return nil
}

func (s *Server) refusal(at string) error {
	if f := s.take(at); f != nil {
		return f.refusal()
	}
	return nil
}

const maxBody = 1 << 20

// newControl serves /_control/.
func newControl(s *Server) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_control/state", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"messages": s.Messages()}) // a client that went away is none of ours
	})
	mux.HandleFunc("DELETE /_control/state", func(w http.ResponseWriter, _ *http.Request) {
		s.Forget()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /_control/faults", func(w http.ResponseWriter, r *http.Request) {
		var faults []Fault
		err := strict.Decode(r.Body, maxBody, &faults)
		if err == nil {
			err = s.Inject(faults...)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /_control/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.control.ServeHTTP(w, r) }
