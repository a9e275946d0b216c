package org_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

// decoded is the organisation after it was written down and read again, with all the checks.
func decoded(t require.TestingT, o *org.Org) *org.Org {
	written, err := json.Marshal(o)
	require.NoError(t, err)
	again, err := org.Decode(bytes.NewReader(written))
	require.NoError(t, err)
	return again
}

func TestGenerate_LargestFleet_DecodesAsItWas(t *testing.T) {
	o := org.Generate(org.GenerateOptions{Teams: 10_000, People: 60_000, Seed: 7, Drifted: 500, Policies: 0.5, Orphans: 100})
	require.Equal(t, o, decoded(t, o))
	require.Len(t, o.People, 60_000)
	require.Len(t, o.Teams, 10_000)
	require.Len(t, o.PagerDuty.Extra, 100)

	ways := map[string]int{}
	policies := 0
	for _, d := range o.PagerDuty.Teams {
		policies += len(d.Policies)
		d.Policies = nil
		switch {
		case d.Absent:
			ways["absent"]++
		case d.Description != nil:
			ways["description"]++
		case len(d.Missing) > 0:
			ways["missing"]++
		case len(d.Extra) > 0:
			ways["extra"]++
		case len(d.Roles) > 0:
			ways["roles"]++
		}
	}
	require.Equal(t, map[string]int{"absent": 100, "description": 100, "missing": 100, "extra": 100, "roles": 100}, ways)
	require.Equal(t, 4_950, policies, "half of the 9,900 teams that are there")
	pager := o.Observed()
	require.Len(t, pager.Teams, 10_000)
	require.Len(t, pager.Schedules, 4_950)
}

func TestGenerate_SameSeed_SameOrganisation(t *testing.T) {
	opts := org.GenerateOptions{Teams: 50, People: 300, Seed: 1, Drifted: 10, Policies: 0.3, Orphans: 3}
	first, second := org.Generate(opts), org.Generate(opts)
	require.Equal(t, first, second)
	opts.Seed = 2
	require.NotEqual(t, first, org.Generate(opts))
}

func TestGenerate_AnyOptions_GiveAValidOrganisationWithEverybodyOnATeam(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		few := rapid.IntRange(-1, 40)
		opts := org.GenerateOptions{
			Teams: few.Draw(t, "teams"), People: few.Draw(t, "people"), Seed: rapid.Uint64().Draw(t, "seed"),
			MembersMin: few.Draw(t, "min"), MembersMax: few.Draw(t, "max"), Drifted: few.Draw(t, "drifted"),
			Policies: rapid.SampledFrom([]float64{-1, 0, 0.5, 1, 7, math.NaN()}).Draw(t, "policies"), Orphans: few.Draw(t, "orphans"),
		}
		o := org.Generate(opts)
		require.Equal(t, o, decoded(t, o))
		require.Len(t, o.People, max(opts.People, 0))
		require.Len(t, o.Teams, max(opts.Teams, 0))
		require.Len(t, o.PagerDuty.Extra, max(opts.Orphans, 0))

		placed, places := map[string]bool{}, 0
		for _, team := range o.Declared() {
			for _, m := range team.Members {
				placed[m.ID] = true
			}
			places += len(team.Members)
			if opts.MembersMax > 0 {
				require.LessOrEqual(t, len(team.Members), opts.MembersMax)
			}
			if opts.MembersMin > 0 && (opts.MembersMax <= 0 || opts.MembersMin <= opts.MembersMax) {
				require.GreaterOrEqual(t, len(team.Members), min(opts.MembersMin, len(o.People)))
			}
		}
		if opts.MembersMax <= 0 && opts.Teams > 0 || opts.MembersMax*max(opts.Teams, 0) >= opts.People {
			require.Len(t, placed, len(o.People))
		} else {
			require.Len(t, placed, places, "there is no place for all, and nobody has two")
		}
		require.Equal(t, min(max(opts.Drifted, 0), len(o.Teams)), differing(o))
	})
}

// differing counts the declared teams that PagerDuty has otherwise.
func differing(o *org.Org) int {
	emails, there := map[string]string{}, map[string]org.PagerDutyTeam{}
	side := o.Observed()
	for _, u := range side.Users {
		emails[u.ID] = u.Email
	}
	for _, team := range side.Teams {
		if team.Tag != "" {
			there[team.Tag] = team
		}
	}
	n := 0
	for _, declared := range o.Declared() {
		want, got := map[string]string{}, map[string]string{}
		for _, m := range declared.Members {
			want[m.Email] = map[bool]string{true: "manager", false: "responder"}[len(m.Roles) > 0]
		}
		team, known := there[declared.Tag]
		for _, m := range team.Members {
			got[emails[m.UserID]] = m.Role
		}
		if !known || team.Description != declared.Description || !maps.Equal(want, got) {
			n++
		}
	}
	return n
}
