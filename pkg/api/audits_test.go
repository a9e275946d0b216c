package api_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/audit"
	"github.com/nthlayer/nthlayer/pkg/notice"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// Every count is shown, each under its own name.
func TestAuditCounts_EachNumber_StandsUnderItsName(t *testing.T) {
	var counts notice.AuditCounts
	fields := reflect.ValueOf(&counts).Elem()
	for i := range fields.NumField() {
		fields.Field(i).SetInt(int64(i + 1))
	}
	want, err := json.Marshal(counts)
	require.NoError(t, err)
	got, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(api.AuditCounts(counts))
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
}

func TestScope_ReadAndShown_IsTheSame(t *testing.T) {
	scope := audit.Scope{Include: []string{"pay*"}, Exclude: []string{"*-test", "old"}}
	require.Equal(t, scope, api.Scope(api.ShowScope(scope)))
	require.True(t, api.Scope(nil).Whole())
	require.True(t, api.Scope(&nthlayerv1.AuditScope{}).Whole())
}
