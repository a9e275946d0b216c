package cli_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func (f *fleet) ListIgnoreRules(_ context.Context, req *nthlayerv1.ListIgnoreRulesRequest) (*nthlayerv1.ListIgnoreRulesResponse, error) {
	f.listed = req
	rules, next := page(f.rules, req.GetPageSize(), req.GetPageToken())
	return answer(f, &nthlayerv1.ListIgnoreRulesResponse{Rules: rules, NextPageToken: next})
}

func (f *fleet) CreateIgnoreRule(_ context.Context, req *nthlayerv1.CreateIgnoreRuleRequest) (*nthlayerv1.IgnoreRule, error) {
	f.ignored = req
	return answer(f, &nthlayerv1.IgnoreRule{RuleId: job, TeamId: req.GetTeamId(), Kind: req.GetKind(), Value: req.GetValue(), ExpiresAt: req.GetExpiresAt()})
}

func (f *fleet) DeleteIgnoreRule(_ context.Context, req *nthlayerv1.DeleteIgnoreRuleRequest) (*nthlayerv1.IgnoreRule, error) {
	f.removed = req
	return answer(f, &nthlayerv1.IgnoreRule{RuleId: req.GetRuleId(), TeamId: req.GetTeamId(), Kind: "role", Value: "observer"})
}

var because = []string{"--reason", "on loan", "--owner", "sre@example.org"}

func TestIgnoreAdd_FlagsMakeTheRule(t *testing.T) {
	end := time.Date(2027, 2, 1, 0, 0, 0, 0, time.Local)
	for name, c := range map[string]struct {
		args []string
		want *nthlayerv1.CreateIgnoreRuleRequest
	}{
		"a person of a team, until a day": {
			[]string{"--team", "payments", "--person", "ann@example.org", "--until", "2027-01-31"},
			&nthlayerv1.CreateIgnoreRuleRequest{TeamId: "payments", Kind: "person", Value: "ann@example.org", ExpiresAt: timestamppb.New(end)},
		},
		"a role of the fleet, for a while": {
			[]string{"--fleet", "--role", "observer", "--for", "2w"},
			&nthlayerv1.CreateIgnoreRuleRequest{Kind: "role", Value: "observer", ExpiresAt: timestamppb.New(noon.AddDate(0, 0, 14))},
		},
		"all of a team, as long as usual": {
			[]string{"--team", "payments", "--everything"}, &nthlayerv1.CreateIgnoreRuleRequest{TeamId: "payments", Kind: "team"},
		},
		"some teams": {[]string{"--fleet", "--teams", "sandbox/*"}, &nthlayerv1.CreateIgnoreRuleRequest{Kind: "team", Value: "sandbox/*"}},
	} {
		t.Run(name, func(t *testing.T) {
			var f fleet
			code, out, errs := f.command(t, append(append([]string{"ignore", "add"}, c.args...), because...)...)
			require.Zero(t, code, errs)
			c.want.Reason, c.want.Owner = "on loan", "sre@example.org"
			same(t, c.want, f.ignored)
			require.Contains(t, bare(out), "nthlayer ignore remove "+job)
		})
	}
}

// Nobody hides anything of the whole fleet by leaving something out.
func TestIgnoreAdd_NotSaidWhatOfWhom_AsksNobody(t *testing.T) {
	for says, args := range map[string][]string{
		"[team fleet] is required":                   append([]string{"--person", "ann@example.org"}, because...),
		"[person role everything teams] is required": append([]string{"--team", "payments"}, because...),
		"[fleet team] were all set":                  append([]string{"--team", "payments", "--fleet", "--role", "observer"}, because...),
		"--team must not be empty":                   append([]string{"--team", "", "--role", "observer"}, because...),
		"must not be empty":                          append([]string{"--fleet", "--person", ""}, because...),
		"--everything is for one team":               append([]string{"--fleet", "--everything"}, because...),
		"--teams is for rules of the fleet":          append([]string{"--team", "payments", "--teams", "x"}, because...),
		`required flag(s) "owner", "reason" not set`: {"--team", "payments", "--role", "observer"},
		"--until: \"soon\" is no time":               append([]string{"--team", "payments", "--role", "observer", "--until", "soon"}, because...),
		"[for until] were all set":                   append([]string{"--team", "payments", "--role", "observer", "--until", "2027-01-31", "--for", "2w"}, because...),
	} {
		var f fleet
		code, _, errs := f.command(t, append([]string{"ignore", "add"}, args...)...)
		require.Equal(t, 1, code, says)
		require.Contains(t, errs, says)
		require.Nil(t, f.ignored)
	}
}

func TestIgnoreListAndRemove(t *testing.T) {
	f := fleet{rules: []*nthlayerv1.IgnoreRule{{RuleId: job, Kind: "role", Value: "observer", Status: "active", Owner: "sre", ExpiresAt: at(time.Hour)}}}
	code, out, errs := f.command(t, "ignore", "list", "--team", "payments", "--kind", "role", "--past")
	require.Zero(t, code, errs)
	require.Contains(t, bare(out), "role observer")
	same(t, &nthlayerv1.ListIgnoreRulesRequest{PageSize: f.listed.GetPageSize(), TeamId: "payments", Kind: "role", Past: true}, f.listed)

	code, out, errs = f.command(t, "ignore", "remove", job, "--team", "payments")
	require.Zero(t, code, errs)
	require.Contains(t, out, "role observer is not ignored any more")
	same(t, &nthlayerv1.DeleteIgnoreRuleRequest{RuleId: job, TeamId: "payments"}, f.removed)
	f.removed = nil
	code, _, _ = f.command(t, "ignore", "remove", job)
	require.Equal(t, 1, code, "of whom must be said")
	require.Nil(t, f.removed)
}
