package rules_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/objects"
	"github.com/nthlayer/nthlayer/pkg/policy"
	"github.com/nthlayer/nthlayer/pkg/policy/rules"
)

// kept is a keeper on a directory that a test may change.
type kept struct {
	*rules.Keeper
	t   *testing.T
	dir string
	log *bytes.Buffer
}

func at(t *testing.T, place string) objects.Store {
	t.Helper()
	store, err := objects.Open(t.Context(), objects.Config{URL: place})
	require.NoError(t, err)
	return store
}

func keep(t *testing.T, own files) *kept {
	t.Helper()
	k := &kept{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
	for name, text := range own {
		k.write(name, text)
	}
	var err error
	k.Keeper, err = rules.Open(t.Context(), at(t, k.dir), slog.New(slog.NewTextHandler(k.log, nil)))
	require.NoError(t, err)
	return k
}

func (k *kept) write(name, text string) {
	k.t.Helper()
	require.NoError(k.t, os.WriteFile(filepath.Join(k.dir, name), []byte(text), 0o600))
}

// look has the keeper look once. Run takes the second tick only when it is done with the first.
func (k *kept) look() {
	k.t.Helper()
	ctx, stop := context.WithCancel(k.t.Context())
	tick := make(chan time.Time)
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, tick) }()
	tick <- time.Time{}
	tick <- time.Time{}
	stop()
	require.NoError(k.t, <-done)
}

func (k *kept) verdict() policy.Verdict {
	k.t.Helper()
	d, err := k.Decide(k.t.Context(), asks(team{responders: 8}, team{responders: 4}, team{}))
	require.NoError(k.t, err)
	require.Equal(k.t, k.Revision(), d.Revision)
	return d.Verdict
}

func TestKeeper_BundleChanges_DecidesByTheNewOne(t *testing.T) {
	k := keep(t, files{"params.yaml": ""})
	require.Equal(t, policy.RequireApproval, k.verdict())
	first := k.Revision()

	k.write("params.yaml", "removals: {floor: 4}")
	k.look()
	require.Equal(t, policy.Allow, k.verdict())
	require.NotEqual(t, first, k.Revision())

	k.write("params.yaml", "")
	k.look()
	require.Equal(t, policy.RequireApproval, k.verdict())
	require.Equal(t, first, k.Revision())
}

func TestKeeper_BrokenUpdate_KeepsTheLastGoodBundleAndSaysSoOnce(t *testing.T) {
	k := keep(t, files{"params.yaml": "removals: {max_count: 1}"})
	good := k.Revision()
	k.write("params.yaml", "removals: {max_count: one}")
	k.look()
	k.look()
	require.Equal(t, policy.Deny, k.verdict(), "the bundle from before")
	require.Equal(t, good, k.Revision())
	require.Equal(t, 1, strings.Count(k.log.String(), "the new policy is broken"), k.log.String())
	require.Contains(t, k.log.String(), "removals.max_count")

	k.write("params.yaml", "removals: {max_count: 0, floor: 9}")
	k.look()
	require.Equal(t, policy.Allow, k.verdict())
}

func TestKeeper_DirectoryGoesAway_KeepsTheLastGoodBundle(t *testing.T) {
	k := keep(t, files{"params.yaml": "removals: {max_count: 1}"})
	require.NoError(t, os.Rename(k.dir, k.dir+"-away"))
	k.look()
	k.look()
	require.Equal(t, policy.Deny, k.verdict())
	require.Equal(t, 1, strings.Count(k.log.String(), "cannot be read"), k.log.String())
	require.NoError(t, os.Rename(k.dir+"-away", k.dir))
}

func TestOpen_BundleIsBroken_Refuses(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	_, err := rules.Open(t.Context(), at(t, filepath.Join(t.TempDir(), "none")), log)
	require.ErrorContains(t, err, "read the policy")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.rego"), []byte("package elsewhere"), 0o600))
	_, err = rules.Open(t.Context(), at(t, dir), log)
	require.ErrorContains(t, err, "nthlayer.rules.<name>")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.rego"), bytes.Repeat([]byte("#"), 1<<20+1), 0o600))
	_, err = rules.Open(t.Context(), at(t, dir), log)
	require.ErrorContains(t, err, "larger than")
}
