package pgserver

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// BinEnv names the directory of the server binaries and overrides the search for them.
const BinEnv = "NTHLAYER_POSTGRES_BIN"

// ErrNotInstalled says that no server binaries were found.
var ErrNotInstalled = errors.New("no PostgreSQL server (initdb, postgres) found on PATH, in /usr/lib/postgresql or in " + BinEnv +
	"; `make deps` installs one")

// binaries is the directory that holds initdb and postgres.
type binaries string

func (b binaries) path(program string) string { return filepath.Join(string(b), program) }

// env is the environment of the server: nothing of the caller's but where to find things, so that no PG* variable
// changes what the server does.
func (b binaries) env() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	if libs := b.libraries(); libs != "" {
		env = append(env, "LD_LIBRARY_PATH="+libs)
	}
	return env
}

// libraries is where the libraries of a server live that was unpacked into a directory of its own
// (<root>/usr/lib/postgresql/<version>/bin), or "" where the system's loader finds them.
func (b binaries) libraries() string {
	root := filepath.Join(string(b), "../../../../..")
	if root == "/" {
		return ""
	}
	var found []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"} {
		dirs, _ := filepath.Glob(filepath.Join(root, pattern)) // the only error is a bad pattern
		found = append(found, dirs...)
	}
	return strings.Join(found, ":")
}

// Installed reports where the server binaries are, or ErrNotInstalled.
func Installed() (string, error) {
	b, err := findBinaries("")
	return string(b), err
}

// findBinaries gives the newest server found, or one of the major version that made an existing cluster.
func findBinaries(version string) (binaries, error) {
	var found []binaries
	for _, dir := range candidates() {
		if executable(dir, "initdb") && executable(dir, "postgres") {
			found = append(found, binaries(dir))
		}
	}
	if len(found) == 0 {
		return "", ErrNotInstalled
	}
	if version == "" {
		return found[0], nil
	}
	for _, b := range found {
		if b.major() == version {
			return b, nil
		}
	}
	return "", fmt.Errorf("the data directory was made by PostgreSQL %s, which is not installed (found: %v); "+
		"install it, or remove the directory to start anew", version, found)
}

// candidates lists the places to look, best first.
func candidates() []string {
	if dir := os.Getenv(BinEnv); dir != "" {
		return []string{dir}
	}
	var dirs []string
	if initdb, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(initdb); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	dirs = append(dirs, newestFirst("/usr/lib/postgresql/*/bin")...)
	dirs = append(dirs, newestFirst("/usr/pgsql-*/bin")...)
	dirs = append(dirs, newestFirst("/opt/homebrew/opt/postgresql@*/bin")...)
	if cache, err := os.UserCacheDir(); err == nil {
		dirs = append(dirs, newestFirst(filepath.Join(cache, "nthlayer/postgres/usr/lib/postgresql/*/bin"))...)
	}
	return dirs
}

func newestFirst(pattern string) []string {
	dirs, _ := filepath.Glob(pattern) // the only error is a bad pattern, and the patterns are constants
	number := regexp.MustCompile(`(\d+)/bin$`)
	version := func(dir string) int {
		m := number.FindStringSubmatch(dir)
		if m == nil {
			return 0
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
	return dirs
}

func executable(dir, program string) bool {
	info, err := os.Stat(filepath.Join(dir, program))
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}

// major is the server's major version, or "" where it does not say.
func (b binaries) major() string {
	cmd := exec.Command(b.path("postgres"), "--version")
	cmd.Env = b.env()
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return string(regexp.MustCompile(`\d+`).Find(out))
}
