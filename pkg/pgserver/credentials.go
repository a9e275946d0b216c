package pgserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// rootHome is where root's servers keep their data when their own directory lies where only root may go.
const rootHome = "/var/lib/nthlayer"

// credentials is the user a server runs as; the zero value is the user of this process.
type credentials struct {
	drop     bool
	uid, gid uint32
}

// unprivileged picks the user: PostgreSQL refuses root.
func unprivileged() (credentials, error) {
	if os.Geteuid() != 0 {
		return credentials{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(errUID, errGID); err != nil {
			return credentials{}, fmt.Errorf("user %s: %w", name, err)
		}
		return credentials{drop: true, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return credentials{}, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody; run as another user")
}

// attr starts a process with these credentials and in a process group of its own, so that Ctrl-C in the terminal reaches
// the parent alone and the parent decides the order of the end.
func (c credentials) attr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if c.drop {
		attr.Credential = &syscall.Credential{Uid: c.uid, Gid: c.gid}
	}
	return attr
}

// own gives the file to the user.
func (c credentials) own(path string) error {
	if !c.drop {
		return nil
	}
	return os.Chown(path, int(c.uid), int(c.gid))
}

// home is where the data goes: dir itself, or, where the user cannot get to dir (root's own home for example), a
// directory under rootHome to which the link dir/home points.
func (c credentials) home(dir string) (string, error) {
	if !c.drop {
		return dir, nil
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", dir, err)
	}
	if c.reaches(filepath.Dir(real)) {
		// The user must get through dir, and needs nothing else of it.
		if err := c.own(real); err != nil {
			return "", fmt.Errorf("give %s to the server's user: %w", real, err)
		}
		return real, nil
	}
	link := filepath.Join(real, "home")
	if home, err := filepath.EvalSymlinks(link); err == nil {
		return home, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("resolve %s: %w", link, err)
	}
	if err := os.MkdirAll(rootHome, 0o755); err != nil {
		return "", fmt.Errorf("make a directory that the server's user can reach: %w", err)
	}
	home, err := os.MkdirTemp(rootHome, "postgres-")
	if err != nil {
		return "", fmt.Errorf("make a directory that the server's user can reach: %w", err)
	}
	if err := errors.Join(c.own(home), removeIfPresent(link), os.Symlink(home, link)); err != nil {
		return "", fmt.Errorf("link the server's directory: %w", err)
	}
	return home, nil
}

// Remove deletes everything a stopped server keeps, also what lies outside dir because root's server could not reach it.
func Remove(dir string) error {
	home, err := filepath.EvalSymlinks(filepath.Join(dir, "home"))
	if err == nil && filepath.Dir(home) == rootHome {
		err = os.RemoveAll(home)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func removeIfPresent(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// reaches reports whether the user may pass through every directory down to path.
func (c credentials) reaches(path string) bool {
	var steps []string
	for p := path; ; p = filepath.Dir(p) {
		steps = append(steps, p)
		if p == "/" {
			break
		}
	}
	return !slices.ContainsFunc(steps, func(p string) bool { return !c.searches(p) })
}

func (c credentials) searches(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	switch mode := info.Mode().Perm(); {
	case stat.Uid == c.uid:
		return mode&0o100 != 0
	case stat.Gid == c.gid:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}
