package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/fault"
)

// dir keeps objects as the files of a directory. Half-written files have names that begin with a dot, as have the copies
// that a mounted ConfigMap links to.
type dir string

func (d dir) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		err := fs.WalkDir(os.DirFS(string(d)), ".", func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case ctx.Err() != nil:
				return ctx.Err()
			case name == ".":
				return nil
			case strings.HasPrefix(entry.Name(), "."), entry.IsDir() && !mayHold(name+"/", prefix):
				return skip(entry)
			case entry.IsDir() || !strings.HasPrefix(name, prefix):
				return nil
			}
			info, err := os.Stat(d.file(name)) // of what a link names
			if err != nil || info.IsDir() {
				return err
			}
			object := Object{Name: name, Size: info.Size(), Version: fmt.Sprintf("%d-%d", info.ModTime().UnixNano(), info.Size())}
			if !yield(object, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(Object{}, d.classify("list", err))
		}
	}
}

func skip(entry fs.DirEntry) error {
	if entry.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// mayHold reports whether names below a directory may begin with a prefix.
func mayHold(below, prefix string) bool {
	return strings.HasPrefix(below, prefix) || strings.HasPrefix(prefix, below)
}

func (d dir) Read(_ context.Context, name string, most int64) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	f, err := os.Open(d.file(name))
	if err != nil {
		return nil, d.classify("read "+name, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, d.classify("read "+name, err)
	}
	if int64(len(content)) > most {
		return nil, tooLarge(name, most)
	}
	return content, nil
}

// Write writes a file beside the other, and renames it when it is on the disk.
func (d dir) Write(_ context.Context, name string, content []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	to := d.file(name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return d.classify("write "+name, err)
	}
	f, err := os.CreateTemp(filepath.Dir(to), "."+path.Base(name)+"-*")
	if err != nil {
		return d.classify("write "+name, err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), to)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return d.classify("write "+name, err)
}

func (d dir) Close() {}

func (d dir) file(name string) string { return filepath.Join(string(d), filepath.FromSlash(name)) }

func (d dir) classify(doing string, err error) error {
	text := doing + " in " + string(d)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.NotFound, text+": there is no such file or directory", err)
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.PermissionDenied, text+": permission denied", err)
	default:
		return fault.New(fault.Unavailable, text+": "+err.Error(), err)
	}
}
