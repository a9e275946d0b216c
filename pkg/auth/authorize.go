package auth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const (
	scopePrefix = "nthlayer/" // Cognito: "<resource server>/<scope>"
	groupPrefix = "nthlayer-"
)

// The roles, from the smallest to the largest. Each includes the ones before it.
const (
	Viewer   = "viewer"   // reads everything and may ask for plans
	Operator = "operator" // also changes things
	Approver = "approver" // reads everything, and approves and rejects what others ask for
	Admin    = "admin"    // every action, also the ones to come
)

// RolesOn are the roles that a principal holds on a team, with those that they include.
func RolesOn(p Principal, _ string) []string {
	var roles []string
	for _, role := range []string{Viewer, Operator, Approver, Admin} {
		if slices.Contains(p.Scopes, scopePrefix+role) || slices.Contains(p.Groups, groupPrefix+role) {
			roles = append(roles, role)
		}
	}
	if slices.Contains(roles, Admin) {
		return []string{Viewer, Operator, Approver, Admin}
	}
	return roles
}

// ReadOnly reports whether an action changes nothing, anywhere. An action it does not know changes something.
func ReadOnly(action string) bool {
	if action == "teams.plan" {
		return true
	}
	_, verb, _ := strings.Cut(action, ".")
	return verb == "get" || verb == "list" || verb == "watch"
}

// Authorize returns nil where one of the principal's scopes or groups grants the action, and otherwise a
// PermissionDenied fault that names the action and the scopes that would grant it. The resource is named in the
// refusal only: grants are for actions, not for single resources.
func Authorize(p Principal, action, resource string) error {
	if action != "" && (slices.ContainsFunc(p.Scopes, grantedBy(scopePrefix, action)) ||
		slices.ContainsFunc(p.Groups, grantedBy(groupPrefix, action))) {
		return nil
	}
	text := fmt.Sprintf("%s may not %s", p.Subject, action)
	if resource != "" && resource != "*" {
		text += " on " + resource
	}
	text += "; ask for one of the scopes " + strings.Join(scopesFor(action), ", ")
	return fault.New(fault.PermissionDenied, text, nil).WithReason("ACTION_NOT_GRANTED")
}

func grantedBy(prefix, action string) func(string) bool {
	return func(held string) bool {
		grant, ours := strings.CutPrefix(held, prefix)
		return ours && grants(grant, action)
	}
}

// operations are what an operator may change.
var operations = []string{
	"teams.reconcile", "runs.rollback", "teams.pause", "teams.resume", "runs.cancel", "deliveries.resend", "dead_letters.requeue", "dead_letters.discard",
	"audits.start", "audits.cancel", "audit_findings.acknowledge", "audit_findings.reopen", "schedules.trigger", "schedules.pause", "schedules.resume", "ignores.create", "ignores.delete",
}

// grants is the whole table of roles and actions.
func grants(grant, action string) bool {
	switch grant {
	case Admin:
		return true
	case Operator:
		return ReadOnly(action) || slices.Contains(operations, action)
	case Approver:
		return ReadOnly(action) || action == "runs.approve" || action == "runs.reject"
	case Viewer:
		return ReadOnly(action)
	default:
		return grant == action
	}
}

func scopesFor(action string) []string {
	scopes := []string{scopePrefix + action}
	for _, role := range []string{Viewer, Operator, Approver, Admin} {
		if grants(role, action) {
			scopes = append(scopes, scopePrefix+role)
		}
	}
	return scopes
}
