// Package rules holds the guards' rules and asks them.
//
// They are written in Rego. Those that every company needs are shipped with their parameters (shipped/); a company
// overrides parameters and adds rules of its own with a directory. Whatever cannot be evaluated is an error and never an
// allowance: rules are type-checked against what they are given (input.schema.json), an unknown parameter or a result
// that is no violation is refused, and nothing that a rule may call reads the network, the clock or the environment.
package rules

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/policy"
)

//go:embed shipped/*.rego shipped/params.yaml
var shipped embed.FS

const (
	paramsFile    = "params.yaml"
	approvalName  = "approval" // of the parameters that are no rule's
	testSuffix    = "_test.rego"
	shippedPrefix = "shipped/" // of the names of shipped modules
)

// Bundle is the shipped rules with what a company added and overrode.
type Bundle struct {
	Modules map[string]*ast.Module // by the file's name
	Params  map[string]any         // by the rule's name
	Rules   []Rule                 // by name

	Revision string // tells one state of the company's files from another

	windows  []window         // of the rule freeze
	approval policy.Approvers // who approves where a rule does not say
}

// Rule is one rule of a bundle.
type Rule struct {
	Name        string
	Title       string
	Description string
	Shipped     bool
}

// Shipped is the bundle that every company starts with.
func Shipped() (*Bundle, error) { return Load(nil) }

// Load joins the shipped rules with a company's own files, which may be none. Every .rego file is one rule (or its tests),
// and params.yaml overrides parameters value by value.
func Load(own Files) (*Bundle, error) {
	base, err := shippedFiles()
	if err != nil {
		return nil, fmt.Errorf("shipped rules: %w", err)
	}
	b := &Bundle{Modules: map[string]*ast.Module{}, Revision: own.revision()}
	if err := b.add(base, shippedPrefix); err != nil {
		return nil, fmt.Errorf("shipped rules: %w", err)
	}
	if b.Params, err = base.params(); err != nil {
		return nil, fmt.Errorf("shipped rules: %w", err)
	}
	if err := b.add(own, ""); err != nil {
		return nil, err
	}
	override, err := own.params()
	if err != nil {
		return nil, err
	}
	if err := b.override(override); err != nil {
		return nil, err
	}
	return b, nil
}

// add parses all modules of files. Those that are not shipped have no prefix.
func (b *Bundle) add(files Files, prefix string) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) != ".rego" {
			continue
		}
		module, err := ast.ParseModuleWithOpts(prefix+name, string(files[name]), ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
		if err != nil {
			return fault.New(fault.Invalid, err.Error(), err)
		}
		if module == nil {
			return fault.Field(name, "holds no rule")
		}
		b.Modules[prefix+name] = module
		if err := b.admit(module, prefix != ""); err != nil {
			return err
		}
	}
	return nil
}

// admit takes a module up as a rule. A company's modules may be nothing but rules with names of their own, and tests: a
// module that adds to a shipped package would change what that says.
func (b *Bundle) admit(module *ast.Module, isShipped bool) error {
	file := module.Package.Location.File
	pkg := strings.TrimPrefix(module.Package.Path.String(), "data.")
	name, isRule := strings.CutPrefix(pkg, "nthlayer.rules.")
	if isShipped && !isRule {
		return nil
	}
	if !isRule || strings.Contains(name, ".") {
		return fault.Field(file, fmt.Sprintf("package %s: a rule's package is nthlayer.rules.<name>", pkg))
	}
	isTest := strings.HasSuffix(name, "_test")
	if isTest != strings.HasSuffix(file, testSuffix) { // a rule among the tests would never be asked
		return fault.Field(file, fmt.Sprintf("package %s: tests, and nothing else, are in files that end in %s and packages that end in _test", pkg, testSuffix))
	}
	if isTest {
		return nil
	}
	if name == approvalName {
		return fault.Field(file, fmt.Sprintf("package %s: %s in %s says who approves; choose another name", pkg, approvalName, paramsFile))
	}
	if i := slices.IndexFunc(b.Rules, func(r Rule) bool { return r.Name == name }); i >= 0 {
		if b.Rules[i].Shipped && !isShipped {
			return fault.Field(file, fmt.Sprintf(
				"package %s: there is a shipped rule of that name; choose another name; %s sets what the shipped one goes by", pkg, paramsFile))
		}
		return fault.Field(file, fmt.Sprintf("package %s: there is another rule of that name", pkg))
	}
	if !slices.ContainsFunc(module.Rules, func(r *ast.Rule) bool { return r.Head.Name == "violation" }) {
		return fault.Field(file, fmt.Sprintf("package %s: a rule says what it finds in the set \"violation\"; there is none", pkg))
	}
	rule := Rule{Name: name, Shipped: isShipped}
	for _, a := range module.Annotations {
		if a.Scope == "package" {
			rule.Title, rule.Description = a.Title, a.Description
		}
	}
	b.Rules = append(b.Rules, rule)
	slices.SortFunc(b.Rules, func(x, y Rule) int { return strings.Compare(x.Name, y.Name) })
	return nil
}

