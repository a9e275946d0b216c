package rules

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const maxInput = 16 << 20 // bytes

// testTimeout bounds one test of a rule.
const testTimeout = 10 * time.Second

// ParseInput reads an input and holds it against the schema.
func ParseInput(r io.Reader) (Input, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return Input{}, fmt.Errorf("read the input: %w", err)
	}
	if len(text) > maxInput {
		return Input{}, fault.Field("input", fmt.Sprintf("is larger than %d bytes", maxInput))
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return Input{}, fault.New(fault.Invalid, "the input is no JSON: "+err.Error(), err)
	}
	if err := validate(Schema, "input", value); err != nil {
		return Input{}, err
	}
	var in Input
	if err := json.Unmarshal(text, &in); err != nil {
		return Input{}, fault.New(fault.Invalid, "the input: "+err.Error(), err)
	}
	return in, nil
}

// Tested is what came of one test of a rule.
type Tested struct {
	Name   string
	Passed bool
	Why    string // it did not pass
	Output string // what it printed
}

// Test runs the tests of a bundle: the rules named test_… in its files that end in _test.rego. They are checked like rules,
// see the bundle's parameters, and may replace both with "with".
func (b *Bundle) Test(ctx context.Context) ([]Tested, error) {
	compiler, err := newCompiler()
	if err != nil {
		return nil, err
	}
	if err := b.checkReferences(); err != nil {
		return nil, err
	}
	store := inmem.NewFromObject(b.data())
	var tested []Tested
	err = storage.Txn(ctx, store, storage.TransactionParams{}, func(txn storage.Transaction) error {
		results, err := tester.NewRunner().SetCompiler(compiler.WithEnablePrintStatements(true)).SetStore(store).SetModules(b.Modules).
			SetTimeout(testTimeout).RaiseBuiltinErrors(true).CapturePrintOutput(true).RunTests(ctx, txn)
		if err != nil {
			return fault.New(fault.Invalid, "the rules do not compile: "+err.Error(), err)
		}
		for r := range results {
			tested = append(tested, outcome(r))
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(tested, func(x, y Tested) int { return strings.Compare(x.Name, y.Name) })
	return tested, nil
}

func outcome(r *tester.Result) Tested {
	t := Tested{Name: strings.TrimPrefix(r.Package, "data.nthlayer.rules.") + "." + r.Name, Passed: r.Pass(), Output: string(r.Output)}
	switch {
	case t.Passed:
	case r.Error != nil:
		t.Why = r.Error.Error()
	case r.Skip:
		t.Why = "it is skipped (todo_)"
	default:
		t.Why = "it is not true"
		if r.Location != nil {
			t.Why += fmt.Sprintf(" (%s:%d)", r.Location.File, r.Location.Row)
		}
	}
	return t
}
