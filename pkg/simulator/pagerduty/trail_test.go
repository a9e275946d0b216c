package pagerduty

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// Inside the package, for a hundred thousand requests would take their time.
func TestTrail_Full_TheOldestGo(t *testing.T) {
	s := New(Options{Token: "key"})
	for range maxRecords + 10 {
		s.record(httptest.NewRequest(http.MethodPut, "/teams/PSRE001", nil), change{action: actionUpdate, root: object{"id": "PSRE001", "type": "team_reference"}})
	}
	require.Len(t, s.account.trail.records, maxRecords)
	require.LessOrEqual(t, cap(s.account.trail.records), 2*maxRecords)

	for from, want := range map[int]int{0: 100, 12: 1, 11: 0, 1: 0} { // record 11 is the oldest there is
		path := "/audit/records?cursor=" + cursor(from)
		if from == 0 {
			path = "/audit/records"
		}
		status, answer := s.listRecords(httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, http.StatusOK, status)
		shown, ok := answer.(object)["records"].([]any)
		require.True(t, ok)
		require.Len(t, shown, want, "before record %d", from)
	}
}
