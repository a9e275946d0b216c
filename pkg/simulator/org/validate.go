package org

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Bounds of what the platforms would take, and of what a simulator should hold in memory.
const (
	MaxPeople = 100_000 // the largest fleet that is tried has 60,000 people on 10,000 teams
	MaxTeams  = 20_000

	maxMemberships = 1_000_000
	maxName        = 100  // PagerDuty: names of users and teams
	maxTag         = 200  // also handles
	maxDescription = 1024 // PagerDuty: team descriptions
)

var (
	teamRoles = []string{"manager", "responder", "observer"}
	baseRoles = []string{
		"owner", "admin", "user", "limited_user", "observer", "restricted_access", "read_only_user", "read_only_limited_user",
	}
	targetID = regexp.MustCompile(`^P[A-Z0-9]{6,13}$`)
)

// Validate checks that the document can be held: bounded, without doubles, and every handle and tag in it known.
func (o *Org) Validate() error {
	switch {
	case len(o.People) > MaxPeople:
		return fault.Field("people", fmt.Sprintf("must not be more than %d", MaxPeople))
	case len(o.Teams) > MaxTeams:
		return fault.Field("teams", fmt.Sprintf("must not be more than %d", MaxTeams))
	}
	v := &validator{handles: map[string]bool{}, tags: map[string]*Team{}, ids: map[string]bool{}}
	for _, check := range []func(*Org) error{v.people, v.teams, v.drift, v.extraTeams} {
		if err := check(o); err != nil {
			return err
		}
	}
	return nil
}

type validator struct {
	handles map[string]bool
	tags    map[string]*Team
	ids     map[string]bool // fixed PagerDuty ids
	members int
}

func (v *validator) people(o *Org) error {
	emails := map[string]bool{}
	for i, p := range o.People {
		at := fmt.Sprintf("people[%d]", i)
		if err := first(
			text(at+".handle", p.Handle, maxTag, true),
			text(at+".name", p.Name, maxName, false),
			address(at+".email", p.Email),
			address(at+".pagerduty.email", p.PagerDuty.Email),
			address(at+".pagerduty.second_email", p.PagerDuty.SecondEmail),
			oneOf(at+".pagerduty.role", p.PagerDuty.Role, append([]string{""}, baseRoles...)),
		); err != nil {
			return err
		}
		if v.handles[p.Handle] {
			return fault.Field(at+".handle", fmt.Sprintf("%q is there twice", p.Handle))
		}
		v.handles[p.Handle] = true
		email := strings.ToLower(p.Address())
		if emails[email] {
			return fault.Field(at+".email", fmt.Sprintf("%q belongs to somebody else; say a second account with pagerduty.second_email", p.Address()))
		}
		emails[email] = true
		if p.PagerDuty.Absent && p.PagerDuty != (Account{Absent: true}) {
			return fault.Field(at+".pagerduty.absent", "goes with no other field: there is no account to describe")
		}
	}
	return nil
}

func (v *validator) teams(o *Org) error {
	for i := range o.Teams {
		t := &o.Teams[i]
		at := fmt.Sprintf("teams[%d]", i)
		if err := first(
			text(at+".tag", t.Tag, maxTag, true),
			text(at+".org", t.Org, maxName, true),
			text(at+".name", t.Name, maxName, true),
			text(at+".name", t.FullName(), maxName, true),
			text(at+".description", t.Description, maxDescription, false),
			text(at+".slack_channel", t.SlackChannel, maxName, false),
		); err != nil {
			return err
		}
		if v.tags[t.Tag] != nil {
			return fault.Field(at+".tag", fmt.Sprintf("%q is there twice", t.Tag))
		}
		v.tags[t.Tag] = t
		if t.IDP != nil {
			if err := first(text(at+".idp.group", t.IDP.Group, maxTag, true), text(at+".idp.provider", t.IDP.Provider, maxTag, true)); err != nil {
				return err
			}
		}
		seen := map[string]bool{}
		if err := first(v.each(at+".maintainers", t.Maintainers, seen), v.each(at+".members", t.Members, seen)); err != nil {
			return err
		}
	}
	for i, t := range o.Teams {
		if t.Parent != "" && v.tags[t.Parent] == nil {
			return fault.Field(fmt.Sprintf("teams[%d].parent", i), fmt.Sprintf("%q is no team's tag", t.Parent))
		}
	}
	return nil
}

