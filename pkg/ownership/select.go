package ownership

import (
	"fmt"
	"slices"
	"strings"
)

// Selection chooses among the changes of a plan, by kind (add_member) or by id (add_member:person:ann@example.org). Empty
// Only stands for all; Exclude wins over Only.
type Selection struct{ Only, Exclude []string }

// Check refuses words that name no change of any plan.
func (s Selection) Check() error {
	for _, word := range slices.Concat(s.Only, s.Exclude) {
		kind, _, _ := strings.Cut(word, ":")
		if !slices.Contains(Kinds(), Kind(kind)) {
			return fmt.Errorf("%q is no kind of change and no id of one; the kinds are %s, an id is <kind>:<entity>", word, kinds())
		}
	}
	return nil
}

func kinds() string {
	words := make([]string, len(Kinds()))
	for i, k := range Kinds() {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

// Select leaves out what was not chosen. It refuses an id that the plan does not have: whoever chose it looked at another
// plan, and what they meant to leave out would be done. A team that does not exist cannot get members.
func (p Plan) Select(s Selection) (Plan, error) {
	for _, word := range slices.Concat(s.Only, s.Exclude) {
		if strings.Contains(word, ":") && !slices.ContainsFunc(p.Changes, func(c Change) bool { return c.ID == word }) {
			return p, fmt.Errorf("the plan has no change %s; plan anew and choose from that", word)
		}
	}
	chosen := func(words []string, c Change) bool {
		return slices.Contains(words, string(c.Kind)) || slices.Contains(words, c.ID)
	}
	kept := make([]Change, 0, len(p.Changes))
	p.LeftOut = slices.Clone(p.LeftOut)
	for _, c := range p.Changes {
		if len(s.Only) > 0 && !chosen(s.Only, c) || chosen(s.Exclude, c) {
			p.LeftOut = append(p.LeftOut, c)
		} else {
			kept = append(kept, c)
		}
	}
	isCreate := func(c Change) bool { return c.Kind == CreateTeam }
	if len(kept) > 0 && slices.ContainsFunc(p.LeftOut, isCreate) {
		return p, fmt.Errorf("the team does not exist on the target: choose %s too, or nothing", CreateTeam)
	}
	p.Changes = kept
	return p, nil
}
