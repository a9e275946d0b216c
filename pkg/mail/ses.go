package mail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sesv2"
	"github.com/aws/aws-sdk-go-v2/service/sesv2/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/nthlayer/nthlayer/pkg/awsapi"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// SESConfig says through which SES is sent. Credentials come from the SDK's own chain (task role, …).
type SESConfig struct {
	Region   string
	Endpoint string // empty: AWS
	From     Address
}

// SES sends through Amazon SES (API v2). It is safe for concurrent use.
type SES struct {
	api       *sesv2.Client
	transport *http.Transport
	from      Address
}

// OpenSES makes a SES; it does not call the service yet.
func OpenSES(ctx context.Context, cfg SESConfig) (*SES, error) {
	loaded, transport, err := awsapi.Load(ctx, awsapi.Endpoint{URL: cfg.Endpoint, Variable: "NTHLAYER_SES_ENDPOINT", Region: cfg.Region})
	if err != nil {
		return nil, err
	}
	api := sesv2.NewFromConfig(loaded, func(o *sesv2.Options) {
		o.Retryer = aws.NopRetryer{} // SendEmail is not idempotent: the outbox decides what is sent again
	})
	return &SES{api: api, transport: transport, from: cfg.From}, nil
}

// Close drops idle connections.
func (s *SES) Close() { s.transport.CloseIdleConnections() }

// Send sends the message and gives SES's id of it.
func (s *SES) Send(ctx context.Context, m Message) (id string, err error) {
	content, err := prepare(ctx, s.from, m)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	out, err := s.api.SendEmail(ctx, &sesv2.SendEmailInput{
		FromEmailAddress: aws.String(s.from.parsed.String()),
		Destination:      &types.Destination{ToAddresses: []string{m.To}},
		Content:          &types.EmailContent{Raw: &types.RawMessage{Data: content}},
	})
	if err != nil {
		return "", fmt.Errorf("send by ses: %w", sesFault(ctx, m.To, err))
	}
	return aws.ToString(out.MessageId), nil
}

const (
	sesSlow  = 5 * time.Second  // the sending rate is a matter of seconds
	sesQuota = 15 * time.Minute // the daily quota is counted over the last 24 hours, so some of it comes back all the time
)

// sesFault sorts SES's errors (SES API v2 reference, SendEmail).
func sesFault(ctx context.Context, to string, err error) error {
	api, answered := errors.AsType[smithy.APIError](err)
	if !answered {
		return unanswered(ctx, err)
	}
	status := 0
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		status = response.HTTPStatusCode()
	}
	words, err := said(api.ErrorMessage(), to), errors.New(said(err.Error(), to))
	switch code := api.ErrorCode(); code {
	case "TooManyRequestsException", "Throttling", "ThrottlingException":
		return fault.New(fault.Throttled, "SES asks to slow down: "+words, err).WithReason("SES_THROTTLED").WithRetryAfter(sesSlow)
	case "LimitExceededException":
		return fault.New(fault.Throttled, "SES's sending quota is used up: "+words, err).WithReason("SES_THROTTLED").WithRetryAfter(sesQuota)
	case "AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredTokenException", "InvalidSignatureException":
		return fault.New(fault.Precondition, "SES refuses the credentials ("+code+"); the notifier's role needs ses:SendEmail for NTHLAYER_EMAIL_FROM in NTHLAYER_SES_REGION", err).
			WithReason("SES_REFUSED")
	case "SendingPausedException", "AccountSuspendedException":
		return fault.New(fault.Precondition, "SES does not send for this account: "+words+"; see its console", err).WithReason("SES_REFUSED")
	default:
		if status >= http.StatusInternalServerError {
			return fault.New(fault.Unavailable, "SES failed for now ("+code+"); try again later", err).WithReason("SES_UNAVAILABLE")
		}
		return fault.New(fault.Precondition, "SES refused the message: "+code+": "+words, err).WithReason("SES_REFUSED")
	}
}

// unanswered sorts calls that ended without an answer. What never left this machine was not sent.
func unanswered(ctx context.Context, err error) error {
	if network, ok := errors.AsType[*net.OpError](err); ok && network.Op == "dial" {
		return fault.New(fault.Unavailable, "SES cannot be reached; try again later", err).WithReason("SES_UNAVAILABLE")
	}
	_, sent := errors.AsType[*smithyhttp.RequestSendError](err)
	_, begun := errors.AsType[*smithyhttp.ResponseError](err) // of an answer that cannot be read
	if sent || begun || ctx.Err() != nil {
		return unsure("SES did not answer", err)
	}
	return fault.New(fault.Unavailable, "SES cannot be called; check the AWS credentials and NTHLAYER_SES_REGION", err).WithReason("SES_UNAVAILABLE")
}
