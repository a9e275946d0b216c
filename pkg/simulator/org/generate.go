package org

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// GenerateOptions describe an organisation to make up. Numbers that cannot be (more drifted teams than there are teams,
// say) are cut to what can.
type GenerateOptions struct {
	Teams, People int
	Seed          uint64  // the same options give the same organisation
	MembersMin    int     // of a team; 0: 4
	MembersMax    int     // of a team; 0: twice the average that puts everybody on a team, 12 at least
	Drifted       int     // teams that PagerDuty has otherwise, in turn: missing, extra, roles, description, absent
	Policies      float64 // share of PagerDuty's teams with an escalation policy and a schedule, 0 to 1
	Orphans       int     // teams that only PagerDuty has
}

const (
	leastMembers = 4
	mostMembers  = 12
	onRotation   = 3 // people on a made-up schedule, where the team has so many
)

// Generate makes an organisation up. Everybody is on at least one team, unless MembersMax leaves no place. Apart from the
// drift asked for, both sides agree: no team drifts in two ways, and rotations hold nobody whom a drift is about.
func Generate(opts GenerateOptions) *Org {
	g := &generator{
		GenerateOptions: opts.fitting(),
		random:          rand.New(rand.NewPCG(opts.Seed, 0)),
		org:             &Org{Note: "made up", People: []Person{}, Teams: []Team{}, PagerDuty: Drift{Teams: map[string]TeamDrift{}}},
	}
	for i := range g.People {
		g.org.People = append(g.org.People, Person{Handle: fmt.Sprintf("person-%05d", i+1)})
	}
	g.teams()
	g.drift()
	g.policies()
	g.orphans()
	if len(g.org.PagerDuty.Teams) == 0 {
		g.org.PagerDuty.Teams = nil // as a document without it is read
	}
	return g.org
}

// fitting fills in what is left out, and cuts what cannot be.
func (o GenerateOptions) fitting() GenerateOptions {
	for _, n := range []*int{&o.Teams, &o.People, &o.MembersMin, &o.MembersMax, &o.Drifted, &o.Orphans} {
		*n = max(*n, 0)
	}
	if o.MembersMin == 0 {
		o.MembersMin = leastMembers
	}
	if o.MembersMax == 0 {
		o.MembersMax = max(mostMembers, o.MembersMin, 2*o.People/max(o.Teams, 1))
	}
	o.MembersMax = min(o.MembersMax, o.People)
	o.MembersMin = min(o.MembersMin, o.MembersMax)
	o.Drifted = min(o.Drifted, o.Teams)
	if !(o.Policies > 0) { // not a number, too
		o.Policies = 0
	}
	o.Policies = min(o.Policies, 1)
	return o
}

// generator makes an organisation up. People are numbers until they are written down.
type generator struct {
	GenerateOptions
	random *rand.Rand
	org    *Org
	held   []map[int]bool // by team: people who drift, and must not be on a rotation
	inTeam [][]int        // by team: its declared people, managers first
}

func (g *generator) handle(person int) string { return g.org.People[person].Handle }

// some picks n people who are not in taken.
func (g *generator) some(n int, taken map[int]bool) []int {
	var picked []int
	seen := map[int]bool{}
	for n = min(n, g.People-len(taken)); len(picked) < n; {
		p := g.random.IntN(g.People)
		if !taken[p] && !seen[p] {
			seen[p] = true
			picked = append(picked, p)
		}
	}
	return picked
}

// teams gives everybody a place in a team first, and fills the other places with people who are on one already.
func (g *generator) teams() {
	sizes := g.sizes()
	var places []int // the team of each
	for team, size := range sizes {
		for range size {
			places = append(places, team)
		}
	}
	g.random.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	g.inTeam = make([][]int, g.Teams)
	for i, p := range g.random.Perm(g.People)[:min(g.People, len(places))] {
		g.inTeam[places[i]] = append(g.inTeam[places[i]], p)
	}
	g.held = make([]map[int]bool, g.Teams)
	for i := range g.inTeam {
		g.inTeam[i] = append(g.inTeam[i], g.some(sizes[i]-len(g.inTeam[i]), set(g.inTeam[i]))...)
		g.held[i] = map[int]bool{}
		t := Team{
			Tag: fmt.Sprintf("team-%05d", i+1), Name: fmt.Sprintf("team-%05d", i+1), Org: "acme",
			Description: fmt.Sprintf("Team %d of %d", i+1, g.Teams), Maintainers: []string{}, Members: []string{},
		}
		managers := 1 + g.random.IntN(2)
		for j, p := range g.inTeam[i] {
			if j < managers {
				t.Maintainers = append(t.Maintainers, g.handle(p))
			} else {
				t.Members = append(t.Members, g.handle(p))
			}
		}
		g.org.Teams = append(g.org.Teams, t)
	}
}

