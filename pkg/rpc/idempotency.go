package rpc

import (
	"context"

	"google.golang.org/grpc/metadata"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

const (
	// IdempotencyKeyKey is the metadata key, and as Idempotency-Key the HTTP header, of an idempotency key.
	IdempotencyKeyKey = "idempotency-key"
	// MaxIdempotencyKey is the greatest length of one, in bytes.
	MaxIdempotencyKey = 128
)

// IdempotencyKey is the key the caller gave; empty where none was given. Several, or one that is not visible ASCII, is
// Invalid: a key that means something else to the two sides protects nobody.
func IdempotencyKey(ctx context.Context) (string, error) {
	keys := metadata.ValueFromIncomingContext(ctx, IdempotencyKeyKey)
	if err := CheckIdempotencyKeys(keys); err != nil || len(keys) == 0 {
		return "", err
	}
	return keys[0], nil
}

// CheckIdempotencyKeys checks the values of the header.
func CheckIdempotencyKeys(keys []string) error {
	if len(keys) > 1 {
		return fault.Field("Idempotency-Key", "give it once")
	}
	if len(keys) == 1 && !VisibleASCII(keys[0], MaxIdempotencyKey) {
		return fault.Field("Idempotency-Key", "must be 1 to 128 visible ASCII characters")
	}
	return nil
}
