package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// classify turns an error of the SDK into a fault. Errors no service answered with are passing: the queue is away.
func classify(doing, queue string, err error) error {
	if err == nil {
		return nil
	}
	text := doing + " " + queue
	if errors.Is(err, context.Canceled) {
		return fault.New(fault.Canceled, text+": stopped", err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.New(fault.Deadline, text+": time ran out", err)
	}
	if _, ok := errors.AsType[*types.QueueDoesNotExist](err); ok {
		return fault.New(fault.NotFound, text+": the queue does not exist; create it (terraform on AWS, nthlayer dev elsewhere) or correct its name", err)
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return fault.New(fault.Unavailable, text+": SQS is not reachable", err)
	}
	return fault.New(kindOf(api.ErrorCode(), api.ErrorFault()), text+": SQS answered "+api.ErrorCode(), err)
}

func kindOf(code string, blame smithy.ErrorFault) fault.Kind {
	switch code {
	case "RequestThrottled", "ThrottlingException", "Throttling", "OverLimit", "KMS.ThrottlingException":
		return fault.Throttled
	case "AccessDenied", "AccessDeniedException", "KMS.AccessDeniedException":
		return fault.PermissionDenied
	case "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException", "InvalidSecurity":
		return fault.Unauthenticated
	}
	if blame == smithy.FaultClient {
		return fault.Invalid
	}
	return fault.Unavailable
}

// gone reports whether a message is no longer ours: its visibility ended, or somebody else deleted or received it.
func gone(code string) bool {
	switch code {
	case "ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight":
		return true
	}
	return false
}

// retryError asks for the message again after a time the handler chose.
type retryError struct {
	after time.Duration
	cause error
}

// Retry wraps a handler's error so that the message comes back after exactly this time (SQS counts whole seconds: it is
// rounded up, and at most 12 hours) and not after the consumer's backoff. cause may be nil.
func Retry(after time.Duration, cause error) error { return &retryError{after, cause} }

func (e *retryError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("again after %s", e.after)
	}
	return fmt.Sprintf("again after %s: %v", e.after, e.cause)
}

func (e *retryError) Unwrap() error { return e.cause }
