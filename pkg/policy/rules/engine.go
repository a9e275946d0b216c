package rules

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/policy"
)

const question = "data.nthlayer.violations"

// The data that rules may read.
var (
	paramsRef = ast.MustParseRef("data.nthlayer.params")
	rulesRef  = ast.MustParseRef("data.nthlayer.rules")
	libRef    = ast.MustParseRef("data.nthlayer.lib")
)

// Engine decides by one bundle. It is safe for concurrent use.
type Engine struct {
	query    rego.PreparedEvalQuery
	windows  []window
	approval policy.Approvers
	revision string
}

// NewEngine compiles a bundle. What does not depend on the plan is evaluated here, once.
func NewEngine(ctx context.Context, b *Bundle) (*Engine, error) {
	compiler, err := compile(b)
	if err != nil {
		return nil, err
	}
	query, err := rego.New(
		rego.Query(question),
		rego.Compiler(compiler),
		rego.Store(inmem.NewFromObject(b.data())),
		rego.StrictBuiltinErrors(true),
	).PrepareForEval(ctx, rego.WithPartialEval())
	if err != nil {
		return nil, fault.New(fault.Invalid, "the rules cannot be prepared: "+err.Error(), err)
	}
	return &Engine{query: query, windows: b.windows, approval: b.approval, revision: b.Revision}, nil
}

func (b *Bundle) data() map[string]any {
	return map[string]any{"nthlayer": map[string]any{"params": b.Params}}
}

// newCompiler makes a compiler that is strict and knows the schema of the input.
func newCompiler() (*ast.Compiler, error) {
	var schema any
	if err := json.Unmarshal(Schema, &schema); err != nil {
		return nil, fmt.Errorf("the schema of the input: %w", err)
	}
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.SchemaRootRef, schema)
	return ast.NewCompiler().WithStrict(true).WithSchemas(schemas).WithCapabilities(capabilities()), nil
}

// compile checks all modules together, their tests apart.
func compile(b *Bundle) (*ast.Compiler, error) {
	compiler, err := newCompiler()
	if err != nil {
		return nil, err
	}
	modules := make(map[string]*ast.Module, len(b.Modules))
	for name, module := range b.Modules {
		if !strings.HasSuffix(name, testSuffix) {
			modules[name] = module
		}
	}
	compiler.Compile(modules)
	if compiler.Failed() {
		return nil, fault.New(fault.Invalid, "the rules do not compile: "+compiler.Errors.Error(), compiler.Errors)
	}
	if err := b.checkReferences(); err != nil {
		return nil, err
	}
	return compiler, nil
}

// capabilities are the functions that rules may call: those whose answer depends on their arguments alone.
func capabilities() *ast.Capabilities {
	all := ast.CapabilitiesForThisVersion()
	all.AllowNet = []string{}
	all.Builtins = slices.DeleteFunc(all.Builtins, func(b *ast.Builtin) bool {
		return b.Nondeterministic || strings.HasPrefix(b.Name, "opa.") || strings.HasPrefix(b.Name, "net.lookup") || b.Name == "http.send"
	})
	return all
}

