// Package objects keeps files by name where more than one machine finds them: below a prefix in an S3 bucket, or, for one
// machine and for tests, below a directory.
//
// A name is slash-separated and relative, as fs.ValidPath has it. Writing is atomic: whoever reads meanwhile sees the old
// object or the new one.
package objects

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// Store keeps objects.
type Store interface {
	// List gives the objects whose names begin with a prefix, in no particular order. Each object that is there all the while
	// is given; one that comes or goes meanwhile may be. Where a part of a name begins with a dot it is not.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Read gives an object of no more than so many bytes: NotFound where there is none, Invalid where it is larger.
	Read(ctx context.Context, name string, most int64) ([]byte, error)
	// Write puts an object in the place of another of its name.
	Write(ctx context.Context, name string, content []byte) error
	Close()
}

// Object is one object of a list.
type Object struct {
	Name    string
	Size    int64
	Version string // tells one content from another that was there before: an ETag, or a file's time and size
}

// Config says where the objects are.
type Config struct {
	URL      string // s3://bucket/prefix, file:///directory, or a directory
	Endpoint string // of S3; empty: AWS
}

// Check tells whether URL names a place; field is the setting's name.
func Check(field, place string) error {
	_, err := parse(field, place)
	return err
}

// Open makes a Store. It does not look whether the place is there.
func Open(ctx context.Context, cfg Config) (Store, error) {
	at, err := parse("objects", cfg.URL)
	if err != nil {
		return nil, err
	}
	if at.bucket == "" {
		return dir(at.path), nil
	}
	return openS3(ctx, at, cfg.Endpoint)
}

// place is a directory, or a bucket with a prefix.
type place struct{ bucket, path string }

func parse(field, text string) (place, error) {
	wrong := fault.Field(field, "must be s3://bucket/prefix, file:///directory or a directory")
	if text == "" {
		return place{}, wrong
	}
	if !strings.Contains(text, "://") {
		return place{path: text}, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return place{}, wrong
	}
	switch {
	case u.Scheme == "file" && u.Host == "" && filepath.IsAbs(u.Path):
		return place{path: u.Path}, nil
	case u.Scheme == "s3" && u.Host != "":
		return place{bucket: u.Host, path: strings.Trim(u.Path, "/")}, nil
	default:
		return place{}, wrong
	}
}

func checkName(name string) error {
	if !fs.ValidPath(name) || name == "." {
		return fault.New(fault.Invalid, fmt.Sprintf("%q cannot be the name of an object", name), nil)
	}
	return nil
}

func tooLarge(name string, most int64) error {
	return fault.Field(name, fmt.Sprintf("is larger than %d bytes", most))
}