// params are the parameters that files set.
func (f Files) params() (map[string]any, error) {
	var params map[string]any
	if err := yaml.Unmarshal(f[paramsFile], &params); err != nil {
		return nil, fault.New(fault.Invalid, fmt.Sprintf("%s: %s", paramsFile, err), err)
	}
	plain, _ := asJSON(params).(map[string]any)
	return plain, nil
}

// asJSON makes of what YAML knows what JSON knows: texts of times, which YAML tells from other texts, and of keys.
func asJSON(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, below := range v {
			v[key] = asJSON(below)
		}
	case map[any]any:
		texts := make(map[string]any, len(v))
		for key, below := range v {
			texts[fmt.Sprint(key)] = asJSON(below)
		}
		return texts
	case []any:
		for i, below := range v {
			v[i] = asJSON(below)
		}
	case time.Time:
		return v.Format(time.RFC3339)
	}
	return value
}

// override lays a company's parameters over the shipped ones: mappings key by key, everything else as a whole. What comes
// out must be what the shipped rules can read; rules of the company's own take what they like.
func (b *Bundle) override(own map[string]any) error {
	for name := range own {
		if name != approvalName && !slices.ContainsFunc(b.Rules, func(r Rule) bool { return r.Name == name }) {
			return fault.Field(paramsFile+": "+name, "there is no rule of that name; there are "+strings.Join(append(b.names(), approvalName), ", "))
		}
	}
	merged, _ := overlay(b.Params, own).(map[string]any)
	b.Params = merged
	if err := checkParams(merged); err != nil {
		return err
	}
	var err error
	if b.windows, err = windows(merged); err != nil {
		return err
	}
	b.approval, err = approvers(merged)
	return err
}

// approvers are those who approve where a rule does not say.
func approvers(params map[string]any) (policy.Approvers, error) {
	var set struct {
		Role  string
		Count int
		Self  bool
	}
	text, err := json.Marshal(params[approvalName])
	if err == nil {
		err = json.Unmarshal(text, &set)
	}
	if err != nil {
		return policy.Approvers{}, fault.Field(paramsFile+": "+approvalName, err.Error())
	}
	return policy.Approvers{Role: set.Role, Count: set.Count, Requester: set.Self}, nil
}

func (b *Bundle) names() []string {
	names := make([]string, 0, len(b.Rules))
	for _, r := range b.Rules {
		names = append(names, r.Name)
	}
	return names
}

func overlay(base, own any) any {
	under, isMap := base.(map[string]any)
	over, both := own.(map[string]any)
	if !isMap || !both {
		return own
	}
	merged := maps.Clone(under)
	for key, value := range over {
		merged[key] = overlay(under[key], value)
	}
	return merged
}

//go:embed shipped/params.schema.json
var paramsSchema []byte

// checkParams holds parameters against the schema of the shipped rules.
func checkParams(params map[string]any) error { return validate(paramsSchema, paramsFile, params) }

// validate holds a value against a schema. The error names each field that is wrong.
func validate(schema []byte, name string, value any) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		return err
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		return err
	}
	err = compiled.Validate(value)
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	var errs []error
	for _, leaf := range leaves(invalid) {
		errs = append(errs, fault.Field(name+": "+strings.Join(leaf.InstanceLocation, "."), leaf.ErrorKind.LocalizedString(message.NewPrinter(language.English))))
	}
	return errors.Join(errs...)
}

// leaves are the errors that have no others below them.
func leaves(e *jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(e.Causes) == 0 {
		return []*jsonschema.ValidationError{e}
	}
	var all []*jsonschema.ValidationError
	for _, cause := range e.Causes {
		all = append(all, leaves(cause)...)
	}
	return all
}
