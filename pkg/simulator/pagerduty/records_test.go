package pagerduty_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/control"
	"github.com/nthlayer/nthlayer/pkg/simulator/org"
)

type auditRecord struct {
	ID            string
	ExecutionTime string            `json:"execution_time"`
	Context       map[string]string `json:"execution_context"`
	Actors        []struct{ ID, Type, Summary string }
	Method        struct {
		Type           string
		TruncatedToken string `json:"truncated_token"`
	}
	RootResource struct{ ID, Type, Summary string } `json:"root_resource"`
	Action       string
	Details      struct {
		Resource struct{ ID, Type string }
		Fields   []struct {
			Name, Value string
			BeforeValue string `json:"before_value"`
		}
		References []struct {
			Name           string
			Added, Removed []struct{ ID string }
		}
	}
}

// says is a record in short: action, root, what is different.
func (r auditRecord) says() string {
	words := []string{r.Action, strings.TrimSuffix(r.RootResource.Type, "_reference"), r.RootResource.ID}
	if r.Details.Resource.ID != r.RootResource.ID {
		words = append(words, "about", r.Details.Resource.ID)
	}
	for _, f := range r.Details.Fields {
		words = append(words, f.Name+": "+f.BeforeValue+"→"+f.Value)
	}
	for _, ref := range r.Details.References {
		for _, u := range ref.Added {
			words = append(words, "+"+ref.Name+" "+u.ID)
		}
		for _, u := range ref.Removed {
			words = append(words, "-"+ref.Name+" "+u.ID)
		}
	}
	return strings.Join(words, " ")
}

type trailPage struct {
	Records    []auditRecord
	Limit      int
	NextCursor *string `json:"next_cursor"`
}

func (a *account) trail(query string) trailPage {
	a.t.Helper()
	var page trailPage
	require.NoError(a.t, json.Unmarshal(a.must("GET", "/audit/records?"+query, "").Body.Bytes(), &page))
	return page
}

// said is the whole trail in short, oldest first.
func (a *account) said(query string) []string {
	a.t.Helper()
	said := []string{}
	for _, r := range a.trail(query).Records {
		said = append([]string{r.says()}, said...)
	}
	return said
}

func TestRecords_EveryEffectiveWrite_IsThereOnceAndNothingElse(t *testing.T) {
	a := newAccount(t)
	ben, observer := a.id("ben"), a.id("observer")
	require.Empty(t, a.said(""))

	created := a.create("key")
	a.must("PUT", "/teams/PSRE001/users/"+observer, `{"role":"observer"}`)
	a.must("PUT", "/teams/PSRE001/users/"+observer, `{"role":"observer"}`) // changes nothing
	a.must("PUT", "/teams/PSRE001/users/"+observer, `{"role":"responder"}`)
	a.must("DELETE", "/teams/PSRE001/users/"+ben, "")
	require.Equal(t, http.StatusNotFound, a.ask("key", "DELETE", "/teams/PSRE001/users/"+ben, "").Code)
	a.must("PUT", "/teams/PSRE001", `{"team":{"description":"New words","name":"acme/sre"}}`)
	a.must("PUT", "/teams/PSRE001", `{"team":{"description":"New words"}}`) // changes nothing
	a.must("DELETE", "/teams/"+created, "")
	a.must("PUT", "/users/"+ben, `{"user":{"name":"Benjamin","role":"user"}}`)
	a.must("PUT", "/users/"+ben, `{"user":{"name":"Benjamin"}}`) // changes nothing
	a.must("DELETE", "/users/"+ben, "")
	a.must("GET", "/teams", "")
	require.Equal(t, []string{
		"create team " + created + " name: →acme/new default_role: →manager",
		"update team PSRE001 +members " + observer,
		"update team PSRE001 about " + observer + " members.role: →responder",
		"update team PSRE001 -members " + ben,
		"update team PSRE001 description: →New words",
		"delete team " + created,
		"update user " + ben + " name: ben→Benjamin",
		"delete user " + ben,
	}, a.said(""))
}

func TestRecords_UserMade_IsThere(t *testing.T) {
	a := newAccount(t)
	request := a.request("key", "POST", "/users", `{"user":{"name":"Zoe","email":"zoe@example.org"}}`)
	request.Header.Set("From", "admin@example.org")
	require.Equal(t, http.StatusCreated, a.serve(request).Code)
	require.Equal(t, []string{"create user " + a.id("Zoe") + " name: →Zoe email: →zoe@example.org role: →user"}, a.said(""))
}

