package objects_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/objects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, cfg objects.Config) objects.Store {
	t.Helper()
	store, err := objects.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(store.Close)
	return store
}

// onS3 is a server that speaks S3's protocol and has the bucket company.
func onS3(t *testing.T) (endpoint string) {
	t.Helper()
	backend := s3mem.New()
	require.NoError(t, backend.CreateBucket("company"))
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return server.URL
}

// list is what List gives, as names, and the version of each.
func list(t *testing.T, store objects.Store, prefix string) (names []string, versions map[string]string) {
	t.Helper()
	versions = map[string]string{}
	for o, err := range store.List(t.Context(), prefix) {
		require.NoError(t, err)
		names = append(names, o.Name)
		versions[o.Name] = fmt.Sprint(o.Size, o.Version)
	}
	return names, versions
}

// Both stores keep the same contract.
func TestStore(t *testing.T) {
	for kind, place := range map[string]func(*testing.T) objects.Config{
		"directory": func(t *testing.T) objects.Config { return objects.Config{URL: t.TempDir()} },
		"file URL":  func(t *testing.T) objects.Config { return objects.Config{URL: "file://" + t.TempDir()} },
		"S3":        func(t *testing.T) objects.Config { return objects.Config{URL: "s3://company", Endpoint: onS3(t)} },
		"S3 below a prefix": func(t *testing.T) objects.Config {
			endpoint := onS3(t)
			require.NoError(t, open(t, objects.Config{URL: "s3://company", Endpoint: endpoint}).Write(t.Context(), "elsewhere", []byte("x")))
			return objects.Config{URL: "s3://company/a/b/", Endpoint: endpoint}
		},
	} {
		t.Run(kind, func(t *testing.T) {
			store := open(t, place(t))
			ctx := t.Context()
			for _, name := range []string{"b", "a/2", "a/10", "a/.hidden", ".git/x", "aa"} {
				require.NoError(t, store.Write(ctx, name, []byte("of "+name)))
			}
			names, before := list(t, store, "")
			require.ElementsMatch(t, []string{"a/10", "a/2", "aa", "b"}, names)
			names, _ = list(t, store, "a/")
			require.ElementsMatch(t, []string{"a/10", "a/2"}, names)
			names, _ = list(t, store, "a/1")
			require.Equal(t, []string{"a/10"}, names)
			names, _ = list(t, store, "none")
			require.Empty(t, names)

			require.NoError(t, store.Write(ctx, "b", []byte("another content")))
			content, err := store.Read(ctx, "b", 100)
			require.NoError(t, err)
			require.Equal(t, "another content", string(content))
			_, after := list(t, store, "")
			require.NotEqual(t, before["b"], after["b"])
			require.Equal(t, before["a/2"], after["a/2"])

			_, err = store.Read(ctx, "b", int64(len(content))-1)
			require.Equal(t, fault.Invalid, fault.KindOf(err), "no more is read than was asked for")
			_, err = store.Read(ctx, "c", 100)
			require.Equal(t, fault.NotFound, fault.KindOf(err))
			for _, name := range []string{"", ".", "../x", "/x", "a//b"} {
				require.Equal(t, fault.Invalid, fault.KindOf(store.Write(ctx, name, nil)), name)
				_, err = store.Read(ctx, name, 1)
				require.Equal(t, fault.Invalid, fault.KindOf(err), name)
			}

			seen := 0
			for range store.List(ctx, "") {
				seen++
				break
			}
			require.Equal(t, 1, seen)
			canceled, cancel := context.WithCancel(ctx)
			cancel()
			for _, err := range store.List(canceled, "") {
				require.ErrorIs(t, err, context.Canceled)
			}
		})
	}
}

func TestS3_MoreThanAPage_ListsAll(t *testing.T) {
	store := open(t, objects.Config{URL: "s3://company", Endpoint: onS3(t)})
	for i := range 1001 {
		require.NoError(t, store.Write(t.Context(), fmt.Sprintf("%04d", i), nil))
	}
	names, _ := list(t, store, "")
	require.Len(t, names, 1001)
}

func TestStore_PlaceIsNotThere_SaysWhich(t *testing.T) {
	for place, endpoint := range map[string]string{filepath.Join(t.TempDir(), "none"): "", "s3://none/x": onS3(t)} {
		var errs []error
		for _, err := range open(t, objects.Config{URL: place, Endpoint: endpoint}).List(t.Context(), "") {
			errs = append(errs, err)
		}
		require.Len(t, errs, 1)
		require.Equal(t, fault.NotFound, fault.KindOf(errs[0]))
		require.ErrorContains(t, errs[0], place)
	}
}

// A directory that Kubernetes mounts holds links into a hidden one.
func TestDirectory_Links_AreFollowed(t *testing.T) {
	top := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(top, "..data"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(top, "..data", "x"), []byte("text"), 0o600))
	require.NoError(t, os.Symlink("..data/x", filepath.Join(top, "x")))
	names, versions := list(t, open(t, objects.Config{URL: top}), "")
	require.Equal(t, []string{"x"}, names)
	require.True(t, strings.HasPrefix(versions["x"], "4"), versions)
}

func TestDirectory_Write_LeavesNothingBehind(t *testing.T) {
	top := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(top, "x"), 0o755))
	require.Error(t, open(t, objects.Config{URL: top}).Write(t.Context(), "x", []byte("a directory is in the way")))
	entries, err := os.ReadDir(top)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestCheck(t *testing.T) {
	for _, good := range []string{"s3://bucket", "s3://bucket/", "s3://bucket/a/b", "file:///etc/x", "/etc/x", "rules"} {
		require.NoError(t, objects.Check("PLACE", good), good)
	}
	for _, bad := range []string{"", "s3://", "s3:///x", "file://x/y", "https://bucket/x", "s3://b/x?y", "s3://user@b/x", "s3://%zz"} {
		err := objects.Check("PLACE", bad)
		require.ErrorContains(t, err, "PLACE", bad)
		require.Equal(t, fault.Invalid, fault.KindOf(err), errors.Unwrap(err))
	}
}
