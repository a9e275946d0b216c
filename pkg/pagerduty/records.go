package pagerduty

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	pd "github.com/PagerDuty/go-pagerduty"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const (
	// MaxRecordsWindow is the longest time that one walk over the audit trail may cover (PagerDuty REST API, "List audit
	// records": until may not be more than 31 days after since).
	MaxRecordsWindow = 31 * 24 * time.Hour

	routeRecords = "/audit/records"
	// maxRecordPages ends a walk after 100,000 records: by then it has cost more than to read the account anew.
	maxRecordPages = 1000
	// tokenTail is how much of a token the audit trail shows (PagerDuty REST API, method.truncated_token).
	tokenTail = 4
)

// Record is one entry of the account's audit trail: a change, and who made it.
type Record struct {
	ID             string
	At             time.Time
	Actor          string // the first actor's name, or id where it has none; empty: not said
	ActorType      string // user_reference, api_key_reference, app_reference
	Method         string // browser, oauth, api_token, identity_provider, other
	TruncatedToken string // the token's last characters (see Truncated), where one was used
	RootType       string // "team" or "user"
	RootID         string
	Action         string   // create, update, delete
	Users          []string // ids of those whom the change is about: who joined or left a team, got another role, or was edited
	RequestID      string   // of the API call; records of one call share it
}

// Truncated is what the audit trail shows of a token: its last four characters.
func Truncated(token string) string { return token[max(len(token)-tokenTail, 0):] }

// Records reads the changes of teams and users from since to until, newest first, a page of 100 at a time. Both ends are
// cut down to whole seconds, so walks that begin where another ended leave nothing out. An error of each ends the walk and
// is returned as it is; after any other error each has not seen all.
//
// The trail is not everybody's: RECORDS_NOT_ON_PLAN and RECORDS_REFUSED (fault.Precondition) say why it cannot be read,
// RECORDS_TOO_OLD that until is more than MaxRecordsWindow after since.
func (r *Reader) Records(ctx context.Context, since, until time.Time, each func([]Record) error) error {
	if until.Before(since) {
		return fault.Field("until", "must not be before since")
	}
	if until.Sub(since) > MaxRecordsWindow {
		return fault.New(fault.Precondition, "PagerDuty's audit trail can be read over 31 days at most; read the whole account instead", nil).
			WithReason("RECORDS_TOO_OLD")
	}
	query := url.Values{
		"limit":                 {strconv.Itoa(pageLimit)},
		"since":                 {since.UTC().Format(time.RFC3339)},
		"until":                 {until.UTC().Format(time.RFC3339)},
		"root_resource_types[]": {"teams", "users"},
	}
	seen := map[string]bool{} // cursors
	for range maxRecordPages {
		records, next, err := r.client.recordPage(ctx, query)
		if err != nil {
			return err
		}
		if len(records) > 0 {
			if err := each(records); err != nil {
				return err
			}
		}
		switch {
		case next == "":
			return nil
		case seen[next]:
			return incomplete("PagerDuty's audit trail repeats itself", nil)
		}
		seen[next] = true
		query.Set("cursor", next)
	}
	return incomplete(fmt.Sprintf("PagerDuty's audit trail did not end after %d pages", maxRecordPages), nil)
}

func (c *Client) recordPage(ctx context.Context, query url.Values) (records []Record, next string, err error) {
	var answer map[string]json.RawMessage
	if err := c.do(ctx, call{method: http.MethodGet, route: routeRecords, path: routeRecords, query: query}, &answer); err != nil {
		return nil, "", fmt.Errorf("read pagerduty's audit trail: %w", err)
	}
	return decodeRecords(answer)
}

// decodeRecords wants the rows and a word on whether there are more: a missing next_cursor is not an end.
func decodeRecords(answer map[string]json.RawMessage) (records []Record, next string, err error) {
	var rows []record
	cursor, said := answer["next_cursor"]
	if err := json.Unmarshal(answer["records"], &rows); err != nil || rows == nil || !said {
		return nil, "", incomplete("PagerDuty's audit trail comes without its records or without saying whether there are more", err)
	}
	if err := json.Unmarshal(cursor, &next); err != nil {
		return nil, "", incomplete("PagerDuty's audit trail has an unreadable next_cursor", err)
	}
	for _, row := range rows {
		record, err := row.record()
		if err != nil {
			return nil, "", err
		}
		records = append(records, record)
	}
	return records, next, nil
}

// record is a Record as PagerDuty sends it. What was changed must be known; who did it and how is good to know, and an odd
// answer there does not hide the change.
type record struct {
	ID            string                       `json:"id"`
	ExecutionTime string                       `json:"execution_time"`
	Root          pd.APIObject                 `json:"root_resource"`
	Action        string                       `json:"action"`
	Context       lenient[pd.ExecutionContext] `json:"execution_context"`
	Actors        lenient[[]pd.APIObject]      `json:"actors"`
	Method        lenient[pd.Method]           `json:"method"`
	Details       lenient[pd.Details]          `json:"details"`
}

// lenient takes what it can of a value, and is empty where that is of another kind.
type lenient[T any] struct{ value T }

func (l *lenient[T]) UnmarshalJSON(data []byte) error {
	_ = json.Unmarshal(data, &l.value) // what does not fit is left out
	return nil
}

func (r record) record() (Record, error) {
	at, err := time.Parse(time.RFC3339, r.ExecutionTime)
	rootType := strings.TrimSuffix(r.Root.Type, "_reference")
	if r.ID == "" || err != nil || r.Root.ID == "" || rootType == "" {
		return Record{}, incomplete(fmt.Sprintf("record %q of PagerDuty's audit trail does not say what was changed when", r.ID), err)
	}
	shown := Record{
		ID: r.ID, At: at.UTC(), RootType: rootType, RootID: r.Root.ID, Action: r.Action,
		Method: r.Method.value.Type, TruncatedToken: r.Method.value.TruncatedToken,
		RequestID: r.Context.value.RequestID, Users: r.users(),
	}
	if actors := r.Actors.value; len(actors) > 0 {
		shown.Actor, shown.ActorType = cmp.Or(actors[0].Summary, actors[0].ID), actors[0].Type
	}
	return shown, nil
}

// users are those who joined or left, and the one whom the record is about: that is how a role in a team changes.
func (r record) users() []string {
	var users []string
	add := func(o pd.APIObject) {
		if o.ID != "" && !slices.Contains(users, o.ID) {
			users = append(users, o.ID)
		}
	}
	for _, reference := range r.Details.value.References {
		if reference.Name == "members" {
			for _, o := range slices.Concat(reference.Added, reference.Removed) {
				add(o)
			}
		}
	}
	if about := r.Details.value.Resource; strings.TrimSuffix(about.Type, "_reference") == "user" {
		add(about)
	}
	return users
}
