// Package notice is what the other services ask the notifier to tell: the payload of a delivery, and its key.
//
// A payload is written into the delivery's row in the transaction that ends the run or the audit, so it holds everything the message
// needs; the notifier reads nothing else. Readers must accept payloads of older programs: fields are only ever added.
package notice

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"time"
)

// RunFinished tells that a run came to its end.
type RunFinished struct {
	JobID        string   `json:"job_id"`
	TeamID       string   `json:"team_id"`
	TeamName     string   `json:"team_name,omitempty"`
	Status       string   `json:"status"` // succeeded or failed
	RequestedBy  string   `json:"requested_by,omitempty"`
	Summary      string   `json:"summary,omitempty"` // one sentence
	Changes      []Change `json:"changes,omitempty"`
	Issues       []Issue  `json:"issues,omitempty"`
	Reasons      []string `json:"reasons,omitempty"` // why a guard did not allow the plan
	ErrorReason  string   `json:"error_reason,omitempty"`
	ErrorMessage string   `json:"error_message,omitempty"`

	Ignored []Ignored `json:"ignored,omitempty"` // what ignore rules hide
}

// Change is one change of the run and what became of it.
type Change struct {
	Kind    string `json:"kind"`             // add_member, change_role, remove_member, create_team, update_team
	Who     string `json:"who,omitempty"`    // the person's e-mail address, or the team
	Before  string `json:"before,omitempty"` // the role or name before
	After   string `json:"after,omitempty"`
	Outcome string `json:"outcome"` // applied, failed, skipped, planned or denied
	Message string `json:"message,omitempty"`
}

// Issue is something a person has to look at.
type Issue struct {
	Kind    string `json:"kind"`
	Entity  string `json:"entity,omitempty"`
	Message string `json:"message"`
}

// Ignored is a difference that an ignore rule hides.
type Ignored struct {
	Kind   string    `json:"kind"` // of a change or an issue
	Who    string    `json:"who,omitempty"`
	RuleID string    `json:"rule_id"`
	Reason string    `json:"reason"`
	Owner  string    `json:"owner"`
	Until  time.Time `json:"until"`
}

// maxKey is the length that the public API accepts in a delivery_key.
const maxKey = 128

// IsKey reports whether a text can be a delivery's key.
func IsKey(text string) bool { return len(text) <= maxKey && plain.MatchString(text) }

var plain = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// Key names the delivery of one job's outcome to one place: the same for every attempt, and in every process. It matches
// ^[A-Za-z0-9._-]{1,128}$. A channel with other characters, or one too long, is replaced by its hash.
func Key(jobID, medium, channel string) string {
	key := jobID + "." + medium + "." + channel
	if IsKey(key) {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	digest := "h." + hex.EncodeToString(sum[:])
	if key = jobID + "." + digest; IsKey(key) {
		return key // still to be found by the job's id
	}
	return digest
}