func (v *validator) drift(o *Org) error {
	for _, tag := range slices.Sorted(maps.Keys(o.PagerDuty.Teams)) {
		d := o.PagerDuty.Teams[tag]
		at := "pagerduty.teams." + tag
		t := v.tags[tag]
		if t == nil {
			return fault.Field(at, "is no team's tag")
		}
		if d.Absent {
			if d.ID != "" || d.Name != "" || d.Description != nil || len(d.Missing)+len(d.Extra)+len(d.Roles)+len(d.Policies) > 0 {
				return fault.Field(at+".absent", "goes with no other field: there is no team to describe")
			}
			continue
		}
		declared := map[string]bool{}
		for _, handle := range slices.Concat(t.Maintainers, t.Members) {
			declared[handle] = true
		}
		there := maps.Clone(declared)
		if err := first(
			v.id(at+".id", d.ID),
			text(at+".name", d.Name, maxName, false),
			v.each(at+".missing", d.Missing, map[string]bool{}),
			v.roles(at+".extra", d.Extra),
			v.roles(at+".roles", d.Roles),
		); err != nil {
			return err
		}
		if d.Description != nil {
			if err := text(at+".description", *d.Description, maxDescription, false); err != nil {
				return err
			}
		}
		for _, handle := range d.Missing {
			if !declared[handle] {
				return fault.Field(at+".missing", fmt.Sprintf("%q is not declared in the team", handle))
			}
			delete(there, handle)
		}
		for handle := range d.Extra {
			if declared[handle] {
				return fault.Field(at+".extra", fmt.Sprintf("%q is declared in the team", handle))
			}
			there[handle] = true
		}
		for handle := range d.Roles {
			if !declared[handle] || !there[handle] {
				return fault.Field(at+".roles", fmt.Sprintf("%q is not a declared member who is there; give extra members their role in extra", handle))
			}
		}
		if err := v.policies(at, d.Policies, there); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) extraTeams(o *Org) error {
	if len(o.PagerDuty.Extra) > MaxTeams {
		return fault.Field("pagerduty.extra", fmt.Sprintf("must not be more than %d", MaxTeams))
	}
	for i, t := range o.PagerDuty.Extra {
		at := fmt.Sprintf("pagerduty.extra[%d]", i)
		there := map[string]bool{}
		for handle := range t.Members {
			there[handle] = true
		}
		if err := first(
			v.id(at+".id", t.ID),
			text(at+".name", t.Name, maxName, true),
			text(at+".description", t.Description, maxDescription, false),
			v.roles(at+".members", t.Members),
			v.policies(at, t.Policies, there),
		); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) policies(at string, policies []Policy, there map[string]bool) error {
	for i, p := range policies {
		at := fmt.Sprintf("%s.escalation_policies[%d]", at, i)
		if err := first(text(at+".name", p.Name, maxName, true), v.paged(at+".users", p.Users, there)); err != nil {
			return err
		}
		for j, s := range p.Schedules {
			at := fmt.Sprintf("%s.schedules[%d]", at, j)
			if err := first(text(at+".name", s.Name, maxName, true), v.paged(at+".users", s.Users, there)); err != nil {
				return err
			}
		}
	}
	return nil
}

// paged checks people on a rotation: PagerDuty makes them members of the policy's team.
func (v *validator) paged(at string, handles []string, there map[string]bool) error {
	if err := v.each(at, handles, map[string]bool{}); err != nil {
		return err
	}
	for i, handle := range handles {
		if !there[handle] {
			return fault.Field(fmt.Sprintf("%s[%d]", at, i), fmt.Sprintf("%q is not a member of the team in PagerDuty; list the person there (extra)", handle))
		}
	}
	return nil
}

// each checks a list of handles: known, and not in seen.
func (v *validator) each(at string, handles []string, seen map[string]bool) error {
	if v.members += len(handles); v.members > maxMemberships {
		return fault.Field(at, fmt.Sprintf("makes more than %d memberships", maxMemberships))
	}
	for i, handle := range handles {
		at := fmt.Sprintf("%s[%d]", at, i)
		if !v.handles[handle] {
			return fault.Field(at, fmt.Sprintf("%.100q is not in people", handle))
		}
		if seen[handle] {
			return fault.Field(at, fmt.Sprintf("%q is in the team twice", handle))
		}
		seen[handle] = true
	}
	return nil
}

func (v *validator) roles(at string, roles map[string]string) error {
	for _, handle := range slices.Sorted(maps.Keys(roles)) {
		if !v.handles[handle] {
			return fault.Field(at, fmt.Sprintf("%.100q is not in people", handle))
		}
		if err := oneOf(at+"."+handle, roles[handle], teamRoles); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) id(at, id string) error {
	switch {
	case id == "":
		return nil
	case !targetID.MatchString(id):
		return fault.Field(at, "must be P and 6 to 13 capitals or digits")
	case v.ids[id]:
		return fault.Field(at, fmt.Sprintf("%q is there twice", id))
	}
	v.ids[id] = true
	return nil
}

func text(at, s string, most int, required bool) error {
	switch {
	case s == "" && required:
		return fault.Field(at, "must not be empty")
	case !utf8.ValidString(s):
		return fault.Field(at, "must be UTF-8")
	case utf8.RuneCountInString(s) > most:
		return fault.Field(at, fmt.Sprintf("must not be longer than %d characters", most))
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }):
		return fault.Field(at, "must not hold control characters")
	}
	return nil
}

func address(at, s string) error {
	if s == "" {
		return nil
	}
	if local, host, ok := strings.Cut(s, "@"); !ok || local == "" || host == "" || strings.ContainsAny(s, " \t\r\n") {
		return fault.Field(at, "must be an e-mail address")
	}
	return text(at, s, maxName, false)
}

func oneOf(at, s string, words []string) error {
	if slices.Contains(words, s) {
		return nil
	}
	return fault.Field(at, fmt.Sprintf("must be one of %s", strings.Join(slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "" }), ", ")))
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
