package sqs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault makes calls of one action fail. The first fault in the list that matches a call is used, once.
type Fault struct {
	Action      string `json:"action"`                 // SendMessage, …; empty or "*": every action
	Times       int    `json:"times,omitempty"`        // how many calls; 0 means one, negative means until deleted
	Status      int    `json:"status,omitempty"`       // answer this instead of acting
	Body        any    `json:"body,omitempty"`         // with this body instead of the usual error
	DelayMS     int    `json:"delay_ms,omitempty"`     // wait before anything else
	Drop        bool   `json:"drop,omitempty"`         // close the connection instead of acting
	LoseAnswer  bool   `json:"lose_answer,omitempty"`  // act, then close the connection: the caller cannot know
	FailEntries []int  `json:"fail_entries,omitempty"` // these entries of a batch fail, the others do not

	// The next three break what SQS promises, for consumers that have to live without it.
	Duplicate bool `json:"duplicate,omitempty"` // SendMessage and its batch: every message is put in twice
	Reorder   bool `json:"reorder,omitempty"`   // ReceiveMessage: newest first, and groups are not locked
	ExpireMS  int  `json:"expire_ms,omitempty"` // ReceiveMessage: visible again so soon, whatever was asked for
}

// check refuses faults that would never show.
func (f Fault) check() error {
	switch {
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("status: %d is no error; use 400 to 599", f.Status)
	case f.Duplicate && !strings.HasPrefix(f.Action, "SendMessage"):
		return errors.New("duplicate: goes with SendMessage and SendMessageBatch")
	case (f.Reorder || f.ExpireMS != 0) && f.Action != "ReceiveMessage":
		return errors.New("reorder, expire_ms: go with ReceiveMessage")
	case f.ExpireMS < 0:
		return errors.New("expire_ms: must not be negative")
	}
	return nil
}

// Inject adds faults behind those that stand.
func (s *Server) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		if f.Times == 0 {
			f.Times = 1
		}
		s.faults = append(s.faults, &f)
	}
}

// ClearFaults ends all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault counts the call and uses up the fault it meets, if any.
func (s *Server) takeFault(action string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[action]++
	for i, f := range s.faults {
		if f.Action != action && f.Action != "" && f.Action != "*" {
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

func writeFault(w http.ResponseWriter, f *Fault) {
	if f.Body != nil {
		writeJSON(w, f.Status, contentType, f.Body)
		return
	}
	writeError(w, injected(f.Status))
}

// State is what /_control/state shows.
type State struct {
	Queues map[string]QueueState `json:"queues"`
}

// QueueState counts a queue's messages.
type QueueState struct {
	Visible  int            `json:"visible"`
	InFlight int            `json:"in_flight"`
	Delayed  int            `json:"delayed"`
	Messages []MessageState `json:"messages"` // the first 100
}

// MessageState shows one message to who debugs.
type MessageState struct {
	ID       string `json:"id"`
	Group    string `json:"group,omitempty"`
	Dedup    string `json:"dedup,omitempty"`
	Body     string `json:"body"`
	Receives int    `json:"receives"`
	InFlight bool   `json:"in_flight"`
}

const shownMessages = 100

// State gives the queues and what is in them.
func (s *Server) State() State {
	now := s.lock()
	defer s.mu.Unlock()
	out := State{Queues: make(map[string]QueueState)}
	for name, q := range s.queues {
		visible, inFlight, delayed := q.counts(now)
		state := QueueState{visible, inFlight, delayed, []MessageState{}}
		for e := q.messages.Front(); e != nil && len(state.Messages) < shownMessages; e = e.Next() {
			m := e.Value.(*message)
			state.Messages = append(state.Messages, MessageState{m.id, m.group, m.dedup, m.body, m.receives, m.inFlight(now)})
		}
		out.Queues[name] = state
	}
	return out
}

// Calls counts the calls by action since the start or the last reset.
func (s *Server) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// control serves the same over HTTP, in the manner of the other simulators.
func (s *Server) control(mux *http.ServeMux) {
	answer := func(w http.ResponseWriter, v any) { writeJSON(w, http.StatusOK, "application/json", v) }
	mux.HandleFunc("GET /_control/state", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.State()) })
	mux.HandleFunc("DELETE /_control/state", func(w http.ResponseWriter, _ *http.Request) {
		s.Forget()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /_control/calls", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Calls()) })
	mux.HandleFunc("DELETE /_control/calls", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		clear(s.calls)
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /_control/faults", func(w http.ResponseWriter, r *http.Request) {
		var faults []Fault
		if err := readStrict(w, r, &faults); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, f := range faults {
			if err := f.check(); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		s.Inject(faults...)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("DELETE /_control/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /_control/clock", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			AdvanceMS int64 `json:"advance_ms"`
		}
		if err := readStrict(w, r, &in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if in.AdvanceMS < 0 {
			http.Error(w, "advance_ms: "+strconv.FormatInt(in.AdvanceMS, 10)+" would turn the clock back", http.StatusBadRequest)
			return
		}
		s.Advance(time.Duration(in.AdvanceMS) * time.Millisecond)
		w.WriteHeader(http.StatusNoContent)
	})
}

// readStrict refuses unknown fields: a misspelled fault that never fires is a test that proves nothing.
func readStrict(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("one JSON value expected")
	}
	return nil
}
