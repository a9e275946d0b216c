package retention_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/objects"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/pkg/trail"
	"github.com/nthlayer/nthlayer/services/audit-scheduler/internal/retention"
)

func TestMain(m *testing.M) { testkit.Main(m) }

const day = 24 * time.Hour

// rig is a database whose trail has partitions of ten entries, and a place for archives.
type rig struct {
	t *testing.T
	*store.Store
	db    *pgx.Conn
	place objects.Store
	url   string
	moved int64
}

func start(t *testing.T, cfg objects.Config) *rig {
	url := testkit.Postgres(t)
	r := &rig{t: t, url: cfg.URL}
	var err error
	r.Store, err = store.Open(t.Context(), config.NewSecret(url), store.Options{})
	require.NoError(t, err)
	t.Cleanup(r.Close)
	r.db, err = pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.db.Close(context.Background()) })
	r.exec("SELECT drop_trail_partition(from_seq) FROM trail_partitions")
	r.exec("UPDATE trail_head SET block = 10, partitioned_to = 1")
	r.place, err = objects.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(r.place.Close)
	return r
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.db.Exec(r.t.Context(), sql, args...)
	require.NoError(r.t, err)
}

// record makes a run that recorded so many findings so long ago, and ended.
func (r *rig) record(n int, ago time.Duration) uuid.UUID {
	r.t.Helper()
	id, _, err := r.Accept(r.t.Context(), store.NewRun{Principal: "ann", RequestHash: []byte("x"), TeamID: uuid.NewString(), Request: store.Request{Source: "cortex", Reason: "<why>"}})
	require.NoError(r.t, err)
	c, err := r.Claim(r.t.Context(), id, store.Terms{Owner: "w", Lease: time.Minute, PlanGoodFor: time.Hour})
	require.NoError(r.t, err)
	var findings []trail.Finding
	for i := range n {
		findings = append(findings, trail.Finding{ChangeID: fmt.Sprint(i), Action: "add_member", Outcome: trail.Applied, RecordedAt: time.Now().Add(-ago)})
	}
	require.NoError(r.t, c.Record(r.t.Context(), findings))
	require.NoError(r.t, c.Finish(r.t.Context(), store.Ending{Status: store.Succeeded}))
	return id
}

func (r *rig) archiver() *retention.Archiver {
	return &retention.Archiver{
		Store: r.Store, Objects: r.place, Place: r.url, Keep: 30 * day, Every: day, Now: time.Now, Most: 7,
		Moved: func(_ context.Context, n int64) { r.moved += n }, Log: slog.New(slog.NewTextHandler(r.t.Output(), nil)),
	}
}

// whole checks that archives and database together are the trail, with n entries, of which so many are in archives.
func (r *rig) whole(n, archived int64) {
	r.t.Helper()
	ctx := r.t.Context()
	archives, err := r.TrailArchives(ctx)
	require.NoError(r.t, err)
	var at trail.Head
	for _, a := range archives {
		content, err := r.place.Read(ctx, strings.TrimPrefix(a.Location, r.url+"/"), 1<<20)
		require.NoError(r.t, err)
		sum := sha256.Sum256(content)
		require.Equal(r.t, a.SHA256, hex.EncodeToString(sum[:]))
		h, last, err := trail.VerifyExport(bytes.NewReader(content), nil)
		require.NoError(r.t, err)
		require.Equal(r.t, at, h.Anchor)
		require.Equal(r.t, trail.Head{Seq: a.Last, Hash: a.LastHash}, last)
		at = last
	}
	anchor, err := r.TrailAnchor(ctx)
	require.NoError(r.t, err)
	require.Equal(r.t, at, anchor, "the trail goes on where the archives end")
	require.Equal(r.t, archived, anchor.Seq)
	v := trail.NewVerifier(anchor)
	entries, err := r.Findings(ctx, store.FindingFilter{Limit: 1000})
	require.NoError(r.t, err)
	for _, e := range entries {
		require.NoError(r.t, v.Next(e))
	}
	head, err := r.TrailHead(ctx)
	require.NoError(r.t, err)
	require.NoError(r.t, v.Close(head))
	require.Equal(r.t, n, head.Seq)
}

// places are where archives can be: a directory, and a server that speaks S3's protocol.
func places(t *testing.T) map[string]objects.Config {
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_REGION", "eu-west-1")
	backend := s3mem.New()
	require.NoError(t, backend.CreateBucket("company"))
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	return map[string]objects.Config{
		"directory": {URL: "file://" + t.TempDir()},
		"S3":        {URL: "s3://company/trail", Endpoint: server.URL},
	}
}

func TestArchive_MovesWhatIsOld_ChainStaysWhole(t *testing.T) {
	for name, place := range places(t) {
		t.Run(name, func(t *testing.T) {
			r := start(t, place)
			r.record(23, 40*day)
			r.record(4, time.Hour) // up to 27: the third block is not old
			r.record(20, time.Hour)
			require.NoError(t, r.archiver().Archive(t.Context()))
			r.whole(47, 20)
			require.Equal(t, int64(20), r.moved)
			archives, err := r.TrailArchives(t.Context())
			require.NoError(t, err)
			require.Len(t, archives, 4, "two files of each block: of seven entries and of three")
			require.NoError(t, r.archiver().Archive(t.Context()))
			r.record(1, time.Hour)
			r.whole(48, 20)
		})
	}
}

// broken fails, panics or lies at one of its calls.
type broken struct {
	objects.Store
	at, calls int
	how       string
}

var errBroken = errors.New("broken on purpose")

