// Package apijson reads messages of the API from JSON. It takes what protojson takes. Of what does not fit it names the
// field by its whole path, as it was written, and says what belongs there: protojson names a line and a column.
package apijson

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// MismatchError is JSON that is not the message.
type MismatchError struct {
	Path    string // desired.members[0].role; empty: the whole
	Problem string // what belongs there
}

func (e *MismatchError) Error() string {
	if e.Path == "" {
		return "it " + e.Problem
	}
	return e.Path + ": " + e.Problem
}

// Unmarshal reads JSON, which must be well-formed, into a message. Fields that the message does not have are refused. The
// error is a *MismatchError.
func Unmarshal(raw []byte, m proto.Message) error {
	err := protojson.Unmarshal(raw, m)
	if err == nil {
		return nil
	}
	text, at := position(raw, err.Error())
	path := pathAt(raw, at)
	return &MismatchError{Path: path.String(), Problem: problem(text, path, find(m.ProtoReflect().Descriptor(), path))}
}

// protojson writes "proto: (line 1:45): unknown field …" or "proto: syntax error (line 1:45): …", with blanks that
// change from build to build.
var positioned = regexp.MustCompile(`\(line (\d+):(\d+)\): `)

// position takes the line and the column, which counts runes, out of an error's text: they are those of a byte of raw.
func position(raw []byte, text string) (rest string, at int64) {
	text = strings.TrimSpace(strings.TrimPrefix(strings.ReplaceAll(text, "\u00a0", " "), "proto:"))
	found := positioned.FindStringSubmatchIndex(text)
	if found == nil {
		return text, 0
	}
	line, _ := strconv.Atoi(text[found[2]:found[3]])
	column, _ := strconv.Atoi(text[found[4]:found[5]])
	offset := 0
	for ; line > 1; line-- {
		offset += bytes.IndexByte(raw[offset:], '\n') + 1
	}
	for ; column > 1 && offset < len(raw); column-- {
		_, size := utf8.DecodeRune(raw[offset:])
		offset += size
	}
	return text[:found[0]] + text[found[1]:], int64(offset)
}

func problem(text string, way path, at place) string {
	switch {
	case strings.Contains(text, "invalid UTF-8"):
		return "must be UTF-8"
	case strings.HasPrefix(text, "unknown field"):
		return fmt.Sprintf("there is no field %q; there are %s", way[max(len(way)-1, 0):].String(), at.siblings())
	case strings.HasPrefix(text, "duplicate "):
		return "must not be given twice"
	case at.known():
		return "must be " + at.kind()
	default:
		return text
	}
}
