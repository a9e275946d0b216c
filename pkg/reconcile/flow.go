// Package reconcile is the flow team.reconcile: it makes one team on the target what the source declares.
//
//	fetch_source ∥ fetch_target → match → plan → guard → [await_approval] → apply → verify → record → announce
//
// The first five steps compare and write nothing anywhere; they are also the flow team.plan. What is read wrong or not
// whole is an error and ends the flow there: nothing is ever removed because something could not be seen.
//
// The flow team.rollback undoes what another run did. It differs in how it comes to its plan, and in nothing after that:
//
//	fetch_trail ∥ fetch_target → invert → guard → …
package reconcile

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/nthlayer/nthlayer/pkg/flow"
	"github.com/nthlayer/nthlayer/pkg/ownership"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// Source is where ownership is declared.
type Source interface {
	Team(ctx context.Context, teamID string) (ownership.Desired, error)
	// DeclaredTarget is the target team that the source names for a team; empty: none.
	DeclaredTarget(ctx context.Context, teamID string) (string, error)
	// Groups are the groups that the source puts a team in; rules may go by them.
	Groups(ctx context.Context, teamID string) ([]string, error)
}

// Target is where ownership must be true. Each answer is whole or an error.
type Target interface {
	Observe(ctx context.Context, targetID string) (ownership.Observed, error)
	FindTeams(ctx context.Context, name string) ([]ownership.TeamRef, error)
	FindUsers(ctx context.Context, emails []string) ([]ownership.User, error)
	Rotation(ctx context.Context, targetID string) (ownership.Rotation, error)
}

// Applier is the one port through which anything on the target is changed. It gives the id of the team, which is new
// where the change created it.
type Applier interface {
	Apply(ctx context.Context, targetID string, change ownership.Change) (string, error)
}

// Guard decides on a plan before it is applied. Where it fails, nothing is decided and nothing applied.
type Guard interface {
	Decide(ctx context.Context, in rules.Input) (policy.Decision, error)
}

// Links remembers which target team belongs to a team.
type Links interface {
	Link(ctx context.Context, teamID string) (*store.Link, error)
	LinkedTeam(ctx context.Context, target, targetID string) (teamID string, err error)
}

// Ignores are the ignore rules that are in force for a team. Where they cannot be read, nothing is planned: what people want to
// be left alone is not known then.
type Ignores interface {
	IgnoreRules(ctx context.Context, teamID string) ([]ownership.IgnoreRule, error)
}

// Trail is where runs wrote what they changed.
type Trail interface {
	// Effects lists the changes of a run that took effect, in their order.
	Effects(ctx context.Context, jobID uuid.UUID) ([]ownership.Change, error)
	// RemovedLately are the users whom runs removed from a team in the time before that nobody approved.
	RemovedLately(ctx context.Context, teamID string, within time.Duration) (userIDs []string, err error)
}

// Ledger is where a run writes what it is about to do and what came of it. Every write fails with fault.Fenced once
// somebody else owns the run.
type Ledger interface {
	flow.Journal
	Intend(ctx context.Context, changes []ownership.Change) error
	Changes(ctx context.Context) ([]store.Change, error)
	Earlier(ctx context.Context) ([]store.Change, error) // of the rounds before
	Forget(ctx context.Context) error                    // the journal: whoever goes on with the run decides over again
	Settle(ctx context.Context, ref, outcome, message string, calls []trail.APICall) error
	SaveLink(ctx context.Context, link store.Link) error
	Approval(ctx context.Context) (*store.Approval, error)
	Await(ctx context.Context, asking store.Asking) error
	Disapprove(ctx context.Context) error
	Record(ctx context.Context, findings []trail.Finding) error
	Finish(ctx context.Context, ending store.Ending) error
}

// Parts are what the flow works with.
type Parts struct {
	Source  Source
	Target  Target
	Applier Applier
	Guard   Guard
	Links   Links
	Ignores Ignores
	Trail   Trail
	Settings
}

