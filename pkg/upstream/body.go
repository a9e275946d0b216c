package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
)

// maxRequestBody bounds what is kept in memory to be sent again (Cortex, the most generous, takes 2 MB).
const maxRequestBody = 4 << 20

var errTooLarge = errors.New("answer is larger than allowed")

// replay gives the request's body afresh for every attempt. Requests made by net/http from bytes bring GetBody; any
// other body is read here, once. Without this a second attempt would send an empty body, and PagerDuty would give a
// member its default role.
func replay(req *http.Request) (func() (io.ReadCloser, error), error) {
	if req.Body == nil || req.Body == http.NoBody {
		return func() (io.ReadCloser, error) { return http.NoBody, nil }, nil
	}
	defer func() { _ = req.Body.Close() }()
	if req.GetBody != nil {
		return req.GetBody, nil
	}
	data, err := io.ReadAll(io.LimitReader(req.Body, maxRequestBody+1))
	if err != nil {
		return nil, fmt.Errorf("read request body: %w", err)
	}
	if len(data) > maxRequestBody {
		return nil, fault.New(fault.Invalid, fmt.Sprintf("request body is larger than %d bytes", maxRequestBody), nil)
	}
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, nil
}

// readWhole replaces the response's body by its content. It fails when the content ends early or exceeds limit; what
// was read stays readable.
func readWhole(response *http.Response, limit int64) ([]byte, error) {
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if int64(len(data)) > limit {
		data, err = data[:limit], errTooLarge
	}
	response.Body = io.NopCloser(bytes.NewReader(data))
	return data, err
}

// hide takes the credential out of an error answer that repeats it: what platforms say of a refusal goes into logs and to
// callers.
func hide(response *http.Response, data []byte, used config.Secret) []byte {
	if response.StatusCode < http.StatusBadRequest || used.Empty() || !bytes.Contains(data, []byte(used.Reveal())) {
		return data
	}
	data = bytes.ReplaceAll(data, []byte(used.Reveal()), []byte(used.String()))
	response.Body = io.NopCloser(bytes.NewReader(data))
	return data
}
