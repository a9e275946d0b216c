package pagetoken_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/pagetoken"
	v1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

func TestToken_SameFilters_LeadsOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cursor := rapid.StringMatching(`[\x00-\x7f]{1,200}`).Draw(t, "cursor")
		request := &v1.ListTeamsRequest{Query: rapid.StringMatching(`[a-z]{0,9}`).Draw(t, "query"), PageSize: 5}
		next := proto.CloneOf(request)
		next.PageToken, next.PageSize = pagetoken.Next(request, cursor), 50
		got, err := pagetoken.Cursor(next)
		require.NoError(t, err)
		require.Equal(t, cursor, got)
	})
}

func TestToken_FirstPage_HasNone(t *testing.T) {
	cursor, err := pagetoken.Cursor(&v1.ListTeamsRequest{})
	require.NoError(t, err)
	require.Empty(t, cursor)
}

func TestToken_ThatDoesNotFit_IsRefused(t *testing.T) {
	good := pagetoken.Next(&v1.ListTeamsRequest{Query: "a"}, "payments")
	raw, err := base64.RawURLEncoding.DecodeString(good)
	require.NoError(t, err)
	changed := func(i int) string {
		c := append([]byte(nil), raw...)
		c[i] ^= 1
		return base64.RawURLEncoding.EncodeToString(c)
	}
	for name, request := range map[string]pagetoken.List{
		"other filters":  &v1.ListTeamsRequest{Query: "b", PageToken: good},
		"other list":     &v1.ListRunsRequest{PageToken: good},
		"no base64":      &v1.ListTeamsRequest{Query: "a", PageToken: "%%%"},
		"padded":         &v1.ListTeamsRequest{Query: "a", PageToken: good + "="},
		"short":          &v1.ListTeamsRequest{Query: "a", PageToken: "AQ"},
		"other version":  &v1.ListTeamsRequest{Query: "a", PageToken: changed(0)},
		"altered seal":   &v1.ListTeamsRequest{Query: "a", PageToken: changed(1)},
		"altered cursor": &v1.ListTeamsRequest{Query: "a", PageToken: changed(len(raw) - 1)},
	} {
		_, err := pagetoken.Cursor(request)
		f, ok := fault.As(err)
		require.True(t, ok, name)
		require.Equal(t, fault.Invalid, f.Kind, name)
		require.Equal(t, "page_token", f.Violations[0].Field, name)
	}
}

// FuzzCursor: a token leads on where it was made for this list with these filters, and nowhere else.
func FuzzCursor(f *testing.F) {
	f.Add(pagetoken.Next(&v1.ListTeamsRequest{}, "x"), "x", "a", "b")
	f.Add("", "", "", "")
	f.Add("AQ", "\x00", "a", "a\x00")
	f.Add("AQ==", "payments", "pay", "ments")
	f.Fuzz(func(t *testing.T, token, cursor, query, other string) {
		list := func(query, token string) *v1.ListTeamsRequest {
			return &v1.ListTeamsRequest{Query: strings.ToValidUTF8(query, "?"), PageToken: token}
		}
		if found, err := pagetoken.Cursor(list(query, token)); err == nil && token != "" {
			require.Equal(t, token, pagetoken.Next(list(query, ""), found), "somebody else made it")
		}
		made := pagetoken.Next(list(query, token), cursor)
		found, err := pagetoken.Cursor(list(query, made))
		require.NoError(t, err)
		require.Equal(t, cursor, found)
		for _, elsewhere := range []pagetoken.List{
			list(other, made), &v1.ListTeamsRequest{SyncStatus: list(query, "").Query, PageToken: made}, &v1.ListRunsRequest{PageToken: made},
		} {
			if _, err := pagetoken.Cursor(elsewhere); err == nil {
				require.True(t, proto.Equal(list(query, made), elsewhere), "it leads on in another list")
			}
		}
	})
}