// Settings are what a company decides about reconciling. The zero values of the times mean their defaults.
type Settings struct {
	Roles         ownership.RoleMap
	CreateTeams   bool          // whether a team that the target lacks may be created
	Channel       string        // where the outcome is told; empty: nowhere
	ApproveWithin time.Duration // how long a plan may wait for its approval; 24 h
	VerifyWithin  time.Duration // how long the target may take to show a change; 30 s
	VerifyEvery   time.Duration // the first wait between looks; it doubles; 250 ms
	Now           func() time.Time
}

// Flow runs team.reconcile and team.plan. It is safe for concurrent use.
type Flow struct {
	parts   Parts
	compare *flow.Graph[State]
}

// New makes a flow of its parts.
func New(parts Parts) (*Flow, error) {
	if parts.ApproveWithin == 0 {
		parts.ApproveWithin = 24 * time.Hour
	}
	if parts.VerifyWithin == 0 {
		parts.VerifyWithin = 30 * time.Second
	}
	if parts.VerifyEvery == 0 {
		parts.VerifyEvery = 250 * time.Millisecond
	}
	if parts.Now == nil {
		parts.Now = time.Now
	}
	f := &Flow{parts: parts}
	compare, err := f.comparing("team.plan", f.fetchTarget).Build()
	if err != nil {
		return nil, err
	}
	f.compare = compare
	return f, nil
}

// State is what a run knows. It is saved with every checkpoint.
type State struct {
	TeamID     string              `json:"team_id"`
	Request    store.Request       `json:"request"`
	AskedBy    string              `json:"asked_by,omitempty"`
	Link       *store.Link         `json:"link,omitempty"`
	Desired    *ownership.Desired  `json:"desired,omitempty"`     // set by fetch_source
	Undo       []ownership.Change  `json:"undo,omitempty"`        // set by fetch_trail: what a rollback undoes
	Observed   *ownership.Observed `json:"observed,omitempty"`    // set by fetch_target or match; nil: the target has no such team
	Wanted     []ownership.Wanted  `json:"wanted,omitempty"`      // set by match
	Issues     []ownership.Issue   `json:"issues,omitempty"`      // set by match
	Lost       bool                `json:"lost,omitempty"`        // set by match: there is nothing to compare with
	Plan       *ownership.Plan     `json:"plan,omitempty"`        // set by plan
	Decision   *policy.Decision    `json:"decision,omitempty"`    // set by guard
	ApprovedBy []string            `json:"approved_by,omitempty"` // set by await_approval
	TargetID   string              `json:"target_id,omitempty"`
	Applied    []AppliedChange     `json:"applied,omitempty"` // set by apply
	After      *ownership.Observed `json:"after,omitempty"`   // set by verify: the team with the changes
	Earlier    []AppliedChange     `json:"earlier,omitempty"` // set by record: what rounds before changed, or may have

	// Ignores are the ignore rules that plan went by: what was ignored then is not drift at the end.
	Ignores []ownership.IgnoreRule `json:"ignores,omitempty"`

	Input *rules.Input `json:"-"` // set by guard: what the rules were given; nil: they were not asked

	// underWay is the Ref of the change that may be half made, "" where none is. nil: whatever an earlier claim left, which
	// is the first that is open.
	underWay *string
}

// AppliedChange is a change of the plan with what came of it.
type AppliedChange struct {
	ownership.Change
	Ref      string          `json:"ref,omitempty"` // store.Change.Ref
	Outcome  string          `json:"outcome"`
	Message  string          `json:"message,omitempty"`
	APICalls []trail.APICall `json:"api_calls,omitempty"`
}

