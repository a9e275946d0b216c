package handler

import (
	"context"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/notice"
	internalv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/internalapi/v1"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
	"github.com/nthlayer/nthlayer/services/notifier/internal/render"
)

// PreviewNotice shows a notice as it would be sent. Nothing is sent.
func (d *Deliveries) PreviewNotice(_ context.Context, request *internalv1.PreviewNoticeRequest) (*nthlayerv1.NoticePreview, error) {
	n, err := notice.Decode(request.GetPayload())
	if err != nil {
		return nil, fault.New(fault.Invalid, "the notice cannot be read", err).WithReason("NOTICE_UNREADABLE")
	}
	preview := &nthlayerv1.NoticePreview{Medium: request.GetMedium(), To: request.GetTo()}
	switch request.GetMedium() {
	case "slack":
		summary, details := render.SlackOf(n, false)
		preview.Subject = render.Notification(summary)
		preview.Text = render.Plain(append([]render.Message{summary}, details...)...)
	case "email":
		content, err := render.MailOf(n)
		if err != nil {
			return nil, err
		}
		preview.Subject, preview.Text = content.Subject, content.Text
	default:
		return nil, fault.Field("medium", "must be slack or email")
	}
	return preview, nil
}
