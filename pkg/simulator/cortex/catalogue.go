package cortex

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

// catalogue is the teams, in the order in which they came, found by tag or id.
type catalogue struct {
	order []*team
	byTag map[string]*team
	byID  map[string]*team
}

type team struct {
	ID, Tag, Name, Description string
	Parent                     string
	Archived                   bool
	IDP                        *org.IDP
	Slack                      string
	Groups                     []string
	Custom                     map[string]any
	Members                    []member
	Updated                    time.Time
}

type member struct {
	ID, Email, Name string
	Roles           []string
}

func newCatalogue() *catalogue {
	return &catalogue{byTag: map[string]*team{}, byID: map[string]*team{}}
}

func teamOf(d org.DeclaredTeam, now time.Time) *team {
	t := &team{
		ID: d.ID, Tag: d.Tag, Name: d.Name, Description: d.Description, Parent: d.Parent, Archived: d.Archived, IDP: d.IDP,
		Slack: d.SlackChannel, Groups: append([]string{}, d.Groups...), Custom: d.CustomData, Updated: now,
	}
	if t.Custom == nil {
		t.Custom = map[string]any{}
	}
	for _, m := range d.Members {
		t.Members = append(t.Members, member{ID: m.ID, Email: m.Email, Name: m.Name, Roles: m.Roles})
	}
	return t
}

func (c *catalogue) add(t *team) {
	c.order = append(c.order, t)
	c.byTag[t.Tag], c.byID[t.ID] = t, t
}

func (c *catalogue) find(tagOrID string) *team {
	if t := c.byTag[tagOrID]; t != nil {
		return t
	}
	return c.byID[tagOrID]
}

func (c *catalogue) remove(t *team) {
	c.order = slices.DeleteFunc(c.order, func(o *team) bool { return o == t })
	delete(c.byTag, t.Tag)
	delete(c.byID, t.ID)
}

// show is the team API's shape. A Cortex-managed team and one behind an identity provider's group differ in their member
// lists: the first names roles by tag, the second by name, and its members may lack an address and a name.
func (t *team) show() object {
	shown := object{
		"id": t.ID, "teamTag": t.Tag, "catalogEntityTag": t.Tag, "isArchived": t.Archived, "links": []any{},
		"metadata": object{"name": t.Name, "description": t.Description, "summary": nil}, "slackChannels": t.channels(),
	}
	members := []any{}
	if t.IDP != nil {
		for _, m := range t.Members {
			roles := []any{}
			for _, r := range m.Roles {
				roles = append(roles, object{"name": r, "source": t.IDP.Provider})
			}
			one := object{"id": m.ID, "roles": roles}
			if m.Email != "" {
				one["email"] = m.Email
			}
			if m.Name != "" {
				one["name"] = m.Name
			}
			members = append(members, one)
		}
		shown["type"] = "IDP"
		shown["idpGroup"] = object{"group": t.IDP.Group, "provider": t.IDP.Provider, "members": members}
		return shown
	}
	for _, m := range t.Members {
		roles := []any{}
		for _, r := range m.Roles {
			roles = append(roles, object{"tag": r, "type": "TEAM_ROLE", "name": strings.ToUpper(r[:1]) + r[1:]})
		}
		members = append(members, object{"email": m.Email, "name": m.Name, "notificationsEnabled": true, "roles": roles})
	}
	shown["type"] = "CORTEX"
	shown["cortexTeam"] = object{"members": members}
	return shown
}

// row is the catalogue's shape. It merges members of both kinds and says where each came from.
func (t *team) row(query map[string]bool) object {
	shown := object{
		"id": t.ID, "tag": t.Tag, "name": t.Name, "description": t.Description, "type": "team", "isArchived": t.Archived,
		"lastUpdated": t.Updated.UTC().Format(time.RFC3339), "groups": t.Groups, "links": []any{},
		"hierarchy": object{"parents": t.parents(), "children": []any{}},
	}
	if query["includeMetadata"] {
		metadata := []any{}
		for _, key := range slices.Sorted(maps.Keys(t.Custom)) {
			metadata = append(metadata, object{"key": key, "value": t.Custom[key]})
		}
		shown["metadata"] = metadata
	}
	if query["includeSlackChannels"] {
		shown["slackChannels"] = t.channels()
	}
	if query["team:members"] {
		source := object{"type": "ENTITY_DEFINED"}
		if t.IDP != nil {
			source = object{"type": "IDP_GROUP", "provider": t.IDP.Provider, "externalGroupId": t.IDP.Group}
		}
		members := []any{}
		for _, m := range t.Members {
			roles := []any{}
			for _, r := range m.Roles {
				roles = append(roles, object{"name": r})
			}
			one := object{"name": m.Name, "roles": roles, "sources": []any{source}}
			if m.Email != "" {
				one["email"] = m.Email
			}
			members = append(members, one)
		}
		shown["members"] = members
	}
	return shown
}

func (t *team) parents() []any {
	if t.Parent == "" {
		return []any{}
	}
	return []any{object{"tag": t.Parent}}
}

func (t *team) channels() []any {
	if t.Slack == "" {
		return []any{}
	}
	return []any{object{"name": t.Slack, "notificationsEnabled": true}}
}

// State is every team as it is.
func (s *Server) State() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	teams := []any{}
	for _, t := range s.teams.order {
		members := []any{}
		for _, m := range t.Members {
			members = append(members, object{"email": m.Email, "name": m.Name, "roles": append([]string{}, m.Roles...)})
		}
		teams = append(teams, object{
			"id": t.ID, "tag": t.Tag, "name": t.Name, "description": t.Description, "archived": t.Archived,
			"custom_data": maps.Clone(t.Custom), "members": members,
		})
	}
	return object{"teams": teams}
}