func TestRecords_PolicyPullsPeopleIn_TheyJoined(t *testing.T) {
	a := newAccount(t)
	o, err := org.Decode(strings.NewReader(`{"people":["ann","ben","cy"],"teams":[
		{"tag":"a","name":"a","org":"acme","maintainers":[],"members":["ann","ben","cy"]},{"tag":"b","name":"b","org":"acme","maintainers":[],"members":["cy"]}],
		"pagerduty":{"teams":{"a":{"id":"PAAAAAA","escalation_policies":[{"name":"p","users":["ann"],"schedules":[{"name":"s","users":["ben","cy"]}]}]},"b":{"id":"PBBBBBB"}}}}`))
	require.NoError(t, err)
	require.NoError(t, a.server.LoadOrg(o))
	var policies struct {
		Policies []struct{ ID string } `json:"escalation_policies"`
	}
	require.NoError(t, json.Unmarshal(a.must("GET", "/escalation_policies", "").Body.Bytes(), &policies))
	id := policies.Policies[0].ID
	a.must("DELETE", "/teams/PAAAAAA/escalation_policies/"+id, "")
	a.must("PUT", "/teams/PBBBBBB/escalation_policies/"+id, "")
	a.must("PUT", "/teams/PBBBBBB/escalation_policies/"+id, "")
	require.Equal(t, []string{"update team PBBBBBB +members " + a.id("ann") + " +members " + a.id("ben")}, a.said(""))
}

func TestRecords_SayWhoAndHowAndInWhichCall(t *testing.T) {
	a := newAccount(t)
	a.server.SetUserTokens(map[string]string{"anns-secret-key": "ann@example.org"})
	ben := a.id("ben")
	byAccount := a.must("PUT", "/teams/PSRE001/users/"+ben, `{"role":"observer"}`)
	byAnn := a.ask("anns-secret-key", "POST", "/teams", `{"team":{"name":"acme/new"}}`)
	require.Equal(t, http.StatusCreated, byAnn.Code)

	got := a.trail("").Records
	require.Len(t, got, 3, "Ann became a manager of her team")
	first := got[2]
	require.Equal(t, "2026-09-01T12:00:00.000Z", first.ExecutionTime)
	require.Equal(t, "api_key_reference", first.Actors[0].Type)
	require.NotEmpty(t, first.Actors[0].ID)
	require.Equal(t, "api_token", first.Method.Type)
	require.Equal(t, "key", first.Method.TruncatedToken, "a token of three characters has no four")
	require.Equal(t, byAccount.Header().Get("X-Request-Id"), first.Context["request_id"])
	for _, r := range got[:2] {
		require.Equal(t, "user_reference", r.Actors[0].Type)
		require.Equal(t, a.id("ann"), r.Actors[0].ID)
		require.Equal(t, "ann", r.Actors[0].Summary)
		require.Equal(t, "-key", r.Method.TruncatedToken)
		require.Equal(t, byAnn.Header().Get("X-Request-Id"), r.Context["request_id"])
	}
	require.Equal(t, "create", got[1].Action)
	require.NotEqual(t, got[0].ID, got[1].ID)
}

func TestRecords_Filters(t *testing.T) {
	a := newAccount(t)
	a.server.SetUserTokens(map[string]string{"anns-secret-key": "ann@example.org"})
	ann, ben := a.id("ann"), a.id("ben")
	a.must("PUT", "/users/"+ben, `{"user":{"name":"Benjamin"}}`)
	a.must("PUT", "/teams/PSRE001/users/"+ben, `{"role":"observer"}`)
	made := a.create("anns-secret-key")
	a.now = a.now.Add(time.Hour)
	a.must("DELETE", "/teams/"+made, "")
	for query, want := range map[string]int{
		"":                            5,
		"root_resource_types[]=teams": 4,
		"root_resource_types[]=users": 1,
		"root_resource_types[]=users&root_resource_types[]=teams": 5,
		"root_resource_types[]=services":                          0,
		"actions[]=create":                                        1,
		"actions[]=create&actions[]=delete":                       2,
		"actor_type=user_reference":                               2,
		"actor_type=api_key_reference":                            3,
		"actor_type=user_reference&actor_id=" + ann:               2,
		"actor_type=user_reference&actor_id=" + ben:               0,
		"method_type=api_token":                                   5,
		"method_type=browser":                                     0,
		"method_type=api_token&method_truncated_token=-key":       2,
		"since=2026-09-01T12:30:00Z":                              1,
		"until=2026-09-01T12:30:00Z":                              4,
		"since=2026-09-01T12:00:00Z&until=2026-10-02T12:00:00Z":   5,
	} {
		require.Len(t, a.trail(query).Records, want, query)
	}
	a.now = a.now.Add(24 * time.Hour)
	require.Len(t, a.trail("").Records, 1, "a day back, unless more is asked for")
	require.Len(t, a.trail("since=2026-09-01T00:00:00Z").Records, 5)
}

