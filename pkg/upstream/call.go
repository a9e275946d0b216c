package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// maxAnswer bounds an answer: 1,000 catalogue rows with members, the largest page there is, stay well below.
const maxAnswer = 16 << 20

// Answer is a whole HTTP answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Read turns what an HTTP client's Do returned into a whole answer or a fault: upstream.Read(client.Do(req)).
// It takes the *url.Error off, whose text holds the query.
func Read(response *http.Response, err error) (Answer, error) {
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		if _, ok := fault.As(err); !ok {
			err = fault.New(fault.Unavailable, "the platform cannot be reached", err)
		}
		return Answer{}, err
	}
	body, err := readWhole(response, maxAnswer)
	if err != nil {
		if !errors.Is(err, errTooLarge) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return Answer{}, fault.New(fault.Unavailable, "the platform's answer broke off", err)
		}
		return Answer{}, fault.New(fault.Incomplete, "the platform's answer is not whole", err)
	}
	return Answer{Status: response.StatusCode, Header: response.Header, Body: body}, nil
}
