package apijson_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/nthlayer/nthlayer/pkg/rpc/apijson"
	v1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func TestUnmarshal_Mismatch_IsNamedByItsWholePath(t *testing.T) {
	for raw, want := range map[string]string{
		`[1]`:                         "it must be a JSON object",
		`"x"`:                         "it must be a JSON object",
		`null`:                        "it must be a JSON object",
		`{"team_id":5}`:               "team_id: must be a string, in quotes",
		`{"teamId":5}`:                "teamId: must be a string, in quotes",
		`{"teem_id":"a"}`:             `teem_id: there is no field "teem_id"; there are team_id, desired, source, dry_run, reason, only, exclude, override_freeze`,
		`{"team_id":"a","team_id":1}`: "team_id: must not be given twice",
		`{"dry_run":"yes"}`:           "dry_run: must be true or false",
		`{"team_id":"a","desired":5}`: "desired: must be an object",
		`{"desired":{"nome":"x"}}`:    `desired.nome: there is no field "nome"; there are name, description, members`,
		`{"desired":{"members":{}}}`:  "desired.members: must be a list",
		"{\"desired\": {\"name\": \"é\",\n  \"members\": [{\"email\": \"a\"}, {\"name\": \"ü\", \"role\": 5}]}}": "desired.members[1].role: must be a string, in quotes",
		`{"desired":{"members":[{"email":"a"},{"role":["b"]}]}}`:                                                 "desired.members[1].role: must be a string, in quotes",
		`{"desired":{"members":[[],{"role":"b"}]}}`:                                                              "desired.members[0]: must be an object",
		`{"desired":{"members":[null]}}`:                                                                         "desired.members[0]: must be an object",
		`{"desired":{"members":[{"email":{"a":1},"x":2}]}}`:                                                      "desired.members[0].email: must be a string, in quotes",
		`{"desired":{"members":[{"mail":"x"}]}}`:                                                                 `desired.members[0].mail: there is no field "mail"; there are email, role, name`,
		`{"desired":{"members":[{"email":"a"}],"name":null,"description":[]},"dry_run":1}`:                       "desired.description: must be a string, in quotes",
		"{\"team_id\":\"a\xff\"}":                                                                                "team_id: must be UTF-8",
	} {
		require.EqualError(t, apijson.Unmarshal([]byte(raw), &v1.ReconcileTeamRequest{}), want, raw)
	}
	require.EqualError(t, apijson.Unmarshal([]byte(`{"duration":"2h"}`), &v1.PauseTeamRequest{}), `duration: must be seconds in quotes, such as "7200s"`)
	require.EqualError(t, apijson.Unmarshal([]byte(`{"page_size":1e10}`), &v1.ListRunsRequest{}), "page_size: must be a whole number (int32)")
	require.EqualError(t, apijson.Unmarshal([]byte(`{"died_before":"today"}`), &v1.RequeueDeadLettersRequest{}),
		`died_before: must be a time in quotes, such as "2026-03-01T09:00:00Z"`)
}

// Whatever the JSON, it is taken where protojson takes it, and else named without a panic.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{`{"team_id":"a","desired":{"members":[{"email":"x","role":5}]}}`, `[[{}]]`, `{"a":{"b":[1,{"c":null}]}}`, `"é"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		want, got := &v1.ReconcileTeamRequest{}, &v1.ReconcileTeamRequest{}
		expected := protojson.Unmarshal(raw, want)
		err := apijson.Unmarshal(raw, got)
		require.Equal(t, expected == nil, err == nil)
		if err == nil {
			require.True(t, proto.Equal(want, got))
			return
		}
		var mismatch *apijson.MismatchError
		require.ErrorAs(t, err, &mismatch)
		require.NotEmpty(t, mismatch.Problem)
	})
}
