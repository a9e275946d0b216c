package handler_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	"github.com/nthlayer/nthlayer/services/notifier/internal/handler"
)

func payload(t *testing.T, n any) []byte {
	content, err := json.Marshal(n)
	require.NoError(t, err)
	return content
}

func audited() notice.AuditFinished {
	return notice.AuditFinished{
		AuditID: "a-1", ScheduleID: "nightly", Status: "succeeded", Summary: "drift was found", Counts: notice.AuditCounts{Teams: 3, InSync: 2, OutOfSync: 1, New: 1},
		New: []notice.AuditItem{{TeamID: "payments", Kind: "add_member", Message: "<ann@example.org> is missing"}},
	}
}

func TestPreviewNotice_ShowsWhatWouldBeSent(t *testing.T) {
	d := &handler.Deliveries{} // neither a database nor a platform: nothing can be sent
	for medium, want := range map[string]string{"slack": "⚠️ Audit nightly: ", "email": "NthLayer audit nightly: "} {
		preview, err := d.PreviewNotice(t.Context(), &internalv1.PreviewNoticeRequest{Medium: medium, To: "there", Payload: payload(t, audited())})
		require.NoError(t, err)
		require.Equal(t, []string{medium, "there"}, []string{preview.GetMedium(), preview.GetTo()})
		require.Contains(t, preview.GetSubject(), "1 of 3 teams out of sync")
		require.Contains(t, preview.GetText(), "drift was found")
		require.Contains(t, preview.GetText(), "<ann@example.org> is missing", "the findings, which Slack shows in the thread")
		require.NotContains(t, preview.GetText(), "&lt;")
		require.Contains(t, preview.GetSubject(), want)
	}
	preview, err := d.PreviewNotice(t.Context(), &internalv1.PreviewNoticeRequest{Medium: "slack", Payload: payload(t, notice.RunFinished{TeamName: "A & B", Status: "succeeded"})})
	require.NoError(t, err)
	require.Equal(t, "✅ A & B was reconciled", preview.GetSubject())
}

func TestPreviewNotice_WhatCannotBeRead_IsInvalid(t *testing.T) {
	d := &handler.Deliveries{}
	for _, content := range []string{"", "{", `"x"`, `{"audit_id":7}`, `{"audit_id":"a","counts":[]}`} {
		_, err := d.PreviewNotice(t.Context(), &internalv1.PreviewNoticeRequest{Medium: "slack", Payload: []byte(content)})
		require.Equal(t, fault.Invalid, fault.KindOf(err), content)
		require.Equal(t, "NOTICE_UNREADABLE", fault.ReasonOf(err), content)
	}
	_, err := d.PreviewNotice(t.Context(), &internalv1.PreviewNoticeRequest{Medium: "pigeon", Payload: []byte("{}")})
	f, ok := fault.As(err)
	require.True(t, ok)
	require.Equal(t, "medium", f.Violations[0].Field)
}
