// Package pagetoken makes the opaque tokens that lead from one page of a list to the next.
//
// A token holds where the next page begins and is bound to the list and its filters: with others it is refused, as the
// two pages would not belong together. It is no secret and grants nothing; whoever makes one up sees what they may list
// anyway.
package pagetoken

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const (
	version  = 1
	sealSize = 12
)

// List is a request that asks for a page.
type List interface {
	proto.Message
	GetPageToken() string
	GetPageSize() int32
}

// Next makes the token for the page after cursor.
func Next(request List, cursor string) string {
	token := append([]byte{version}, seal(request, cursor)...)
	return base64.RawURLEncoding.EncodeToString(append(token, cursor...))
}

// Cursor is where the asked-for page begins; empty for the first. A token of another list, of other filters, of an older
// version or of no making of ours is Invalid.
func Cursor(request List) (string, error) {
	token := request.GetPageToken()
	if token == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < 1+sealSize || raw[0] != version {
		return "", Bad()
	}
	cursor := string(raw[1+sealSize:])
	if !bytes.Equal(raw[1:1+sealSize], seal(request, cursor)) {
		return "", Bad()
	}
	return cursor, nil
}

// Bad is what is said of a token that does not fit.
func Bad() error {
	return fault.Field("page_token", "it is not the next_page_token of the page before, or the other fields have changed since; "+
		"leave it out to start from the first page")
}

// seal binds a cursor to the list and its filters. The size of a page may change on the way.
func seal(request List, cursor string) []byte {
	filters := proto.Clone(request).ProtoReflect()
	for _, field := range []protoreflect.Name{"page_token", "page_size"} {
		filters.Clear(filters.Descriptor().Fields().ByName(field))
	}
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(filters.Interface())
	if err != nil {
		panic(err) // it came from the wire: it can be written to it
	}
	hash := sha256.New()
	hash.Write([]byte(filters.Descriptor().FullName()))
	hash.Write([]byte{0})
	hash.Write(content)
	hash.Write([]byte{0})
	hash.Write([]byte(cursor))
	return hash.Sum(nil)[:sealSize]
}

// Size is how many things to put on the page: 100 where the caller does not say.
func Size(request List) int {
	if request.GetPageSize() == 0 {
		return 100
	}
	return int(request.GetPageSize())
}
