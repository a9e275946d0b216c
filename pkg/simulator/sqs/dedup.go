package sqs

import "time"

// dedupWindow: five minutes, fixed by SQS.
const dedupWindow = 5 * time.Minute

// window remembers accepted deduplication ids for dedupWindow, also after their message was deleted.
type window struct {
	seen  map[string]accepted
	order []string // oldest first; an id stands here once
}

type accepted struct {
	id       string
	sequence uint64
	at       time.Time
}

// find is the message accepted under key in the last five minutes.
func (w *window) find(now time.Time, key string) (accepted, bool) {
	for len(w.order) > 0 && now.Sub(w.seen[w.order[0]].at) >= dedupWindow {
		delete(w.seen, w.order[0])
		w.order = w.order[1:]
	}
	a, ok := w.seen[key]
	return a, ok
}

// add remembers key. Call find first.
func (w *window) add(key string, a accepted) {
	if w.seen == nil {
		w.seen = make(map[string]accepted)
	}
	w.seen[key] = a
	w.order = append(w.order, key)
}
