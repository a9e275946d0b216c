package config

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// longestSecret bounds a secret that is read from a file. Tokens are below 1 KiB; what is longer is another file.
const longestSecret = 64 << 10

// Credential is a secret that may be replaced while the process runs. It is safe for concurrent use and, like a Secret,
// never printed.
type Credential struct {
	file    string // empty: the secret stays what it is
	current atomic.Pointer[Secret]
}

// Fixed is a Credential that never changes.
func Fixed(secret Secret) *Credential {
	c := &Credential{}
	c.current.Store(&secret)
	return c
}

// FromFile is a Credential that stands in a file, as the only line of it. The file is read now, and again at Refetch.
func FromFile(ctx context.Context, path string) (*Credential, error) {
	c := &Credential{file: path}
	if err := c.Refetch(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Current is the secret as it was last read.
func (c *Credential) Current() Secret { return *c.current.Load() }

// Refetch reads the file again. When that fails the secret stays what it was.
func (c *Credential) Refetch(context.Context) error {
	if c.file == "" {
		return nil
	}
	secret, err := readSecret(c.file)
	if err != nil {
		return fault.New(fault.Precondition, "the file "+c.file+" cannot be used as a secret; it must hold the token and nothing else", err).
			WithReason("CREDENTIAL_UNREADABLE")
	}
	c.current.Store(&secret)
	return nil
}

func readSecret(path string) (Secret, error) {
	file, err := os.Open(path)
	if err != nil {
		return Secret{}, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, longestSecret+1))
	if err != nil {
		return Secret{}, err
	}
	// A secret is put into a header, which more than one word or line would break, or extend.
	switch content = bytes.TrimSpace(content); {
	case len(content) == 0:
		return Secret{}, fmt.Errorf("%s is empty", path)
	case len(content) > longestSecret:
		return Secret{}, fmt.Errorf("%s is longer than %d bytes", path, longestSecret)
	case bytes.ContainsFunc(content, func(r rune) bool { return r <= ' ' || r > '~' }):
		return Secret{}, fmt.Errorf("%s holds more than one word", path)
	}
	return NewSecret(string(content)), nil
}

// credential makes the Credential of a fragment that has both ways to give one.
func credential(ctx context.Context, token Secret, file string) (*Credential, error) {
	if file != "" {
		return FromFile(ctx, file)
	}
	return Fixed(token), nil
}

// checkOne refuses a secret that is given in no way or in both.
func checkOne(variable string, token Secret, file string) error {
	fileVariable := variable + "_FILE"
	switch given := !token.Empty(); {
	case given && file != "":
		return fault.Field(variable, "and "+fileVariable+" are both set; set one of them")
	case !given && file == "":
		return fault.Field(variable, "is not set; set it to the token, or "+fileVariable+" to a file that holds it")
	default:
		return nil
	}
}
