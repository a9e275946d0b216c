package auth

import (
	"iter"
	"slices"
	"strings"
)

const (
	scopePrefix = "nthlayer/" // Cognito: "<resource server>/<scope>"
	groupPrefix = "nthlayer-"
)

// The roles that are built in. Each includes what a viewer may do.
const (
	Viewer   = "viewer"   // reads everything and may ask for plans
	Operator = "operator" // also changes things, within what the rules allow
	Approver = "approver" // approves and rejects what others ask for
	Admin    = "admin"    // every action, also the ones to come
)

// Manager is the role of whom the source declares as a manager of a team. Nobody can be given it.
const Manager = "manager"

// BuiltIn are the roles that are built in.
func BuiltIn() []string { return []string{Viewer, Operator, Approver, Admin} }

// ReadOnly reports whether an action changes nothing, anywhere. An action it does not know changes something.
func ReadOnly(action string) bool {
	if action == "teams.plan" || action == "access.check" {
		return true
	}
	_, verb, _ := strings.Cut(action, ".")
	return verb == "get" || verb == "list" || verb == "watch"
}

// operations are what an operator may change.
var operations = []string{
	"teams.reconcile", "runs.rollback", "teams.pause", "teams.resume", "runs.cancel", "deliveries.resend", "dead_letters.requeue", "dead_letters.discard",
	"audits.start", "audits.cancel", "audit_findings.acknowledge", "audit_findings.reopen", "schedules.trigger", "schedules.pause", "schedules.resume",
	"ignores.create", "ignores.delete",
}

// grants is the whole table of the roles that are built in, and actions. Who may do what is for admins to see.
func grants(role, action string) bool {
	reads := ReadOnly(action) && !strings.HasPrefix(action, "access.")
	switch role {
	case Admin:
		return true
	case Operator:
		return reads || slices.Contains(operations, action)
	case Approver:
		return reads || action == "runs.approve" || action == "runs.reject"
	case Viewer:
		return reads
	default:
		return role == action
	}
}

// Grant reports whether a role that is built in grants an action.
func Grant(role, action string) bool { return slices.Contains(BuiltIn(), role) && grants(role, action) }

// including is a role with those that it includes.
func including(role string) []string {
	switch role {
	case Admin:
		return BuiltIn()
	case Operator, Approver:
		return []string{Viewer, role}
	default:
		return []string{role}
	}
}

// claimed are the words that a token grants: roles and actions, with where each comes from.
func claimed(p Principal) iter.Seq2[string, string] {
	return func(yield func(word, from string) bool) {
		for _, scope := range p.Scopes {
			if word, ours := strings.CutPrefix(scope, scopePrefix); ours && !yield(word, "scope "+scope) {
				return
			}
		}
		for _, group := range p.Groups {
			if word, ours := strings.CutPrefix(group, groupPrefix); ours && !yield(word, "group "+group) {
				return
			}
		}
	}
}

func scopesFor(action string) []string {
	scopes := []string{scopePrefix + action}
	for _, role := range BuiltIn() {
		if grants(role, action) {
			scopes = append(scopes, scopePrefix+role)
		}
	}
	return scopes
}