// comparing declares the steps that only read. How the target is read is for the caller to say: a run has a past.
func (f *Flow) comparing(name string, fetchTarget flow.Func[State]) *flow.Builder[State] {
	return flow.New[State](name).
		Step("fetch_source", f.fetchSource, flow.Timeout(time.Minute), flow.Needs(5*time.Second)).
		Step("fetch_target", fetchTarget, flow.Timeout(2*time.Minute), flow.Needs(5*time.Second)).
		Step("match", f.match, flow.Timeout(2*time.Minute), flow.Needs(5*time.Second)).
		Step("plan", f.plan, flow.Timeout(time.Minute), flow.Needs(5*time.Second)).
		Step("guard", f.guard, flow.Timeout(time.Minute), flow.Needs(5*time.Second)).
		Edge("fetch_source", "match").
		Edge("fetch_target", "match").
		Edge("match", "plan").
		Edge("plan", "guard")
}

// undoing declares the steps that find out what a rollback has to change.
func (f *Flow) undoing(fetchTarget flow.Func[State]) *flow.Builder[State] {
	return flow.New[State](store.TypeRollback).
		Step("fetch_trail", f.fetchTrail, flow.Timeout(time.Minute)).
		Step("fetch_target", fetchTarget, flow.Timeout(2*time.Minute), flow.Needs(5*time.Second)).
		Step("invert", f.invert, flow.Timeout(2*time.Minute), flow.Needs(5*time.Second)).
		Step("guard", f.guard, flow.Timeout(time.Minute), flow.Needs(5*time.Second)).
		Edge("fetch_trail", "invert").
		Edge("fetch_target", "invert").
		Edge("invert", "guard")
}

// graph is the whole flow of one run.
func (f *Flow) graph(r *run, kind string) (*flow.Graph[State], error) {
	planning := f.comparing(store.TypeReconcile, r.fetchTarget)
	if kind == store.TypeRollback {
		planning = f.undoing(r.fetchTarget)
	}
	return planning.
		Step("await_approval", r.awaitApproval, flow.Timeout(time.Minute)).
		Step("apply", r.apply, flow.Effect(), flow.Timeout(10*time.Minute), flow.Needs(2*callNeeds)).
		Step("verify", r.verify, flow.Timeout(5*time.Minute)).
		Step("record", r.record, flow.Timeout(time.Minute)).
		Step("announce", r.announce, flow.Timeout(time.Minute)).
		When("guard", "apply", "allowed", func(s *State) bool { return s.next() == "apply" }).
		When("guard", "await_approval", "needs approval", func(s *State) bool { return s.next() == "await_approval" }).
		When("guard", "record", "nothing to do, dry run or denied", func(s *State) bool { return s.next() == "record" }).
		Edge("await_approval", "apply").
		Edge("apply", "verify").
		Edge("verify", "record").
		Edge("record", "announce").
		Build()
}

// next is the step that follows the guard's decision.
func (s *State) next() string {
	switch {
	case s.Request.DryRun, s.Plan.Empty(), s.Decision.Verdict == policy.Deny:
		return "record"
	case s.Decision.Verdict == policy.RequireApproval:
		return "await_approval"
	default:
		return "apply"
	}
}

// Begin is the state in which a run starts.
func (f *Flow) Begin(ctx context.Context, teamID, askedBy string, request store.Request) (*State, error) {
	link, err := f.parts.Links.Link(ctx, teamID)
	if err != nil {
		return nil, err
	}
	return &State{TeamID: teamID, Request: request, AskedBy: askedBy, Link: link}, nil
}

// Compare runs team.plan: it reads both sides and decides, and writes nothing. The state has the Plan and the Decision.
func (f *Flow) Compare(ctx context.Context, teamID, askedBy string, request store.Request, hooks flow.Hooks) (*State, error) {
	state, err := f.Begin(ctx, teamID, askedBy, request)
	if err != nil {
		return nil, err
	}
	return state, f.compare.Run(ctx, state, hooks)
}

// Mermaid draws team.reconcile.
func Mermaid() (string, error) {
	f, err := New(Parts{})
	if err != nil {
		return "", err
	}
	graph, err := f.graph(&run{Flow: f}, store.TypeReconcile)
	if err != nil {
		return "", err
	}
	return graph.Mermaid(), nil
}