func (b *broken) now() (bool, error) {
	b.calls++
	if b.calls != b.at {
		return false, nil
	}
	if b.how == "panic" {
		panic(errBroken)
	}
	return true, fault.New(fault.Unavailable, "broken on purpose", errBroken)
}

func (b *broken) Read(ctx context.Context, name string, most int64) ([]byte, error) {
	hit, err := b.now()
	if hit && b.how == "error" {
		return nil, err
	}
	content, err := b.Store.Read(ctx, name, most)
	if hit && b.how == "lie" && len(content) > 0 {
		content = content[:len(content)-20]
	}
	return content, err
}

func (b *broken) Write(ctx context.Context, name string, content []byte) error {
	hit, err := b.now()
	if hit && b.how == "error" {
		return err
	}
	if hit && b.how == "lie" {
		content = content[:len(content)/2]
	}
	if err := b.Store.Write(ctx, name, content); err != nil {
		return err
	}
	if hit && b.how == "late" { // it is there, and nobody hears of it
		return err
	}
	return nil
}

// brokenStore dies before or after the transaction that moves.
type brokenStore struct {
	*store.Store
	after bool
}

func (b brokenStore) MoveTrail(ctx context.Context, p store.TrailPartition, keep time.Duration, list []store.TrailArchive) error {
	if b.after {
		if err := b.Store.MoveTrail(ctx, p, keep, list); err != nil {
			return err
		}
	}
	panic(errBroken)
}

// Wherever it is interrupted, each entry stands in the database or in an archive that is recorded and proved; and whoever
// comes next ends what was begun.
func TestArchive_InterruptedAnywhere_LosesNothing(t *testing.T) {
	dies := func(t *testing.T, a *retention.Archiver) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = p.(error)
			}
		}()
		return a.Archive(t.Context())
	}
	for _, how := range []string{"error", "panic", "lie", "late"} {
		for at := 1; at <= 6; at++ { // two files: read, write, read back
			t.Run(fmt.Sprint(how, at), func(t *testing.T) {
				r := start(t, objects.Config{URL: "file://" + t.TempDir()})
				r.record(12, 40*day)
				a := r.archiver()
				b := &broken{Store: r.place, at: at, how: how}
				a.Objects = b
				err := dies(t, a)
				if err != nil {
					r.whole(12, 0)
				} else {
					r.whole(12, 10) // a lie about what was not there before, or one that nobody hears
				}
				require.NoError(t, r.archiver().Archive(t.Context()))
				r.whole(12, 10)
				if how == "error" || how == "panic" {
					require.Error(t, err)
				}
			})
		}
	}
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprint("transaction ", after), func(t *testing.T) {
			r := start(t, objects.Config{URL: "file://" + t.TempDir()})
			r.record(12, 40*day)
			a := r.archiver()
			a.Store = brokenStore{Store: r.Store, after: after}
			require.ErrorIs(t, dies(t, a), errBroken)
			r.whole(12, map[bool]int64{false: 0, true: 10}[after])
			require.NoError(t, r.archiver().Archive(t.Context()))
			r.whole(12, 10)
		})
	}
}

// What was written and is whole is taken as it is: a bucket with object lock keeps one version.
func TestArchive_FilesAreThere_AreNotWrittenAgain(t *testing.T) {
	r := start(t, objects.Config{URL: "file://" + t.TempDir()})
	r.record(12, 40*day)
	a := r.archiver()
	a.Store = brokenStore{Store: r.Store}
	require.Panics(t, func() { _ = a.Archive(t.Context()) })
	a = r.archiver()
	a.Objects = &broken{Store: readOnly{r.place}}
	require.NoError(t, a.Archive(t.Context()))
	r.whole(12, 10)
}

type readOnly struct{ objects.Store }

func (readOnly) Write(context.Context, string, []byte) error { return errBroken }

// Two systems that share a place do not write over each other.
func TestArchive_PlaceOfAnotherTrail_IsRefused(t *testing.T) {
	place := objects.Config{URL: "file://" + t.TempDir()}
	first, second := start(t, place), start(t, place)
	first.record(12, 40*day)
	second.record(12, 40*day)
	require.NoError(t, first.archiver().Archive(t.Context()))
	err := second.archiver().Archive(t.Context())
	require.Equal(t, fault.Conflict, fault.KindOf(err))
	require.ErrorContains(t, err, "NTHLAYER_TRAIL_ARCHIVE")
	first.whole(12, 10)
	second.whole(12, 0)
}

// A trail that does not hold is not moved: what was tampered with stays where it can be looked at.
func TestArchive_BrokenTrail_Stays(t *testing.T) {
	r := start(t, objects.Config{URL: "file://" + t.TempDir()})
	r.record(12, 40*day)
	r.exec("SET session_replication_role = replica")
	r.exec("UPDATE findings SET outcome = 'failed' WHERE seq = 4")
	var b *trail.BrokenError
	require.ErrorAs(t, r.archiver().Archive(t.Context()), &b)
	require.Equal(t, int64(4), b.Seq)
	archives, err := r.TrailArchives(t.Context())
	require.NoError(t, err)
	require.Empty(t, archives)
}

// Run moves at once, as a chore that one process of all does in a period.
func TestRun_OneOfManyMoves(t *testing.T) {
	r := start(t, objects.Config{URL: "file://" + t.TempDir()})
	r.record(12, 40*day)
	ctx, cancel := context.WithCancel(t.Context())
	a := r.archiver()
	a.Moved = func(context.Context, int64) { cancel() }
	require.NoError(t, a.Run(ctx))
	r.whole(12, 10)
	ours, err := r.ClaimChore(t.Context(), "trail archive", day)
	require.NoError(t, err)
	require.False(t, ours)
}
