package notice

import "time"

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
	ExpiresAt   time.Time `json:"expires_at"`

	// What became of it. While the run waits, Outcome is empty and there are buttons.
	Outcome string         `json:"outcome,omitempty"` // approved, rejected, expired, canceled or replaced (by another plan)
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