func TestRecords_WhatCannotBeAsked_IsRefused(t *testing.T) {
	a := newAccount(t)
	for _, query := range []string{
		"since=yesterday", "until=now", "since=2026-09-01T12:00:00Z&until=2026-09-01T11:59:59Z", "since=2026-08-01T11:59:59Z",
		"since=2026-09-01T12:00:00Z&until=2026-10-02T12:00:01Z", "root_resource_types[]=people", "actions[]=read", "actor_type=robot",
		"method_type=carrier", "actor_id=PU1", "method_truncated_token=abcd", "limit=many", "limit=-1", "cursor=nonsense",
	} {
		require.Equal(t, http.StatusBadRequest, a.ask("key", "GET", "/audit/records?"+query, "").Code, query)
	}
}

func TestRecords_AreWalkedByCursor_NewOnesDoNotDisturb(t *testing.T) {
	a := newAccount(t)
	for i := range 250 {
		a.must("PUT", "/teams/PSRE001", fmt.Sprintf(`{"team":{"description":"%d"}}`, i))
	}
	var seen []string
	query := url.Values{"limit": {"500"}}
	for page := 1; ; page++ {
		got := a.trail(query.Encode())
		require.Equal(t, 100, got.Limit)
		for _, r := range got.Records {
			seen = append(seen, r.Details.Fields[0].Value)
		}
		a.must("PUT", "/teams/PSRE001", fmt.Sprintf(`{"team":{"description":"new %d"}}`, page))
		if got.NextCursor == nil {
			break
		}
		query.Set("cursor", *got.NextCursor)
	}
	require.Len(t, seen, 250)
	for i, value := range seen {
		require.Equal(t, fmt.Sprint(249-i), value)
	}
	require.Len(t, a.trail("limit=2").Records, 2)
	require.Nil(t, a.trail("limit=100&since=2026-09-01T12:00:00Z&actions[]=create").NextCursor)
}

func TestRecords_AreForTheAccountAndItsAdmins(t *testing.T) {
	a := newAccount(t)
	handles := []string{"owner", "admin", "user", "lead", "responder", "observer", "stakeholder"}
	tokens := map[string]string{}
	for _, h := range handles {
		tokens[h] = h + "@example.org"
	}
	a.server.SetUserTokens(tokens)
	for _, h := range append(handles, "key") {
		want := http.StatusForbidden
		if h == "owner" || h == "admin" || h == "key" {
			want = http.StatusOK
		}
		require.Equal(t, want, a.ask(h, "GET", "/audit/records", "").Code, h)
	}
}

func TestRecords_AnswerLost_IsThere(t *testing.T) {
	a := newAccount(t)
	require.NoError(t, a.server.Control().Inject(control.Fault{Match: "PUT /teams/*", Status: 503, After: true, Times: 1}))
	require.Equal(t, http.StatusServiceUnavailable, a.ask("key", "PUT", "/teams/PSRE001", `{"team":{"description":"d"}}`).Code)
	require.NoError(t, a.server.Control().Inject(control.Fault{Match: "PUT /teams/*", Status: 503, Times: 1}))
	require.Equal(t, http.StatusServiceUnavailable, a.ask("key", "PUT", "/teams/PSRE001", `{"team":{"description":"e"}}`).Code)
	require.Equal(t, []string{"update team PSRE001 description: →d"}, a.said(""))
}

func TestRecords_LoadOrg_BeginsAnew(t *testing.T) {
	a := newAccount(t)
	a.create("key")
	require.NotEmpty(t, a.said(""))
	o, err := org.Decode(strings.NewReader(people))
	require.NoError(t, err)
	require.NoError(t, a.server.LoadOrg(o))
	require.Empty(t, a.said(""))
}
