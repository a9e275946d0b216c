package rest

import (
	"bytes"
	"fmt"
	"net"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/rpc/grpcfault"
)

// jsonRefusals makes the refusals JSON that net/http writes by itself, as plain text and past every handler: of requests
// that are not HTTP as it wants it, such as one with %zz in its path.
type jsonRefusals struct{ net.Listener }

func (l jsonRefusals) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return refusalConn{conn}, nil
}

type refusalConn struct{ net.Conn }

// net/http writes a refusal in one piece, with exactly these headers; no answer of a handler has them.
const refusalHeaders = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

func (c refusalConn) Write(p []byte) (int, error) {
	statusLine, text, ok := bytes.Cut(p, []byte(refusalHeaders))
	if !ok || !bytes.HasPrefix(statusLine, []byte("HTTP/1.1 ")) || bytes.Contains(statusLine, []byte("\r\n")) {
		return c.Conn.Write(p)
	}
	if _, err := c.Conn.Write(inJSON(string(statusLine), string(text))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite lets net/http end its side alone: the caller can still read the refusal.
func (c refusalConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func inJSON(statusLine, text string) []byte {
	f := fault.New(fault.Invalid, "this is not a request that can be read: "+text, nil).WithReason("MALFORMED")
	if strings.HasPrefix(statusLine, "HTTP/1.1 400 ") {
		f = fault.Field("request", "it is not well-formed HTTP; look for a % in the path that begins no escape (%25 is a percent sign), and at the headers").
			WithReason("MALFORMED")
	}
	body, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(grpcfault.ToStatus(f).Proto())
	if err != nil {
		body = []byte(`{"code":3,"message":"this is not a request that can be read","details":[]}`)
	}
	return fmt.Appendf(nil, "%s\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		statusLine, len(body), body)
}
