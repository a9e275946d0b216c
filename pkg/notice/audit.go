package notice

import (
	"encoding/json"
	"fmt"
	"time"
)

// AuditFinished tells that an audit came to its end. It is also what a report is made of.
type AuditFinished struct {
	AuditID      string        `json:"audit_id"`
	ScheduleID   string        `json:"schedule_id,omitempty"` // empty: somebody asked for it
	RequestedBy  string        `json:"requested_by,omitempty"`
	Status       string        `json:"status"`         // succeeded, incomplete, failed or canceled
	Summary      string        `json:"summary"`        // one sentence
	Read         string        `json:"read,omitempty"` // full or incremental
	ReadReason   string        `json:"read_reason,omitempty"`
	StartedAt    time.Time     `json:"started_at"`
	FinishedAt   time.Time     `json:"finished_at"`
	Counts       AuditCounts   `json:"counts"`
	Previous     *AuditCounts  `json:"previous,omitempty"` // of the audit before; nil: there was none
	Calls        AuditCalls    `json:"calls"`
	Kinds        []AuditKind   `json:"kinds,omitempty"`     // the most frequent first
	TopTeams     []AuditTeam   `json:"top_teams,omitempty"` // the most open findings first
	Unread       []AuditUnread `json:"unread,omitempty"`    // why teams could not be read
	New          []AuditItem   `json:"new,omitempty"`       // findings that are new or returned; no more than fit a message
	Resolved     []AuditItem   `json:"resolved,omitempty"`
	Trend        []AuditPoint  `json:"trend,omitempty"` // the audits before and this one, the oldest first
	RunsStarted  int           `json:"runs_started,omitempty"`
	ErrorReason  string        `json:"error_reason,omitempty"`
	ErrorMessage string        `json:"error_message,omitempty"`
	URL          string        `json:"url,omitempty"`          // where the audit is shown; empty: not known
	IgnoreRules  []AuditRule   `json:"ignore_rules,omitempty"` // that hid something, the one that hid the most first; no more than fit a message
}

// AuditCounts is what an audit came to.
type AuditCounts struct {
	Teams        int `json:"teams"`
	InSync       int `json:"in_sync"`
	OutOfSync    int `json:"out_of_sync"`
	Unknown      int `json:"unknown"`
	Unread       int `json:"unread"` // of the unknown ones, those of which a platform could not be read
	Open         int `json:"open"`
	Acknowledged int `json:"acknowledged"`
	New          int `json:"new"`
	Reopened     int `json:"reopened"`
	Resolved     int `json:"resolved"`
	Missed       int `json:"missed"`  // teams that a full read found other than the increments before it had them
	Ignored      int `json:"ignored"` // differences that ignore rules hid
}

// AuditCalls counts the calls made to the platforms.
type AuditCalls struct {
	Cortex    int `json:"cortex"`
	PagerDuty int `json:"pagerduty"`
}

// AuditKind counts the findings of a kind.
type AuditKind struct {
	Kind         string `json:"kind"`
	Open         int    `json:"open"`
	Acknowledged int    `json:"acknowledged"`
	New          int    `json:"new"` // seen first, or returned
	Resolved     int    `json:"resolved"`
}

// AuditRule is an ignore rule, with how many differences it hid.
type AuditRule struct {
	RuleID  string    `json:"rule_id"`
	TeamID  string    `json:"team_id,omitempty"` // empty: the fleet
	Kind    string    `json:"kind"`              // person, role or team
	Value   string    `json:"value"`
	Reason  string    `json:"reason"`
	Owner   string    `json:"owner"`
	Until   time.Time `json:"until"`
	Ignored int       `json:"ignored"`
}

// AuditTeam is a team with its open findings.
type AuditTeam struct {
	TeamID string `json:"team_id"`
	Name   string `json:"name,omitempty"`
	Open   int    `json:"open"`
}

// AuditUnread is why teams could not be read.
type AuditUnread struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Teams   int    `json:"teams"`
}

// AuditItem is one finding.
type AuditItem struct {
	FindingID string    `json:"finding_id"`
	TeamID    string    `json:"team_id,omitempty"`
	Kind      string    `json:"kind"`
	Category  string    `json:"category"` // drift, identity or structure
	Entity    string    `json:"entity"`   // person:<e-mail>, team:<team_id> or target:<id>
	Message   string    `json:"message"`
	Status    string    `json:"status"` // open, acknowledged or resolved
	Since     time.Time `json:"since"`  // first seen
	Returned  bool      `json:"returned,omitempty"`
	ChangedBy string    `json:"changed_by,omitempty"` // who made it so on the target, as far as its records say
}

// AuditPoint is one audit of a trend.
type AuditPoint struct {
	At        time.Time `json:"at"`
	InSync    int       `json:"in_sync"`
	OutOfSync int       `json:"out_of_sync"`
	Unknown   int       `json:"unknown"`
	Open      int       `json:"open"`
}

// Notice is what a payload holds: one of the three.
type Notice struct {
	Run      *RunFinished
	Audit    *AuditFinished
	Approval *ApprovalRequested
}

// Decode reads a payload. Programs before audits told of runs only, so a payload that names neither an audit nor an
// approval is of a run.
func Decode(payload []byte) (Notice, error) {
	var which struct {
		AuditID    string `json:"audit_id"`
		ApprovalOf string `json:"approval_of"`
	}
	if err := json.Unmarshal(payload, &which); err != nil {
		return Notice{}, fmt.Errorf("read a notice: %w", err)
	}
	var n Notice
	var into any
	switch {
	case which.AuditID != "":
		n.Audit = &AuditFinished{}
		into = n.Audit
	case which.ApprovalOf != "":
		n.Approval = &ApprovalRequested{}
		into = n.Approval
	default:
		n.Run = &RunFinished{}
		into = n.Run
	}
	if err := json.Unmarshal(payload, into); err != nil {
		return Notice{}, fmt.Errorf("read a notice: %w", err)
	}
	return n, nil
}
