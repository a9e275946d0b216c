package rules

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/objects"
)

// The bounds of a company's bundle.
const (
	maxFile  = 1 << 20 // bytes of one file
	maxFiles = 500
)

// Files are the files of a bundle by their names below its top, read at one time.
type Files map[string][]byte

// listing is the version of each file of a bundle.
type listing map[string]string

// errChanging says that a bundle changed while it was read: what was read may be half old and half new.
var errChanging = errors.New("the policy changes while it is read; it is read again when that is over")

// ReadFiles reads the rules and the parameters that a store holds, as they were at one time. Whatever else lies there is not
// read. A place with neither is refused: it is far more often a wrong name, or half of an update, than a wish for the shipped
// rules alone.
func ReadFiles(ctx context.Context, store objects.Store) (Files, error) {
	now, err := list(ctx, store)
	if err != nil {
		return nil, err
	}
	return read(ctx, store, now)
}

// read reads what was listed, and takes it only where nothing has changed meanwhile.
func read(ctx context.Context, store objects.Store, listed listing) (Files, error) {
	files := Files{}
	for _, name := range slices.Sorted(maps.Keys(listed)) {
		text, err := store.Read(ctx, name, maxFile)
		if fault.Is(err, fault.NotFound) {
			return nil, errChanging
		}
		if err != nil {
			return nil, err
		}
		files[name] = text
	}
	again, err := list(ctx, store)
	switch {
	case err != nil:
		return nil, err
	case !maps.Equal(listed, again):
		return nil, errChanging
	case len(files) == 0:
		return nil, fault.New(fault.Invalid, "there is neither a "+paramsFile+" nor a .rego file; for the shipped rules alone, name no policy", nil)
	}
	return files, nil
}

// list finds the files of a bundle.
func list(ctx context.Context, store objects.Store) (listing, error) {
	found := listing{}
	for object, err := range store.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		if path.Ext(object.Name) != ".rego" && object.Name != paramsFile {
			continue
		}
		found[object.Name] = object.Version
		if len(found) > maxFiles {
			return nil, fault.New(fault.Invalid, fmt.Sprintf("there are more than %d files of rules", maxFiles), nil)
		}
	}
	return found, nil
}

// shippedFiles are those that this program carries.
func shippedFiles() (Files, error) {
	files := Files{}
	entries, err := fs.ReadDir(shipped, "shipped")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if files[entry.Name()], err = fs.ReadFile(shipped, "shipped/"+entry.Name()); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// revision tells one state of the files from another.
func (f Files) revision() string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(f)) {
		fmt.Fprintf(sum, "%d %s %d\n", len(name), name, len(f[name]))
		sum.Write(f[name])
	}
	return hex.EncodeToString(sum.Sum(nil))[:12]
}
