package pagerduty

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	pd "github.com/PagerDuty/go-pagerduty"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/upstream"
)

// PagerDuty's error codes that decide something (reference: PagerDuty REST API errors).
const (
	codeInvalidInput = 2001
	codeUserNotFound = 2013
	codeTeamNotFound = 6001
)

// decodeError reads an error body in any of the shapes seen: errors as a list, a string, null or missing; error as an
// object or a list; something that is not JSON. It never fails: then there are no details.
func decodeError(body []byte) (details pd.APIErrorObject, found bool) {
	var answer struct {
		Error pd.NullAPIErrorObject `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return pd.APIErrorObject{}, false
	}
	return answer.Error.ErrorObject, answer.Error.Valid
}

func words(details pd.APIErrorObject) string {
	return strings.TrimSpace(details.Message + " " + strings.Join(details.Errors, "; "))
}

// classify finds the one 400 that passes: the account could not be locked, so nothing was done.
func classify(status int, body []byte) (upstream.Class, bool) {
	if status != http.StatusBadRequest {
		return upstream.Unknown, false
	}
	details, _ := decodeError(body)
	if !couldNotLock(details) {
		return upstream.Unknown, false
	}
	return upstream.Busy, true
}

func couldNotLock(details pd.APIErrorObject) bool {
	return details.Code == codeInvalidInput && strings.Contains(strings.ToLower(words(details)), "could not be locked")
}

func onEscalationPolicy(details pd.APIErrorObject) bool {
	return details.Code == codeInvalidInput && strings.Contains(strings.ToLower(words(details)), "escalation policy")
}

// refusal turns an error answer into a fault: by status and code first, by text last.
func refusal(call call, answer upstream.Answer) error {
	details, spoke := decodeError(answer.Body)
	said := words(details)
	cause := fmt.Errorf("%s %s: HTTP %d, code %d: %s", call.method, call.route, answer.Status, details.Code, said)
	status := answer.Status
	switch {
	case status == http.StatusBadRequest && couldNotLock(details):
		return fault.New(fault.Unavailable, "PagerDuty could not lock the account; nothing was changed, try again", cause).
			WithReason("TARGET_BUSY")
	case status == http.StatusBadRequest && call.method == http.MethodDelete && onEscalationPolicy(details):
		return fault.New(fault.Conflict,
			"the user is on an escalation policy of this team, directly or through a schedule; take them off it in PagerDuty, then reconcile again", cause).
			WithReason("ON_ESCALATION_POLICY")
	case status == http.StatusUnauthorized:
		return fault.New(fault.Precondition,
			"PagerDuty refused the API key (HTTP 401); check NTHLAYER_PAGERDUTY_TOKEN, and the URL: accounts in Europe live at api.eu.pagerduty.com", cause).
			WithReason("TARGET_CREDENTIAL_REFUSED")
	case status == http.StatusForbidden && call.route == routeRecords:
		return fault.New(fault.Precondition,
			"PagerDuty does not show its audit trail to this API key (HTTP 403); that takes a global key, or a key of an admin or the account owner", cause).
			WithReason("RECORDS_REFUSED")
	case status == http.StatusForbidden:
		return fault.New(fault.Precondition,
			"PagerDuty refused the call (HTTP 403); the API key must not be read-only and its user or scopes must allow changing teams", cause).
			WithReason("TARGET_CREDENTIAL_REFUSED")
	case status == http.StatusPaymentRequired && call.route == routeRecords:
		return fault.New(fault.Precondition, "the PagerDuty account's plan has no audit trail", cause).WithReason("RECORDS_NOT_ON_PLAN")
	case status == http.StatusPaymentRequired:
		return planLacksTeams(cause)
	case status == http.StatusTooManyRequests: // only over an http.Client without our transport
		return fault.New(fault.Throttled, "pagerduty has no quota left for this key; try again later", cause).WithReason("PAGERDUTY_THROTTLED")
	case status == http.StatusNotFound && spoke:
		return notFound(call, details.Code, cause)
	case status == http.StatusConflict:
		return fault.New(fault.Conflict, "PagerDuty reports a conflict: "+said, cause).WithReason("TARGET_CONFLICT")
	case status >= http.StatusInternalServerError || status == http.StatusRequestTimeout:
		if call.method != http.MethodGet {
			return effectUnknown(fmt.Sprintf("PagerDuty failed with HTTP %d", status), cause)
		}
		return fault.New(fault.Unavailable, fmt.Sprintf("PagerDuty failed with HTTP %d; try again later", status), cause).
			WithReason("PAGERDUTY_UNAVAILABLE")
	case status == http.StatusNotFound || status < http.StatusBadRequest:
		// A proxy or a wrong address speaks here, not PagerDuty; "not found" would be a guess.
		return fault.New(fault.Unavailable,
			fmt.Sprintf("HTTP %d came from something that is not PagerDuty; check NTHLAYER_PAGERDUTY_URL", status), cause).
			WithReason("PAGERDUTY_UNAVAILABLE")
	default:
		return fault.New(fault.Precondition, fmt.Sprintf("PagerDuty refused the request (HTTP %d): %s", status, said), cause).
			WithReason("TARGET_REFUSED")
	}
}

// notFound says what is missing, where PagerDuty does or the route has only one candidate.
func notFound(call call, code int, cause error) error {
	switch {
	case code == codeUserNotFound:
		return fault.New(fault.NotFound, "PagerDuty has no such user", cause).WithReason("TARGET_USER_NOT_FOUND")
	case code == codeTeamNotFound, call.route == routeTeam, call.route == routeMembers:
		return fault.New(fault.NotFound, "PagerDuty has no such team", cause).WithReason("TARGET_TEAM_NOT_FOUND")
	default:
		return fault.New(fault.NotFound, "PagerDuty has no such team, user or membership", cause).WithReason("TARGET_NOT_FOUND")
	}
}

func planLacksTeams(cause error) error {
	return fault.New(fault.Precondition, "the PagerDuty account's plan has no teams; there is nothing to reconcile on it", cause).
		WithReason("TARGET_PLAN_LACKS_TEAMS")
}

func effectUnknown(text string, cause error) error {
	return fault.New(fault.Deadline, text+"; look whether the change took effect before trying again", cause).
		WithReason("PAGERDUTY_EFFECT_UNKNOWN")
}

func incomplete(text string, cause error) error {
	return fault.New(fault.Incomplete, text, cause).WithReason("TARGET_INCOMPLETE")
}
