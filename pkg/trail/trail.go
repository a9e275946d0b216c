// Package trail is the audit trail that can be proved: findings in one chain, each sealed with SHA-256 over its content
// and the seal before it.
//
// Whoever reads the whole trail and knows its head can tell that nothing in it was changed, left out, put in, or moved;
// no trust in the database or the server is needed. The chain does not tell who wrote it: keep a head somewhere else
// (print it, send it to another account) to tell that the whole trail was not written anew.
package trail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nthlayer/nthlayer/pkg/seam"
)

// APICall is one request made to a platform.
type APICall struct {
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Status    int       `json:"status"` // 0: no answer came
	At        time.Time `json:"at"`
	RequestID string    `json:"request_id,omitempty"`
}

// Finding is one recorded change or divergence.
type Finding struct {
	Seq        int64           `json:"seq"` // from 1, without gaps
	JobID      string          `json:"job_id"`
	ChangeID   string          `json:"change_id"` // unique within a job
	TeamID     string          `json:"team_id"`
	EntityRef  string          `json:"entity_ref"`
	Action     string          `json:"action"`
	Before     json.RawMessage `json:"before,omitempty"`
	After      json.RawMessage `json:"after,omitempty"`
	APICalls   []APICall       `json:"api_calls,omitempty"`
	Outcome    string          `json:"outcome"`
	Message    string          `json:"message,omitempty"`
	Actor      string          `json:"actor"`
	RecordedAt time.Time       `json:"recorded_at"`

	// What follows came later: entries from before have none of it, and their bytes stay as they were sealed.
	Reason     string    `json:"reason,omitempty"`      // why the run was asked for
	RequestID  string    `json:"request_id,omitempty"`  // of the call that asked for it
	PlanHash   string    `json:"plan_hash,omitempty"`   // of the plan that the change is part of
	Decision   *Decision `json:"decision,omitempty"`    // what the rules said of it
	ApprovedBy []string  `json:"approved_by,omitempty"` // who approved it
	UserID     string    `json:"user_id,omitempty"`     // the account that a member change is about
}

// Decision is what the rules said of a plan.
type Decision struct {
	Verdict  string   `json:"verdict"`
	Reasons  []string `json:"reasons,omitempty"`
	Notes    []string `json:"notes,omitempty"`    // what rules allowed, and why: a freeze that was overridden
	Revision string   `json:"revision,omitempty"` // of the rules
}

// The outcomes of a finding.
const (
	Applied  = "applied"           // the change took effect
	Failed   = "failed"            // the platform refused it
	Skipped  = "skipped"           // not tried, because an earlier change failed or the run was ended
	Unknown  = "unknown"           // it may have taken effect: nobody could look, or it did not show in time
	Planned  = "planned"           // a dry run: what would be done
	Denied   = "denied"            // a guard did not allow it
	Reported = "reported"          // no change: something a person has to look at
	Awaiting = "awaiting_approval" // the run waits until somebody approves it
	Ignored  = "ignored"           // an ignore rule hides the difference
)

// Settled ends the ChangeID of an entry that says what had become of a change that stands as Unknown.
const Settled = "/settled"

// Entry is a finding as it stands in the trail. Content holds the bytes that were sealed; Finding repeats them decoded.
type Entry struct {
	Finding
	Content  string
	PrevHash string
	Hash     string
}

// Head is the newest entry. The zero Head is that of an empty trail.
type Head struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// Append seals a finding as the next entry after h and gives the new head. It sets the finding's Seq. What would not
// read back as it was sealed (text that is not UTF-8) is refused: it would look like an edit for ever.
func (h Head) Append(f Finding) (Entry, Head, error) {
	f.Seq = h.Seq + 1
	content, err := encode(f)
	if err == nil {
		err = readsBack(content)
	}
	if err != nil {
		return Entry{}, h, fmt.Errorf("encode finding %s of job %s: %w", f.ChangeID, f.JobID, err)
	}
	e := Entry{Finding: f, Content: content, PrevHash: h.Hash, Hash: seal(h.Hash, content)}
	return e, Head{Seq: f.Seq, Hash: e.Hash}, nil
}

// Decode reads the finding back from an entry's content.
func Decode(content string) (Finding, error) {
	var f Finding
	dec := json.NewDecoder(bytes.NewReader([]byte(content)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return Finding{}, fmt.Errorf("decode finding: %w", err)
	}
	return f, nil
}

// BrokenError says where a trail does not hold, and how.
type BrokenError struct {
	Seq     int64
	Problem string
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("trail broken at entry %d: %s", e.Seq, e.Problem)
}

// Verifier checks a trail entry by entry: the zero Verifier from the first.
type Verifier struct{ head Head }

// NewVerifier checks what follows anchor, an entry that is known from elsewhere.
func NewVerifier(anchor Head) Verifier { return Verifier{head: anchor} }

// Next checks the entry that follows. After an error the verifier stands where it was.
func (v *Verifier) Next(e Entry) error {
	broken := func(problem string) error { return &BrokenError{Seq: v.head.Seq + 1, Problem: problem} }
	switch {
	case e.Seq != v.head.Seq+1:
		return broken(fmt.Sprintf("missing: the next entry is %d", e.Seq))
	case seam.Off(seam.Chain):
	case e.PrevHash != v.head.Hash:
		return broken("it does not follow the entry before it")
	case e.Hash != seal(e.PrevHash, e.Content):
		return broken("its content was changed")
	}
	content, err := encode(e.Finding)
	if err != nil || content != e.Content {
		return broken("what it shows differs from what was sealed")
	}
	v.head = Head{Seq: e.Seq, Hash: e.Hash}
	return nil
}

// Head is the last entry that was checked.
func (v *Verifier) Head() Head { return v.head }

// Close checks that the trail ends where it should: an entry missing at the end breaks no link.
func (v *Verifier) Close(want Head) error {
	if v.head != want {
		return &BrokenError{Seq: v.head.Seq, Problem: fmt.Sprintf("the trail ends here, but its head is entry %d (%.12s…)", want.Seq, want.Hash)}
	}
	return nil
}

// encode gives the bytes that are sealed. Struct order, UTC and microseconds (what the database keeps) make it the same
// on every machine and after every round trip.
func encode(f Finding) (string, error) {
	f.RecordedAt = f.RecordedAt.UTC().Truncate(time.Microsecond)
	calls := make([]APICall, len(f.APICalls))
	for i, c := range f.APICalls {
		c.At = c.At.UTC().Truncate(time.Microsecond)
		calls[i] = c
	}
	f.APICalls = calls
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(f); err != nil {
		return "", err
	}
	return string(bytes.TrimRight(buf.Bytes(), "\n")), nil
}

func readsBack(content string) error {
	f, err := Decode(content)
	if err != nil {
		return err
	}
	if again, err := encode(f); err != nil || again != content {
		return errors.New("it does not read back the same")
	}
	return nil
}

// version keeps seals of one encoding apart from those of any later one.
const version = "nthlayer.trail.v1"

func seal(prev, content string) string {
	sum := sha256.Sum256([]byte(version + "\n" + prev + "\n" + content))
	return hex.EncodeToString(sum[:])
}
