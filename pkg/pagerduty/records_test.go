package pagerduty_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/pagerduty"
)

var (
	since = time.Date(2026, 9, 1, 12, 0, 0, 900_000_000, time.UTC)
	until = since.Add(time.Hour)
)

// trail answers with these pages, one after the other and the last one for ever, and remembers what was asked for.
func (a *account) trail(pages ...string) *[]url.Values {
	asked := &[]url.Values{}
	a.overrides["GET /audit/records"] = func(w http.ResponseWriter, r *http.Request) {
		page := pages[min(len(*asked), len(pages)-1)]
		*asked = append(*asked, r.URL.Query())
		says(200, page)(w, r)
	}
	return asked
}

func record(id, rest string) string {
	return fmt.Sprintf(`{"id":%q,"self":null,"execution_time":"2026-09-01T12:30:00.272Z","root_resource":{"id":"PT1","type":"team_reference","summary":"Payments"},"action":"update"%s}`, id, rest)
}

func records(t *testing.T, a *account) ([]pagerduty.Record, error) {
	var got []pagerduty.Record
	err := a.client(t).Reader().Records(t.Context(), since, until, func(page []pagerduty.Record) error {
		require.NotEmpty(t, page)
		got = append(got, page...)
		return nil
	})
	return got, err
}

func TestRecords_EveryKindOfChange_IsRead(t *testing.T) {
	at := time.Date(2026, 9, 1, 12, 30, 0, 272_000_000, time.UTC)
	plain := pagerduty.Record{ID: "PR1", At: at, RootType: "team", RootID: "PT1", Action: "update"}
	with := func(change func(*pagerduty.Record)) pagerduty.Record {
		r := plain
		change(&r)
		return r
	}
	cases := map[string]struct {
		rest string
		want pagerduty.Record
	}{
		"nothing but what must be there": {``, plain},
		"members joined and left": {
			`,"details":{"resource":{"id":"PT1","type":"team_reference"},"fields":null,"references":[
			{"name":"members","added":[{"id":"PU1","type":"user_reference"},{"id":"PU2"}],"removed":[{"id":"PU3"},{"id":"PU1"},{"id":""}]},
			{"name":"services","added":[{"id":"PS1"}]}]}`,
			with(func(r *pagerduty.Record) { r.Users = []string{"PU1", "PU2", "PU3"} }),
		},
		"a role": {
			`,"details":{"resource":{"id":"PU4","type":"user_reference","summary":"Dan"},"fields":[{"name":"members.role","value":"manager"}],"references":[]}`,
			with(func(r *pagerduty.Record) { r.Users = []string{"PU4"} }),
		},
		"who, how and in which call": {
			`,"execution_context":{"request_id":"r-1","remote_address":"192.0.2.1"},"actors":[{"id":"PU9","type":"user_reference","summary":"Ann"},{"id":"PU8"}],
			"method":{"type":"api_token","truncated_token":"2adm","description":null}`,
			with(func(r *pagerduty.Record) {
				r.Actor, r.ActorType, r.Method, r.TruncatedToken, r.RequestID = "Ann", "user_reference", "api_token", "2adm", "r-1"
			}),
		},
		"an actor without a name": {
			`,"actors":[{"id":"PK1","type":"api_key_reference","summary":null}]`,
			with(func(r *pagerduty.Record) { r.Actor, r.ActorType = "PK1", "api_key_reference" }),
		},
		"everything else is null": {`,"execution_context":null,"actors":null,"method":null,"details":null`, plain},
		"everything else is odd":  {`,"execution_context":"x","actors":{"id":"PU1"},"method":[1],"details":[{}]`, plain},
		"a field that is no text": {
			`,"details":{"fields":[{"name":"members.role","value":7,"before_value":{}}],"resource":{"id":"PU4","type":"user_reference"}}`,
			with(func(r *pagerduty.Record) { r.Users = []string{"PU4"} }),
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			a.trail(`{"records":[` + record("PR1", tc.rest) + `],"next_cursor":null,"limit":100}`)
			got, err := records(t, a)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff([]pagerduty.Record{tc.want}, got))
		})
	}
}

func TestRecords_AskForTeamsAndUsers_AndFollowTheCursor(t *testing.T) {
	a := newAccount()
	asked := a.trail(
		`{"records":[`+record("PR3", ``)+`,`+record("PR2", ``)+`],"next_cursor":"a b+/=","limit":100}`,
		`{"records":[],"next_cursor":"c2","limit":100}`,
		`{"records":[`+record("PR1", ``)+`],"next_cursor":null,"limit":100}`,
	)
	got, err := records(t, a)
	require.NoError(t, err)
	require.Len(t, got, 3)
	require.Equal(t, "PR1", got[2].ID)
	first := url.Values{
		"limit": {"100"}, "since": {"2026-09-01T12:00:00Z"}, "until": {"2026-09-01T13:00:00Z"}, "root_resource_types[]": {"teams", "users"},
	}
	require.Equal(t, first, (*asked)[0])
	for i, cursor := range []string{"a b+/=", "c2"} {
		first.Set("cursor", cursor)
		require.Equal(t, first, (*asked)[i+1])
	}
	require.Equal(t, 3, a.count())
}