// sizes draws how many people each team has, and lets teams grow until there is a place for everybody.
func (g *generator) sizes() []int {
	sizes, places := make([]int, g.Teams), 0
	for i := range sizes {
		sizes[i] = g.MembersMin + g.random.IntN(g.MembersMax-g.MembersMin+1)
		places += sizes[i]
	}
	for grown := true; grown && places < g.People; {
		grown = false
		for i := range sizes {
			if sizes[i] < g.MembersMax && places < g.People {
				sizes[i]++
				places++
				grown = true
			}
		}
	}
	return sizes
}

// drift lets teams differ, each in one way: the ways take turns, and where one cannot be the next one does. A description
// can always differ.
func (g *generator) drift() {
	ways := []func(team int, d *TeamDrift) bool{g.missing, g.extra, g.otherRole, g.otherDescription, g.absent}
	for n, team := range g.random.Perm(g.Teams)[:g.Drifted] {
		var d TeamDrift
		for try := range ways {
			if ways[(n+try)%len(ways)](team, &d) {
				break
			}
		}
		g.org.PagerDuty.Teams[g.org.Teams[team].Tag] = d
	}
}

// missing takes somebody away, but not the last one.
func (g *generator) missing(team int, d *TeamDrift) bool {
	people := g.inTeam[team]
	if len(people) < 2 {
		return false
	}
	p := people[len(people)-1]
	d.Missing = []string{g.handle(p)}
	g.held[team][p] = true
	return true
}

func (g *generator) extra(team int, d *TeamDrift) bool {
	strangers := g.some(1, set(g.inTeam[team]))
	for _, p := range strangers {
		d.Extra = map[string]string{g.handle(p): "responder"}
	}
	return len(strangers) > 0
}

func (g *generator) otherRole(team int, d *TeamDrift) bool {
	people := g.inTeam[team]
	if len(people) == 0 {
		return false
	}
	p := people[len(people)-1]
	d.Roles = map[string]string{g.handle(p): "observer"}
	g.held[team][p] = true
	return true
}

func (g *generator) otherDescription(_ int, d *TeamDrift) bool {
	words := "Edited by hand"
	d.Description = &words
	return true
}

func (g *generator) absent(_ int, d *TeamDrift) bool {
	d.Absent = true
	return true
}

// policies gives a share of the teams that PagerDuty has, and that have somebody, a policy with a schedule.
func (g *generator) policies() {
	var teams []int
	for _, team := range g.random.Perm(g.Teams) {
		if !g.org.PagerDuty.Teams[g.org.Teams[team].Tag].Absent && len(g.inTeam[team]) > len(g.held[team]) {
			teams = append(teams, team)
		}
	}
	for _, team := range teams[:int(math.Round(g.Policies*float64(len(teams))))] {
		t := g.org.Teams[team]
		var paged []string
		for _, p := range g.inTeam[team] {
			if !g.held[team][p] && len(paged) < onRotation {
				paged = append(paged, g.handle(p))
			}
		}
		d := g.org.PagerDuty.Teams[t.Tag]
		d.Policies = []Policy{{Name: t.Name + " escalation", Users: slices.Clone(paged[:1]), Schedules: []Schedule{{Name: t.Name + " on call", Users: paged}}}}
		g.org.PagerDuty.Teams[t.Tag] = d
	}
}

func (g *generator) orphans() {
	for i := range g.Orphans {
		extra := ExtraTeam{Name: fmt.Sprintf("orphans/team-%05d", i+1)}
		for _, p := range g.some(g.MembersMin, nil) {
			if extra.Members == nil {
				extra.Members = map[string]string{}
			}
			extra.Members[g.handle(p)] = "responder"
		}
		g.org.PagerDuty.Extra = append(g.org.PagerDuty.Extra, extra)
	}
}

func set(people []int) map[int]bool {
	in := make(map[int]bool, len(people))
	for _, p := range people {
		in[p] = true
	}
	return in
}
