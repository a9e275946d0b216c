package rules

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// The bounds of a company's bundle.
const (
	maxFile  = 1 << 20 // bytes of one file
	maxFiles = 500
)

// Files are the files of a bundle by their names below its top, read at one time.
type Files map[string][]byte

// ReadFiles reads the rules and the parameters below dir of fsys. Whatever else lies there is not read, and nothing in
// directories whose names begin with a dot.
func ReadFiles(fsys fs.FS, dir string) (Files, error) {
	files := Files{}
	err := fs.WalkDir(fsys, dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != dir && strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		below := strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
		if path.Ext(name) != ".rego" && below != paramsFile {
			return nil
		}
		text, err := readFile(fsys, name)
		if err != nil {
			return err
		}
		files[below] = text
		if len(files) > maxFiles {
			return fault.Field(dir, fmt.Sprintf("holds more than %d files of rules", maxFiles))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return files, nil
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name) // of what a link names
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fault.Field(name, fmt.Sprintf("is larger than %d bytes", maxFile))
	}
	return fs.ReadFile(fsys, name)
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
