// Package org is the organisation that the simulators hold: who exists, who belongs to which team by declaration, and
// how far PagerDuty has drifted from that.
//
// One document describes both sides. Without any of the optional fields, Cortex and PagerDuty agree perfectly; every
// optional field says one difference. Declared gives Cortex's side of it, Observed gives PagerDuty's. Ids are derived
// from tags and handles, so the same document always gives the same ids.
package org

// Org is the whole document.
type Org struct {
	Source    string   `json:"source,omitempty"`
	Commit    string   `json:"commit,omitempty"`
	Licence   string   `json:"licence,omitempty"`
	Note      string   `json:"note,omitempty"`
	People    []Person `json:"people"`
	Teams     []Team   `json:"teams"`
	PagerDuty Drift    `json:"pagerduty,omitzero"`
}

// Person is a human being. In the document, a string is a person with that handle and nothing special.
type Person struct {
	Handle        string  `json:"handle"`
	Name          string  `json:"name,omitempty"`            // empty: the handle
	Email         string  `json:"email,omitempty"`           // empty: <handle>@example.org
	NoCortexEmail bool    `json:"no_cortex_email,omitempty"` // Cortex knows the person without an address
	PagerDuty     Account `json:"pagerduty,omitzero"`
}

// Account is how PagerDuty knows a person, where that differs.
type Account struct {
	Absent      bool   `json:"absent,omitempty"`       // there is no account
	Email       string `json:"email,omitempty"`        // another spelling of the address, usually another case
	Role        string `json:"role,omitempty"`         // base role; empty: user
	SecondEmail string `json:"second_email,omitempty"` // there is a second account, with this address
}

// Team is a team as Cortex declares it. On both sides its name is <org>/<name>.
type Team struct {
	Tag          string         `json:"tag"`
	Name         string         `json:"name"`
	Org          string         `json:"org"`
	Description  string         `json:"description,omitempty"`
	Parent       string         `json:"parent,omitempty"` // a tag
	Previously   []string       `json:"previously,omitempty"`
	Maintainers  []string       `json:"maintainers"` // handles; role manager
	Members      []string       `json:"members"`     // handles; no role
	Archived     bool           `json:"archived,omitempty"`
	IDP          *IDP           `json:"idp,omitempty"` // members come from an identity provider's group
	CustomData   map[string]any `json:"custom_data,omitempty"`
	SlackChannel string         `json:"slack_channel,omitempty"`
	Groups       []string       `json:"groups,omitempty"` // of Cortex's catalogue
}

// IDP is the group behind an IDP-backed Cortex team.
type IDP struct {
	Group    string `json:"group"`
	Provider string `json:"provider"` // OKTA, GOOGLE, …
}

// Drift is how PagerDuty differs from the declaration.
type Drift struct {
	Teams map[string]TeamDrift `json:"teams,omitempty"` // by the tag of a declared team
	Extra []ExtraTeam          `json:"extra,omitempty"` // teams that only PagerDuty has
}

// TeamDrift is how PagerDuty's copy of one declared team differs.
type TeamDrift struct {
	Absent      bool              `json:"absent,omitempty"`      // PagerDuty has no such team
	ID          string            `json:"id,omitempty"`          // a fixed id, so that custom data can name it; empty: derived
	Name        string            `json:"name,omitempty"`        // instead of <org>/<name>
	Description *string           `json:"description,omitempty"` // instead of the declared one
	Missing     []string          `json:"missing,omitempty"`     // declared people who are not members
	Extra       map[string]string `json:"extra,omitempty"`       // members who are not declared: handle → team role
	Roles       map[string]string `json:"roles,omitempty"`       // members with another team role: handle → team role
	Policies    []Policy          `json:"escalation_policies,omitempty"`
}

// ExtraTeam is a team that only PagerDuty has.
type ExtraTeam struct {
	ID          string            `json:"id,omitempty"` // empty: derived from the name and its place in the list
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Members     map[string]string `json:"members,omitempty"` // handle → team role
	Policies    []Policy          `json:"escalation_policies,omitempty"`
}

// Policy is an escalation policy on a team. Everybody it pages, directly or through a schedule, is a member of the
// team: PagerDuty puts them there.
type Policy struct {
	Name      string     `json:"name"`
	Users     []string   `json:"users,omitempty"` // handles
	Schedules []Schedule `json:"schedules,omitempty"`
}

// Schedule is a rotation of people.
type Schedule struct {
	Name  string   `json:"name"`
	Users []string `json:"users"` // handles
}

// DisplayName is the person's name on both sides.
func (p Person) DisplayName() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Handle
}

// Address is the person's e-mail address in Cortex and, unless it is spelt differently there, in PagerDuty.
func (p Person) Address() string {
	if p.Email != "" {
		return p.Email
	}
	return p.Handle + "@example.org"
}

// FullName is the team's name on both sides.
func (t Team) FullName() string { return t.Org + "/" + t.Name }
