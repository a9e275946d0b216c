package rules_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
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

// look has the keeper look once. Run takes the second tick only when it is done with the first; the second finds nothing new.
func (k *kept) look() { look(k.t, k.Keeper, noon) }

func look(t *testing.T, k *rules.Keeper, now time.Time) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	tick := make(chan time.Time)
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, tick) }()
	tick <- now
	tick <- now
	stop()
	require.NoError(t, <-done)
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

// bucket is a policy in a bucket, on a server that speaks S3's protocol, with what was asked of it.
type bucket struct {
	objects.Store
	t     *testing.T
	mu    sync.Mutex
	calls map[string]int // of GET of an object, and LIST
}

func newBucket(t *testing.T) *bucket {
	t.Helper()
	backend := s3mem.New()
	require.NoError(t, backend.CreateBucket("company"))
	fake := gofakes3.New(backend).Server()
	b := &bucket{t: t, calls: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := r.Method
		if r.URL.Query().Has("list-type") {
			what = "LIST"
		}
		b.mu.Lock()
		b.calls[what]++
		b.mu.Unlock()
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	store, err := objects.Open(t.Context(), objects.Config{URL: "s3://company/policy", Endpoint: server.URL})
	require.NoError(t, err)
	t.Cleanup(store.Close)
	b.Store = store
	return b
}

func (b *bucket) put(name, text string) {
	b.t.Helper()
	require.NoError(b.t, b.Write(b.t.Context(), name, []byte(text)))
}

func (b *bucket) called(what string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[what]
}

func TestKeeper_Bucket_TakesWhatIsNewAndReadsNothingElse(t *testing.T) {
	b := newBucket(t)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	_, err := rules.Open(t.Context(), b, log)
	require.ErrorContains(t, err, "neither a params.yaml nor a .rego file", "a wrong prefix is not the wish for no rules")

	b.put("params.yaml", "removals: {floor: 4}")
	b.put("README.md", "not a rule")
	k, err := rules.Open(t.Context(), b, log)
	require.NoError(t, err)
	kept := &kept{Keeper: k, t: t}
	require.Equal(t, policy.Allow, kept.verdict())
	first, reads := k.Revision(), b.called("GET")
	kept.look()
	require.Equal(t, reads, b.called("GET"), "the list says that nothing has changed")

	b.put("params.yaml", "removals: {floor: 3}")
	kept.look()
	require.Equal(t, reads+1, b.called("GET"), "control: a change is read")
	require.Equal(t, policy.RequireApproval, kept.verdict())
	require.NotEqual(t, first, k.Revision())
}

// changing is a store in which somebody writes while it is read.
type changing struct {
	objects.Store
	onRead func()
}

func (c *changing) Read(ctx context.Context, name string, most int64) ([]byte, error) {
	content, err := c.Store.Read(ctx, name, most)
	if c.onRead != nil {
		do := c.onRead
		c.onRead = nil
		do()
	}
	return content, err
}

// Of an update that is being written, nothing is taken before it is whole: the old parameters with a new rule may be neither
// what the company had nor what it wants.
func TestKeeper_BundleIsBeingWritten_IsTakenWhenItIsWhole(t *testing.T) {
	b := newBucket(t)
	b.put("params.yaml", "removals: {floor: 4}")
	store := &changing{Store: b}
	log := &bytes.Buffer{}
	k, err := rules.Open(t.Context(), store, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	first := k.Revision()

	var during string
	b.put("a.rego", "package nthlayer.rules.a\nviolation contains {\"verdict\": \"deny\", \"reason\": \"a\"} if input.plan.count.remove_member > 3")
	store.onRead = func() {
		b.put("params.yaml", "removals: {floor: 3}")
		during = k.Revision()
	}
	renew := rules.Renew
	renew(k, t.Context(), noon)
	require.NotEmpty(t, during, "it was read while it was written")
	require.Equal(t, first, k.Revision(), "half of the update is not taken")
	require.Contains(t, log.String(), "is being changed")
	since, stale := k.Stale()
	require.True(t, stale)
	require.Equal(t, noon, since)

	renew(k, t.Context(), noon.Add(time.Minute))
	require.NotEqual(t, first, k.Revision())
	_, stale = k.Stale()
	require.False(t, stale)
	d, err := k.Decide(t.Context(), asks(team{responders: 8}, team{responders: 4}, team{}))
	require.NoError(t, err)
	require.Len(t, d.Violations, 2, "the whole update decides")
}

func TestKeeper_FileGoesWhileItIsRead_NothingIsTaken(t *testing.T) {
	k := keep(t, files{"params.yaml": "removals: {max_count: 1}"})
	store := &changing{Store: at(t, k.dir)}
	var err error
	k.Keeper, err = rules.Open(t.Context(), store, slog.New(slog.NewTextHandler(k.log, nil)))
	require.NoError(t, err)
	k.write("a.rego", own)
	store.onRead = func() { require.NoError(t, os.Remove(filepath.Join(k.dir, "params.yaml"))) }
	rules.Renew(k.Keeper, t.Context(), noon)
	require.Equal(t, policy.Deny, k.verdict())
}

// For how long a new policy has not been taken is what one is alarmed by.
func TestKeeper_Stale_SinceTheFirstLookThatFailed(t *testing.T) {
	k := keep(t, files{"params.yaml": "removals: {max_count: 1}"})
	stale := func(want time.Time) {
		t.Helper()
		since, is := k.Stale()
		require.Equal(t, !want.IsZero(), is)
		require.Equal(t, want, since)
	}
	stale(time.Time{})
	k.write("params.yaml", "removals: {max_count: one}")
	look(t, k.Keeper, noon)
	look(t, k.Keeper, noon.Add(time.Hour))
	stale(noon)
	require.NoError(t, os.Rename(k.dir, k.dir+"-away"))
	look(t, k.Keeper, noon.Add(2*time.Hour))
	require.NoError(t, os.Rename(k.dir+"-away", k.dir))
	look(t, k.Keeper, noon.Add(3*time.Hour))
	stale(noon) // it is there again, and as broken as before
	k.write("params.yaml", "removals: {max_count: 1, floor: 2}")
	look(t, k.Keeper, noon.Add(4*time.Hour))
	stale(time.Time{})
	require.NoError(t, os.Rename(k.dir, k.dir+"-away"))
	look(t, k.Keeper, noon.Add(5*time.Hour))
	stale(noon.Add(5 * time.Hour))
	require.NoError(t, os.Rename(k.dir+"-away", k.dir))
	look(t, k.Keeper, noon.Add(6*time.Hour))
	stale(time.Time{}) // it is there again, and good
}

// Taking all files away is no way to be rid of a policy: it is far more often half of an update.
func TestKeeper_AllFilesGo_TheLastGoodBundleStays(t *testing.T) {
	k := keep(t, files{"params.yaml": "removals: {max_count: 1}"})
	require.NoError(t, os.Remove(filepath.Join(k.dir, "params.yaml")))
	k.look()
	require.Equal(t, policy.Deny, k.verdict())
	require.Contains(t, k.log.String(), "neither a params.yaml nor a .rego file")
}