// checkReferences refuses modules that read data which is not there: it would be undefined, and the rule would never find
// anything.
func (b *Bundle) checkReferences() error {
	for _, name := range slices.Sorted(maps.Keys(b.Modules)) {
		var err error
		ast.WalkRefs(b.Modules[name], func(ref ast.Ref) bool {
			if err == nil && ref.HasPrefix(ast.DefaultRootRef) {
				err = b.checkReference(name, ref)
			}
			return err != nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Bundle) checkReference(file string, ref ast.Ref) error {
	wrong := func(text string) error { return fault.Field(file+": "+ref.String(), text) }
	isShipped := strings.HasPrefix(file, shippedPrefix)
	if !ref.HasPrefix(paramsRef) {
		if !isShipped && !ref.HasPrefix(rulesRef) && !ref.HasPrefix(libRef) {
			return wrong(fmt.Sprintf("there is no such data; rules may read the input, %s, %s and %s", paramsRef, rulesRef, libRef))
		}
		return nil
	}
	if !isShipped && len(ref) < len(paramsRef)+2 { // what is read of it later could not be checked
		return wrong(fmt.Sprintf("read each parameter by its full name, %s.<rule>.<parameter>", paramsRef))
	}
	var at any = b.Params
	for _, term := range ref[len(paramsRef):] {
		key, isText := term.Value.(ast.String)
		below, isMap := at.(map[string]any)
		if !isText || !isMap {
			return nil
		}
		value, ok := below[string(key)]
		if !ok {
			return wrong("there is no such parameter; set it in " + paramsFile)
		}
		at = value
	}
	return nil
}

// Revision is that of the bundle.
func (e *Engine) Revision() string { return e.revision }

// Decide asks all rules. An error means that no decision was made, and nothing may be applied.
func (e *Engine) Decide(ctx context.Context, in Input) (policy.Decision, error) {
	if len(in.Plan.Changes) == 0 {
		return policy.Decision{Verdict: policy.Allow, Revision: e.revision}, nil
	}
	in.Freezes = frozen(e.windows, in.Now)
	answer, err := e.query.Eval(ctx, rego.EvalParsedInput(in.value()))
	if err != nil {
		return policy.Decision{}, fmt.Errorf("ask the rules: %w", err)
	}
	if len(answer) != 1 {
		return policy.Decision{}, fmt.Errorf("ask the rules: %d answers", len(answer))
	}
	violations, err := understand(answer[0].Expressions[0].Value, e.approval)
	if err != nil {
		return policy.Decision{}, err
	}
	decision := policy.Decide(violations)
	decision.Revision = e.revision
	return decision, nil
}

// said is a violation as a rule says it.
type said struct {
	Rule    string         `json:"rule"`
	Verdict policy.Verdict `json:"verdict"`
	Reason  string         `json:"reason"`
	By      *struct {
		Role      *string `json:"role"`
		Count     *int    `json:"count"`
		Requester *bool   `json:"requester"`
	} `json:"by"`
}

// maxApprovers is how many people a rule may ask for. No plan would find more.
const maxApprovers = 10

// understand makes violations of what the rules answered, and takes nothing else. Where a rule does not say who has to approve, the
// usual approvers do.
func understand(answer any, usual policy.Approvers) ([]policy.Violation, error) {
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, fmt.Errorf("read the answer of the rules: %w", err)
	}
	var all []said
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&all); err != nil {
		return nil, fmt.Errorf("read the answer of the rules: %w", err)
	}
	violations := make([]policy.Violation, len(all))
	for i, s := range all {
		if violations[i], err = s.violation(usual); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(violations, func(a, b policy.Violation) int {
		return cmp.Or(strings.Compare(a.Rule, b.Rule), strings.Compare(a.Reason, b.Reason))
	})
	return violations, nil
}

func (s said) violation(usual policy.Approvers) (policy.Violation, error) {
	v := policy.Violation{Rule: s.Rule, Verdict: s.Verdict, Reason: s.Reason}
	switch s.Verdict {
	case policy.Deny, policy.Allow:
		if s.By != nil {
			return v, fmt.Errorf("rule %s says who has to approve (by), and answers with the verdict %s; by goes with %s", s.Rule, s.Verdict, policy.RequireApproval)
		}
	case policy.RequireApproval:
		v.By = &usual
	default:
		return v, fmt.Errorf("rule %s answered with the verdict %q; there are %s, %s and, for a note, %s",
			s.Rule, s.Verdict, policy.Deny, policy.RequireApproval, policy.Allow)
	}
	if s.Reason == "" {
		return v, fmt.Errorf("rule %s gives no reason", s.Rule)
	}
	if s.By != nil {
		by := policy.Approvers{
			Role: *cmp.Or(s.By.Role, &usual.Role), Count: *cmp.Or(s.By.Count, &usual.Count), Requester: *cmp.Or(s.By.Requester, &usual.Requester),
		}
		switch {
		case by.Role == "":
			return v, fmt.Errorf("rule %s: by.role is empty; name the role of who approves", s.Rule)
		case by.Count < 1 || by.Count > maxApprovers:
			return v, fmt.Errorf("rule %s: by.count is %d; it must be between 1 and %d", s.Rule, by.Count, maxApprovers)
		}
		v.By = &by
	}
	return v, nil
}
