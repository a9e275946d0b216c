package cortex

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/ownership"
)

// team is the team API's shape. Type is not looked at: spec and samples spell it differently, and which member list is
// there says the same (reference: TeamResponse).
type team struct {
	ID               string   `json:"id"`
	TeamTag          string   `json:"teamTag"`
	CatalogEntityTag string   `json:"catalogEntityTag"`
	IsArchived       bool     `json:"isArchived"`
	Metadata         metadata `json:"metadata"`
	CortexTeam       *group   `json:"cortexTeam"`
	IDPGroup         *group   `json:"idpGroup"`
}

type metadata struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// group is either member list; they differ in what a role is and in what may be missing.
type group struct {
	Members *[]member `json:"members"` // nil: not said, which is not "none"
}

type member struct {
	Email string `json:"email"`
	Name  string `json:"name"`
	Roles []role `json:"roles"`
	Role  *role  `json:"role"` // from before a member could have several
}

// role is the word for a role: its tag in Cortex-managed teams, its name in IdP groups and in the catalogue, a bare
// string in older answers.
type role string

func (r *role) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte(`"`)) {
		return json.Unmarshal(data, (*string)(r))
	}
	var object struct{ Tag, Name string }
	if err := json.Unmarshal(data, &object); err != nil {
		return err
	}
	*r = role(object.Tag)
	if *r == "" {
		*r = role(object.Name)
	}
	return nil
}

// row is the catalogue's shape of a team.
type row struct {
	ID          string       `json:"id"`
	Tag         string       `json:"tag"`
	Name        string       `json:"name"`
	Description string       `json:"description"`
	IsArchived  bool         `json:"isArchived"`
	Metadata    []customData `json:"metadata"`
	Members     *[]member    `json:"members"`
}

type customData struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

func (d customData) target() (string, error) {
	var id string
	if err := json.Unmarshal(d.Value, &id); err != nil {
		return "", fault.New(fault.Precondition, "the custom data "+TargetKey+" in Cortex must be a string", err).
			WithReason("SOURCE_TARGET_INVALID")
	}
	return strings.TrimSpace(id), nil
}

func decodeTeam(body []byte, asked string) (ownership.Desired, error) {
	var t team
	if err := json.Unmarshal(body, &t); err != nil {
		return ownership.Desired{}, incomplete("Cortex's answer for team "+asked+" is not whole", err)
	}
	named := func(id string) bool { return strings.EqualFold(id, asked) }
	if t.TeamTag == "" || !slices.ContainsFunc([]string{t.TeamTag, t.CatalogEntityTag, t.ID}, named) {
		return ownership.Desired{}, incomplete(fmt.Sprintf("Cortex was asked for team %s and answered with %q", asked, t.TeamTag), nil)
	}
	members, known := t.members()
	if !known {
		return ownership.Desired{}, incomplete("Cortex's answer for team "+asked+" has no member list", nil)
	}
	return ownership.Desired{
		TeamID:      t.TeamTag,
		SourceID:    t.ID,
		Name:        t.Metadata.Name,
		Description: t.Metadata.Description,
		Archived:    t.IsArchived,
		Members:     merge(members),
	}, nil
}

// members joins both lists. They are known when there is at least one and none lacks its members.
func (t team) members() (members []member, known bool) {
	for _, g := range []*group{t.CortexTeam, t.IDPGroup} {
		if g == nil {
			continue
		}
		if g.Members == nil {
			return nil, false
		}
		members, known = append(members, *g.Members...), true
	}
	return members, known
}

func decodeCustomData(body []byte) ([]customData, error) {
	var rows []customData
	if err := json.Unmarshal(body, &rows); err != nil || rows == nil {
		return nil, incomplete("Cortex's answer with custom data is not whole", err)
	}
	return rows, nil
}

func decodeGroups(body []byte, asked string) ([]string, error) {
	var entity struct {
		ID     string    `json:"id"`
		Tag    string    `json:"tag"`
		Groups *[]string `json:"groups"`
	}
	if err := json.Unmarshal(body, &entity); err != nil || entity.Groups == nil {
		return nil, incomplete("Cortex's answer for the entity "+asked+" is not whole", err)
	}
	if !strings.EqualFold(entity.Tag, asked) && !strings.EqualFold(entity.ID, asked) {
		return nil, incomplete(fmt.Sprintf("Cortex was asked for the entity %s and answered with %q", asked, entity.Tag), nil)
	}
	return *entity.Groups, nil
}

func decodeCatalog(body []byte) (rows []row, total int, err error) {
	var page struct {
		Entities *[]row `json:"entities"`
		Total    *int   `json:"total"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		return nil, 0, incomplete("Cortex's list of teams is not whole", err)
	}
	if page.Entities == nil || page.Total == nil || *page.Total < 0 {
		return nil, 0, incomplete("Cortex's list of teams comes without its rows or its total", nil)
	}
	for _, r := range *page.Entities {
		if r.ID == "" || r.Tag == "" {
			return nil, 0, incomplete("Cortex's list of teams has a row without id or tag", nil)
		}
	}
	return *page.Entities, *page.Total, nil
}

func (r row) desired() ownership.Desired {
	d := ownership.Desired{TeamID: r.Tag, SourceID: r.ID, Name: r.Name, Description: r.Description, Archived: r.IsArchived}
	if r.Members != nil {
		d.Members = merge(*r.Members)
	}
	for _, data := range r.Metadata {
		if data.Key == TargetKey {
			d.TargetID, _ = data.target() // one odd value must not hide the fleet; DeclaredTarget reports it
		}
	}
	return d
}

// merge makes one member of each person: a team can list somebody by hand and again through its IdP group. Members
// without an e-mail address cannot be told apart and all stay.
func merge(members []member) []ownership.Member {
	merged := make([]ownership.Member, 0, len(members))
	at := map[string]int{}
	for _, m := range members {
		email := ownership.NormalizeEmail(m.Email)
		i, known := at[email]
		if !known || email == "" {
			i = len(merged)
			at[email] = i
			merged = append(merged, ownership.Member{Email: strings.TrimSpace(m.Email), Name: m.Name})
		}
		for _, word := range m.words() {
			if !slices.Contains(merged[i].Roles, word) {
				merged[i].Roles = append(merged[i].Roles, word)
			}
		}
	}
	return merged
}

func (m member) words() []string {
	roles := m.Roles
	if len(roles) == 0 && m.Role != nil {
		roles = []role{*m.Role}
	}
	var words []string
	for _, r := range roles {
		if r != "" {
			words = append(words, string(r))
		}
	}
	return words
}
