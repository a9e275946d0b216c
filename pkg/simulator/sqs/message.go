package sqs

import (
	"cmp"
	"crypto/md5" // the protocol's checksum, not a protection
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// 1 MiB for one message and for the sum of a batch: SendMessage and SendMessageBatch, SQS API reference (since August 2025).
const maxMessageBytes = 1 << 20

// maxMessageAttributes: SQS developer guide, "Message metadata".
const maxMessageAttributes = 10

// attributeValue is a user's message attribute, and with the name AWSTraceHeader a system attribute.
type attributeValue struct {
	DataType    string `json:"DataType"`
	StringValue string `json:"StringValue,omitempty"`
	BinaryValue []byte `json:"BinaryValue,omitempty"`
}

func (v attributeValue) binary() bool { return strings.HasPrefix(v.DataType, "Binary") }

func (v attributeValue) bytes() []byte {
	if v.binary() {
		return v.BinaryValue
	}
	return []byte(v.StringValue)
}

// message is one message in one queue. Its receipt handle is made of id and receives, so a handle is the latest
// exactly when its number equals receives.
type message struct {
	id            string
	body          string
	attributes    map[string]attributeValue
	trace         string // system attribute AWSTraceHeader
	group         string
	dedup         string
	sequence      uint64 // FIFO queues only
	sentAt        time.Time
	visibleAt     time.Time
	receives      int
	firstReceived time.Time
	deadFrom      string // ARN of the queue this message died in
}

// inFlight: received, and neither deleted nor visible again.
func (m *message) inFlight(now time.Time) bool { return m.receives > 0 && m.visibleAt.After(now) }

// size counts body, attribute names, types and values, as the limit does.
func (m *message) size() int {
	n := len(m.body)
	for name, v := range m.attributes {
		n += len(name) + len(v.DataType) + len(v.bytes())
	}
	return n
}

// receipt is the handle of the latest receive.
func (m *message) receipt(queue string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(queue + "|" + m.id + "|" + strconv.Itoa(m.receives)))
}

// parseReceipt reads a handle of this queue.
func parseReceipt(queue, handle string) (id string, receive int, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(handle)
	if err != nil {
		return "", 0, false
	}
	parts := strings.Split(string(raw), "|")
	if len(parts) != 3 || parts[0] != queue {
		return "", 0, false
	}
	receive, err = strconv.Atoi(parts[2])
	return parts[1], receive, err == nil
}

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// attributesMD5 is the digest of the developer guide, "Calculating the MD5 message digest for message attributes":
// by name in order: length and bytes of name and type, one byte for the transport kind, length and bytes of the value.
func attributesMD5(attributes map[string]attributeValue) string {
	if len(attributes) == 0 {
		return ""
	}
	h := md5.New()
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		v := attributes[name]
		writeCounted(h, []byte(name))
		writeCounted(h, []byte(v.DataType))
		kind := byte(1)
		if v.binary() {
			kind = 2
		}
		h.Write([]byte{kind})
		writeCounted(h, v.bytes())
	}
	return hex.EncodeToString(h.Sum(nil))
}

func writeCounted(h hash.Hash, b []byte) {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(b)))
	h.Write(n[:])
	h.Write(b)
}

var (
	attributeName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	// groupOrDedup: up to 128 alphanumeric and punctuation characters, SendMessage in the API reference.
	groupOrDedup = regexp.MustCompile(`^[!-~]{1,128}$`)
)

// check refuses what SQS refuses in any kind of queue.
func (m *message) check() *apiError {
	if m.body == "" {
		return missingParameter("MessageBody")
	}
	if !utf8.ValidString(m.body) || strings.ContainsFunc(m.body, forbidden) {
		return errInvalidMessageContents
	}
	if len(m.attributes) > maxMessageAttributes {
		return invalidParameter("Number of message attributes [%d] exceeds the allowed maximum [%d].",
			len(m.attributes), maxMessageAttributes)
	}
	for name, v := range m.attributes {
		lower := strings.ToLower(name)
		if len(name) > 256 || !attributeName.MatchString(name) ||
			strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon.") {
			return invalidParameter("The message attribute name '%s' is invalid.", name)
		}
		switch base, _, _ := strings.Cut(v.DataType, "."); base {
		case "String", "Number", "Binary":
		default:
			return invalidParameter("The type of message (user) attribute '%s' is invalid. You must use only the following supported type prefixes: Binary, Number, String.", name)
		}
		if len(v.bytes()) == 0 {
			return invalidParameter("Message (user) attribute '%s' must contain a non-empty value of type '%s'.",
				name, cmp.Or(v.DataType, "String"))
		}
	}
	return nil
}

// forbidden is every character outside #x9 | #xA | #xD | #x20–#xD7FF | #xE000–#xFFFD | #x10000–#x10FFFF.
func forbidden(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return false
	case r < 0x20, r == 0xFFFE, r == 0xFFFF:
		return true
	}
	return false
}
