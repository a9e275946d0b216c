package notice

import (
	"strings"
	"time"
)

// ApprovalRequested tells that a run waits until somebody approves its plan, and later what became of that: the message is
// the same one, written again.
type ApprovalRequested struct {
	ApprovalOf  string    `json:"approval_of"` // the run's id; it tells this kind of notice from the others
	PlanHash    string    `json:"plan_hash"`
	TeamID      string    `json:"team_id"`
	TeamName    string    `json:"team_name,omitempty"`
	RequestedBy string    `json:"requested_by,omitempty"`
	Reason      string    `json:"reason,omitempty"`    // why the run was asked for
	Reasons     []string  `json:"reasons"`             // why the rules want an approval
	Approvers   []string  `json:"approvers,omitempty"` // whose, in words: "2 × approver"
	Changes     []Change  `json:"changes,omitempty"`
	Ignored     []Ignored `json:"ignored,omitempty"` // what ignore rules hide
	ExpiresAt   time.Time `json:"expires_at"`

	// What became of it. While the run waits, Outcome is empty and there are buttons.
	Outcome string         `json:"outcome,omitempty"` // approved, rejected, expired, canceled, replaced (by another plan) or ended
	Message string         `json:"message,omitempty"` // one sentence
	Votes   []ApprovalVote `json:"votes,omitempty"`
}

// ApprovalVote is one person's approval.
type ApprovalVote struct {
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	Via    string    `json:"via,omitempty"`
	At     time.Time `json:"at"`
}

// ApprovalKey names the message that asks for the approval of one plan of a run: it is posted once and updated afterwards.
func ApprovalKey(jobID, planHash, medium, channel string) string {
	return Key(jobID+"-"+planHash[:12], medium, channel)
}

// The actions of the message's buttons.
const (
	ApproveAction = "approve_run"
	RejectAction  = "reject_run"
)

// ButtonValue is what a button of the message says when it is pressed: which plan of which run. Whoever presses it has seen
// that plan, and approves no other.
func ButtonValue(jobID, planHash string) string { return jobID + ":" + planHash }

// ParseButtonValue reads it. What the two are is for the API to check.
func ParseButtonValue(value string) (jobID, planHash string, ok bool) {
	jobID, planHash, ok = strings.Cut(value, ":")
	return jobID, planHash, ok && jobID != "" && planHash != ""
}
