package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/connection"
	"github.com/nthlayer/nthlayer/cmd/nthlayer/internal/output"
	"github.com/nthlayer/nthlayer/pkg/objects"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (a *app) policy() *cobra.Command {
	return group("policy", "Check the rules for what a run may do without a person",
		a.policyLint(), a.policyTest(), a.policyEval(), a.policyExplain(), a.policyFleet())
}

// bundle reads the policy in a directory or a bucket; "": the shipped one.
func (a *app) bundle(ctx context.Context, place string) (*rules.Bundle, error) {
	if place == "" {
		return rules.Shipped()
	}
	store, err := objects.Open(ctx, objects.Config{URL: place, Endpoint: connection.Getenv(a.Environ, "NTHLAYER_S3_ENDPOINT")})
	if err != nil {
		return nil, err
	}
	defer store.Close()
	own, err := rules.ReadFiles(ctx, store)
	if err != nil {
		return nil, fmt.Errorf("read the policy in %s: %w", place, err)
	}
	return rules.Load(own)
}

// policyInput is the format of a plan that policies are given.
const policyInput = "policy-input"

func (a *app) showPolicyInput(plan *nthlayerv1.Plan) error {
	in, err := inputOf(plan)
	if err != nil {
		return err
	}
	return output.EncodeValue(a.Out, output.JSON, in)
}

// dirFlag adds --dir to a command.
func dirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", "", "the `directory` of the policy, or s3://bucket/prefix; none: the shipped rules")
	must(cmd.MarkFlagDirname("dir"))
}

// input reads what rules are given from a file; "-": from standard input.
func input(cmd *cobra.Command, file string) (rules.Input, error) {
	if file == "-" {
		return rules.ParseInput(cmd.InOrStdin())
	}
	f, err := os.Open(file)
	if err != nil {
		return rules.Input{}, fmt.Errorf("read the input: %w", err)
	}
	defer f.Close()
	return rules.ParseInput(f)
}

func (a *app) policyLint() *cobra.Command {
	return &cobra.Command{
		Use:   "lint [DIR]",
		Short: "Check a policy as workers do when they load it, and list its rules",
		Long: `Check the rules and parameters of a directory together with the shipped ones, as workers do when they load them:
syntax, types against what rules are given, parameters, names. Without a directory, the shipped rules are listed.`,
		Example: "  nthlayer policy lint ./policy",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := ""
			if len(args) > 0 {
				dir = args[0]
			}
			b, err := a.bundle(cmd.Context(), dir)
			if err != nil {
				return err
			}
			if _, err := rules.NewEngine(cmd.Context(), b); err != nil {
				return err
			}
			for _, r := range b.Rules {
				from := "own"
				if r.Shipped {
					from = "shipped"
				}
				fmt.Fprintf(a.Out, "%-18s %-8s %s\n", r.Name, from, r.Title)
			}
			fmt.Fprintf(a.Out, "The policy is good: %d rules, revision %s.\n", len(b.Rules), b.Revision)
			return nil
		},
	}
}

var errTests = errors.New("not all tests passed")

func (a *app) policyTest() *cobra.Command {
	return &cobra.Command{
		Use:   "test DIR",
		Short: "Run the tests of a policy",
		Long: `Run the tests of a policy: rules named test_… in files that end in _test.rego. They see the policy's parameters, and
give an input by "with input as".`,
		Example: "  nthlayer policy test ./policy",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := a.bundle(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			tested, err := b.Test(cmd.Context())
			if err != nil {
				return err
			}
			failed := 0
			for _, one := range tested {
				fmt.Fprint(a.Out, one.Output)
				if one.Passed {
					fmt.Fprintf(a.Out, "ok    %s\n", one.Name)
					continue
				}
				failed++
				fmt.Fprintf(a.Out, "FAIL  %s: %s\n", one.Name, one.Why)
			}
			switch {
			case len(tested) == 0:
				return fmt.Errorf("%s holds no tests: name files …_test.rego and rules test_…", args[0])
			case failed > 0:
				return fmt.Errorf("%w: %d of %d failed", errTests, failed, len(tested))
			}
			fmt.Fprintf(a.Out, "%d tests passed.\n", len(tested))
			return nil
		},
	}
}

func (a *app) policyEval() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "eval INPUT",
		Short: "Ask a policy what it says of a plan",
		Long: `Ask a policy what it says of a plan, given as JSON in a file, or on standard input as "-". Exits with 0 where the plan may be
applied, with 2 where it is denied or needs approval, with 1 on an error.`,
		Example: `  nthlayer team plan sig-storage -o policy-input > plan.json
  nthlayer policy eval --dir ./policy plan.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := input(cmd, args[0])
			if err != nil {
				return err
			}
			b, err := a.bundle(cmd.Context(), dir)
			if err != nil {
				return err
			}
			engine, err := rules.NewEngine(cmd.Context(), b)
			if err != nil {
				return err
			}
			decision, err := engine.Decide(cmd.Context(), in)
			if err != nil {
				return err
			}
			return a.showDecision(decision)
		},
	}
	dirFlag(cmd, &dir)
	a.outputFlag(cmd)
	return cmd
}

func (a *app) policyExplain() *cobra.Command {
	var dir string
	var traced []string
	cmd := &cobra.Command{
		Use:   "explain INPUT",
		Short: "Say why a policy decides on a plan as it does",
		Long: `Say why a policy decides on a plan as it does: for each rule what it found, or that it found nothing, and the parameters it
went by. --trace also shows each step of a rule's evaluation. The plan is given as JSON in a file, or on standard input as "-".`,
		Example: `  nthlayer team plan sig-storage -o policy-input | nthlayer policy explain --dir ./policy -
  nthlayer policy explain --trace removals plan.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := input(cmd, args[0])
			if err != nil {
				return err
			}
			b, err := a.bundle(cmd.Context(), dir)
			if err != nil {
				return err
			}
			explanation, err := b.Explain(cmd.Context(), in, traced...)
			switch {
			case err != nil:
				return err
			case !a.forPeople():
				return output.EncodeValue(a.Out, output.Format(a.format), explanation)
			default:
				return output.ShowExplanation(a.Out, explanation)
			}
		},
	}
	dirFlag(cmd, &dir)
	cmd.Flags().StringArrayVar(&traced, "trace", nil, "show how this `rule` is evaluated, step by step; may be repeated")
	a.outputFlag(cmd)
	return cmd
}

func (a *app) showDecision(d policy.Decision) error {
	if !a.forPeople() {
		if err := output.EncodeValue(a.Out, output.Format(a.format), d); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.Out, "%s\n", d.Verdict)
		for _, v := range d.Violations {
			fmt.Fprintf(a.Out, "  %s\n", output.ViolationLine(v))
		}
	}
	if d.Verdict != policy.Allow {
		return errDrift
	}
	return nil
}
