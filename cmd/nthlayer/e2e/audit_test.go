package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/simulator/org"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

// audit starts an audit and waits for its end.
func (r *rig) audit(request *nthlayerv1.StartAuditRequest) *nthlayerv1.Audit {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 4*time.Minute)
	defer cancel()
	id, err := r.client.StartAudit(ctx, "", request)
	require.NoError(r.t, err)
	return r.auditEnd(ctx, id)
}

func (r *rig) auditEnd(ctx context.Context, id string) *nthlayerv1.Audit {
	r.t.Helper()
	var last *nthlayerv1.Audit
	for a, err := range r.client.WatchAudit(ctx, id) {
		require.NoError(r.t, err)
		last = a
	}
	return last
}

// findings are what audits have found that has this status: kind + " " + team + " " + entity → finding.
func (r *rig) findings(status string) map[string]*nthlayerv1.AuditFinding {
	r.t.Helper()
	found := map[string]*nthlayerv1.AuditFinding{}
	for f, err := range r.client.ListAuditFindings(r.t.Context(), &nthlayerv1.ListAuditFindingsRequest{Status: status, PageSize: 7}) {
		require.NoError(r.t, err)
		found[f.GetKind()+" "+f.GetTeamId()+" "+f.GetEntityRef()] = f
	}
	return found
}

func TestAudit_Example_FindsEachMess(t *testing.T) {
	r := start(t, org.Example(), 1)
	a := r.audit(&nthlayerv1.StartAuditRequest{})
	t.Log(a)
	for key, f := range r.findings("open") {
		t.Log(key, f.GetCategory(), f.GetMessage())
	}
	require.Zero(t, r.writes())
}
