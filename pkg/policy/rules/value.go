package rules

import (
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// value is the input as the evaluator takes it. Its terms are made directly: made by way of Go maps, those of a large plan
// took longer than all the rules. Members are made into terms only where a rule looks at them, and not at their counts alone.
func (in Input) value() ast.Value {
	kinds := make([][2]*ast.Term, 0, len(in.Plan.Count))
	for kind, n := range in.Plan.Count {
		kinds = append(kinds, item(string(kind), number(n)))
	}
	m := maker{words: map[string]*ast.Term{}}
	m.nothing = m.entity(Entity{})
	changes := make([]*ast.Term, len(in.Plan.Changes))
	for i, c := range in.Plan.Changes {
		changes[i] = m.change(c)
	}
	freezes := make([]*ast.Term, len(in.Freezes))
	for i, f := range in.Freezes {
		freezes[i] = object(item("name", text(f.Name)), item("until", moment(f.Until)))
	}
	return ast.LazyObject(map[string]any{
		"team":    object(item("id", text(in.Team.ID)), item("name", text(in.Team.Name)), item("groups", texts(in.Team.Groups))).Value,
		"plan":    object(item("target_id", text(in.Plan.TargetID)), item("count", object(kinds...)), item("changes", ast.ArrayTerm(changes...))).Value,
		"before":  in.Before.value(),
		"after":   in.After.value(),
		"request": in.Request.value(),
		"recent":  object(item("removed", number(in.Recent.Removed)), item("hours", number(in.Recent.Hours))).Value,
		"freezes": ast.NewArray(freezes...),
		"now":     moment(in.Now).Value,
	})
}

func (r Request) value() ast.Value {
	return ast.NewObject(
		item("kind", text(r.Kind)), item("by", text(r.By)), item("roles", texts(r.Roles)), item("reason", text(r.Reason)),
		item("override_freeze", text(r.OverrideFreeze)), item("dry_run", ast.BooleanTerm(r.DryRun)),
	)
}

func (m Members) value() ast.Value {
	return ast.LazyObject(map[string]any{"members": m.Members, "count": ast.NewObject(
		item("members", number(m.Count.Members)), item("managers", number(m.Count.Managers)),
		item("responders", number(m.Count.Responders)), item("observers", number(m.Count.Observers)),
	)})
}

// The fields of changes. Terms are never changed, so all inputs share them.
var (
	keyID, keyKind, keyEntityRef, keyUserID = text("id"), text("kind"), text("entity_ref"), text("user_id")
	keyBefore, keyAfter                     = text("before"), text("after")
	keyName, keyDescription                 = text("name"), text("description")
	keyEmail, keyRole                       = text("email"), text("role")
)

// maker makes the terms of one input, those that come again and again once, and many with one piece of memory.
type maker struct {
	words   map[string]*ast.Term // kinds and roles
	nothing *ast.Term            // the empty entity
	unused  []ast.Term
}

func (m *maker) term(v ast.Value) *ast.Term {
	if len(m.unused) == 0 {
		m.unused = make([]ast.Term, 256)
	}
	t := &m.unused[0]
	m.unused = m.unused[1:]
	t.Value = v
	return t
}

func (m *maker) text(s string) *ast.Term { return m.term(ast.String(s)) }

func (m *maker) word(s string) *ast.Term {
	t, ok := m.words[s]
	if !ok {
		t = m.text(s)
		m.words[s] = t
	}
	return t
}

func (m *maker) change(c Change) *ast.Term {
	return m.term(ast.NewObject(
		ast.Item(keyID, m.text(c.ID)), ast.Item(keyKind, m.word(string(c.Kind))), ast.Item(keyEntityRef, m.text(c.EntityRef)),
		ast.Item(keyUserID, m.text(c.UserID)), ast.Item(keyBefore, m.entity(c.Before)), ast.Item(keyAfter, m.entity(c.After)),
	))
}

func (m *maker) entity(e Entity) *ast.Term {
	if e == (Entity{}) && m.nothing != nil {
		return m.nothing
	}
	return m.term(ast.NewObject(
		ast.Item(keyName, text(e.Name)), ast.Item(keyDescription, text(e.Description)),
		ast.Item(keyEmail, m.text(e.Email)), ast.Item(keyRole, m.word(string(e.Role))),
	))
}

func object(items ...[2]*ast.Term) *ast.Term { return ast.ObjectTerm(items...) }

func item(key string, value *ast.Term) [2]*ast.Term { return ast.Item(text(key), value) }

func text(s string) *ast.Term { return ast.InternedTerm(s) }

func number(n int) *ast.Term { return ast.InternedTerm(n) }

func moment(t time.Time) *ast.Term { return text(t.UTC().Format(time.RFC3339)) }

func texts(list []string) *ast.Term {
	made := make([]*ast.Term, len(list))
	for i, s := range list {
		made[i] = text(s)
	}
	return ast.ArrayTerm(made...)
}
