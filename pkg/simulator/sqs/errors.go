package sqs

import "fmt"

// apiError is an error of the protocol: the shape in __type, and the code of the older query protocol in the header
// x-amzn-query-error, which the SDK reports as the error's code.
type apiError struct {
	status    int
	shape     string
	queryCode string
	message   string
}

func (e *apiError) Error() string { return e.shape + ": " + e.message }

// senderFault: the caller is to blame, the same call will fail again.
func (e *apiError) senderFault() bool { return e.status < 500 }

func modelled(shape, queryCode, message string) *apiError {
	return &apiError{400, "com.amazonaws.sqs#" + shape, queryCode, message}
}

const queryPrefix = "AWS.SimpleQueueService."

// Errors of the service's model. They are constants in all but name: nothing writes to them.
var (
	errQueueDoesNotExist = modelled("QueueDoesNotExist", queryPrefix+"NonExistentQueue",
		"The specified queue does not exist.")
	errReceiptHandleIsInvalid = modelled("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid",
		"The input receipt handle is invalid.")
	errMessageNotInflight = modelled("MessageNotInflight", queryPrefix+"MessageNotInflight",
		"The specified message isn't in flight.")
	errInvalidMessageContents = modelled("InvalidMessageContents", "InvalidMessageContents",
		"The message contains characters outside the allowed set.")
	errEmptyBatchRequest = modelled("EmptyBatchRequest", queryPrefix+"EmptyBatchRequest",
		"There should be at least one entry in the request.")
	errBatchEntryIDsNotDistinct = modelled("BatchEntryIdsNotDistinct", queryPrefix+"BatchEntryIdsNotDistinct",
		"Two or more batch entries in the request have the same Id.")
	errInvalidBatchEntryID = modelled("InvalidBatchEntryId", queryPrefix+"InvalidBatchEntryId",
		"A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.")
	errResourceNotFound = modelled("ResourceNotFoundException", "ResourceNotFoundException",
		"The resource that you specified for the SourceArn parameter doesn't exist.")
)

func tooManyEntries(n int) *apiError {
	return modelled("TooManyEntriesInBatchRequest", queryPrefix+"TooManyEntriesInBatchRequest",
		fmt.Sprintf("Maximum number of entries per request are 10. You have sent %d.", n))
}

func batchTooLong(n int) *apiError {
	return modelled("BatchRequestTooLong", queryPrefix+"BatchRequestTooLong",
		fmt.Sprintf("Batch requests cannot be longer than %d bytes. You have sent %d bytes.", maxMessageBytes, n))
}

func queueNameExists(attribute string) *apiError {
	return modelled("QueueNameExists", "QueueAlreadyExists",
		"A queue already exists with the same name and a different value for attribute "+attribute)
}

func invalidAttributeName(name string) *apiError {
	return modelled("InvalidAttributeName", "InvalidAttributeName", "Unknown Attribute "+name+".")
}

func invalidAttributeValue(name string) *apiError {
	return modelled("InvalidAttributeValue", "InvalidAttributeValue", "Invalid value for the parameter "+name+".")
}

func unsupported(message string) *apiError {
	return modelled("UnsupportedOperation", queryPrefix+"UnsupportedOperation", message)
}

// invalidParameter is outside the service's model: the SDK has no type for it and reports the query code.
func invalidParameter(format string, args ...any) *apiError {
	return &apiError{400, "com.amazon.coral.service#InvalidParameterValueException", "InvalidParameterValue",
		fmt.Sprintf(format, args...)}
}

func missingParameter(name string) *apiError {
	return &apiError{400, "com.amazon.coral.service#MissingRequiredParameterException", "MissingParameter",
		"The request must contain the parameter " + name + "."}
}

func expiredReceipt(handle string) *apiError {
	return invalidParameter("Value %s for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.", handle)
}

func unavailableForChange(handle string) *apiError {
	return invalidParameter("Value %s for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.", handle)
}

func serialization(err error) *apiError {
	return &apiError{400, "com.amazon.coral.service#SerializationException", "SerializationException", err.Error()}
}

func injected(status int) *apiError {
	return &apiError{status, "com.amazonaws.sqs#InternalFailure", "InternalFailure", "injected by /_control/faults"}
}