func TestRecords_AnswersThatAreNotWhole(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":                  ``,
		"null":                     `null`,
		"a list":                   `[]`,
		"no records":               `{"next_cursor":null}`,
		"records null":             `{"records":null,"next_cursor":null}`,
		"no word on more":          `{"records":[]}`,
		"a cursor that is none":    `{"records":[],"next_cursor":7}`,
		"record null":              `{"records":[null],"next_cursor":null}`,
		"record without id":        `{"records":[` + record("", ``) + `],"next_cursor":null}`,
		"record without time":      `{"records":[{"id":"PR1","root_resource":{"id":"PT1","type":"team_reference"}}],"next_cursor":null}`,
		"record with another time": `{"records":[` + record("PR1", `,"execution_time":"yesterday"`) + `],"next_cursor":null}`,
		"record about nothing":     `{"records":[` + record("PR1", `,"root_resource":{"id":""}`) + `],"next_cursor":null}`,
		"record about no kind":     `{"records":[` + record("PR1", `,"root_resource":{"type":""}`) + `],"next_cursor":null}`,
		"half":                     `{"records":[` + record("PR1", ``),
		"the same cursor forever":  `{"records":[` + record("PR1", ``) + `],"next_cursor":"c"}`,
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			a.trail(body)
			_, err := records(t, a)
			require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err), "%v", err)
		})
	}
}

func TestRecords_CursorsGoRound_IsIncomplete(t *testing.T) {
	a := newAccount()
	page := func(next string) string { return `{"records":[],"next_cursor":"` + next + `"}` }
	a.trail(page("1"), page("2"), page("3"), page("2"))
	_, err := records(t, a)
	require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err), "%v", err)
	require.Equal(t, 4, a.count())
}

func TestRecords_NoEnd_IsIncomplete(t *testing.T) {
	a := newAccount()
	calls := 0
	a.overrides["GET /audit/records"] = func(w http.ResponseWriter, r *http.Request) {
		calls++
		says(200, fmt.Sprintf(`{"records":[],"next_cursor":"%d"}`, calls))(w, r)
	}
	_, err := records(t, a)
	require.Equal(t, "TARGET_INCOMPLETE", fault.ReasonOf(err), "%v", err)
	require.Equal(t, 1000, calls)
}

func TestRecords_Refusals_SayWhy(t *testing.T) {
	cases := map[string]struct {
		status int
		body   string
		kind   fault.Kind
		reason string
	}{
		"plan":         {402, `{"error":{"message":"Account does not have the abilities","code":2014}}`, fault.Precondition, "RECORDS_NOT_ON_PLAN"},
		"rights":       {403, `{"error":{"message":"Access Denied","code":2010}}`, fault.Precondition, "RECORDS_REFUSED"},
		"bad key":      {401, `{"error":{"message":"Unauthorized","code":2006}}`, fault.Precondition, "TARGET_CREDENTIAL_REFUSED"},
		"quota":        {429, ``, fault.Throttled, "PAGERDUTY_THROTTLED"},
		"server error": {500, ``, fault.Unavailable, "PAGERDUTY_UNAVAILABLE"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			a := newAccount()
			a.overrides["GET /audit/records"] = says(tc.status, tc.body)
			got, err := records(t, a)
			require.Equal(t, tc.kind, fault.KindOf(err), "%v", err)
			require.Equal(t, tc.reason, fault.ReasonOf(err))
			require.Empty(t, got)
		})
	}
}

func TestRecords_TimesThatCannotBe_ReachNobody(t *testing.T) {
	a := newAccount()
	asked := a.trail(`{"records":[],"next_cursor":null}`)
	c := a.client(t).Reader()
	nothing := func([]pagerduty.Record) error { return nil }
	err := c.Records(t.Context(), since, since.Add(pagerduty.MaxRecordsWindow+1), nothing)
	require.Equal(t, fault.Precondition, fault.KindOf(err), "%v", err)
	require.Equal(t, "RECORDS_TOO_OLD", fault.ReasonOf(err))
	require.Equal(t, fault.Invalid, fault.KindOf(c.Records(t.Context(), since, since.Add(-1), nothing)))
	require.Zero(t, a.count())

	require.NoError(t, c.Records(t.Context(), since, since.Add(pagerduty.MaxRecordsWindow), nothing))
	require.Equal(t, "2026-10-02T12:00:00Z", (*asked)[0].Get("until"), "whole seconds do not make it longer")
}

func TestRecords_ErrorOfEach_EndsTheWalkAsItIs(t *testing.T) {
	a := newAccount()
	a.trail(`{"records":[` + record("PR1", ``) + `],"next_cursor":"c"}`)
	full := errors.New("disk is full")
	err := a.client(t).Reader().Records(t.Context(), since, until, func([]pagerduty.Record) error { return full })
	require.Same(t, full, err)
	require.Equal(t, 1, a.count())
}

func TestTruncated_IsTheEndOfTheToken(t *testing.T) {
	for token, want := range map[string]string{"y_NbAkKc66ryYTWUXYEu": "XYEu", "2adm": "2adm", "abc": "abc", "": ""} {
		require.Equal(t, want, pagerduty.Truncated(token))
	}
}
