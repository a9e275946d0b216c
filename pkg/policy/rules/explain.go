package rules

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/policy"
)

// Explanation is what a bundle says of an input, rule by rule.
type Explanation struct {
	Decision policy.Decision `json:"decision"`
	Freezes  []Freeze        `json:"freezes"` // that last at the input's time
	Rules    []Explained     `json:"rules"`   // by name
}

// Explained is what one rule makes of an input.
type Explained struct {
	Name        string             `json:"name"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Shipped     bool               `json:"shipped"`
	Parameters  map[string]any     `json:"parameters"` // that it reads, also by way of others, by their full names
	Violations  []policy.Violation `json:"violations"` // none: it found nothing
	Trace       string             `json:"trace,omitempty"`
}

// Explain decides as workers do, and says what each rule had to do with it. Of the rules that are named it also tells each
// step of their evaluation.
func (b *Bundle) Explain(ctx context.Context, in Input, traced ...string) (Explanation, error) {
	for _, name := range traced {
		if !slices.Contains(b.names(), name) {
			return Explanation{}, fault.Field("rule", fmt.Sprintf("there is no rule %s; there are %s", name, strings.Join(b.names(), ", ")))
		}
	}
	engine, err := NewEngine(ctx, b)
	if err != nil {
		return Explanation{}, err
	}
	decision, err := engine.Decide(ctx, in)
	if err != nil {
		return Explanation{}, err
	}
	compiler, err := compile(b)
	if err != nil {
		return Explanation{}, err
	}
	in.Freezes = frozen(b.windows, in.Now)
	explanation := Explanation{Decision: decision, Freezes: in.Freezes}
	for _, r := range b.Rules {
		e := Explained{
			Name: r.Name, Title: r.Title, Description: r.Description, Shipped: r.Shipped,
			Parameters: b.parametersOf(compiler, r.Name), Violations: []policy.Violation{},
		}
		for _, v := range decision.Violations {
			if v.Rule == r.Name {
				e.Violations = append(e.Violations, v)
			}
		}
		if slices.Contains(traced, r.Name) {
			if e.Trace, err = b.trace(ctx, compiler, r.Name, in); err != nil {
				return Explanation{}, err
			}
		}
		explanation.Rules = append(explanation.Rules, e)
	}
	return explanation, nil
}

// trace tells how a rule is evaluated, each expression with its variables.
func (b *Bundle) trace(ctx context.Context, compiler *ast.Compiler, name string, in Input) (string, error) {
	tracer := topdown.NewBufferTracer()
	_, err := rego.New(
		rego.ParsedQuery(ast.NewBody(ast.NewExpr(ast.NewTerm(violationsOf(name))))),
		rego.Compiler(compiler),
		rego.Store(inmem.NewFromObject(b.data())),
		rego.StrictBuiltinErrors(true),
		rego.ParsedInput(in.value()),
		rego.QueryTracer(tracer),
	).Eval(ctx)
	if err != nil {
		return "", fmt.Errorf("trace rule %s: %w", name, err)
	}
	var text strings.Builder
	topdown.PrettyTraceWithOpts(&text, *tracer, topdown.PrettyTraceOptions{Locations: true, ExprVariables: true})
	return text.String(), nil
}

func violationsOf(rule string) ast.Ref {
	return rulesRef.Append(ast.StringTerm(rule)).Append(ast.StringTerm("violation"))
}

// parametersOf are the parameters that a rule reads, itself or by what it uses.
func (b *Bundle) parametersOf(compiler *ast.Compiler, name string) map[string]any {
	read := map[string]any{}
	seen := map[util.T]bool{}
	var visit func(util.T)
	visit = func(at util.T) {
		if seen[at] {
			return
		}
		seen[at] = true
		ast.WalkRefs(at, func(ref ast.Ref) bool {
			if ref.HasPrefix(paramsRef) {
				if name, value := b.parameter(ref); name != "" {
					read[name] = value
				}
			}
			return false
		})
		for next := range compiler.Graph.Dependencies(at) {
			visit(next)
		}
	}
	for _, rule := range compiler.GetRulesExact(violationsOf(name)) {
		visit(rule)
	}
	maps.DeleteFunc(read, func(name string, _ any) bool { // part of another one
		whole, _, isPart := strings.Cut(name, ".")
		_, ok := read[whole]
		return isPart && ok
	})
	return read
}

// parameter is the parameter that a reference names, as far as it can be told before it is evaluated.
func (b *Bundle) parameter(ref ast.Ref) (name string, value any) {
	value = b.Params
	for _, term := range ref[len(paramsRef):] {
		key, isText := term.Value.(ast.String)
		below, isMap := value.(map[string]any)
		next, ok := below[string(key)]
		if !isText || !isMap || !ok {
			break
		}
		name, value = strings.TrimPrefix(name+"."+string(key), "."), next
	}
	return name, value
}
