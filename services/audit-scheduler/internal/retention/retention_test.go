package retention_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
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

// rig is a trail in parts of ten entries.
type rig struct {
	t      *testing.T
	store  *store.Store
	db     *pgx.Conn
	keeper *retention.Keeper
	dir    objects.Store
}

func start(t *testing.T) *rig {
	url := testkit.Postgres(t)
	r := &rig{t: t}
	var err error
	r.store, err = store.Open(t.Context(), config.NewSecret(url), store.Options{})
	require.NoError(t, err)
	t.Cleanup(r.store.Close)
	r.db, err = pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.db.Close(context.Background()) })
	_, err = r.db.Exec(t.Context(), `
		DO $$ DECLARE part text; BEGIN
			FOR part IN SELECT name FROM trail_parts LOOP EXECUTE format('DROP TABLE %I', part); END LOOP;
			DELETE FROM trail_parts;
			PERFORM extend_trail(100, 10);
		END $$`)
	require.NoError(t, err)
	r.dir, err = objects.Open(t.Context(), objects.Config{URL: t.TempDir()})
	require.NoError(t, err)
	r.keeper = &retention.Keeper{
		Trail: r.store, Objects: r.dir, Place: "file:///archive", Keep: 24 * time.Hour, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Now().Add(48 * time.Hour) },
	}
	return r
}

// run accepts a run and records findings of it.
func (r *rig) run(n int) uuid.UUID {
	r.t.Helper()
	ctx := context.Background()
	id, _, err := r.store.Accept(ctx, store.NewRun{Principal: "ann", RequestHash: []byte("x"), TeamID: "team-" + uuid.NewString()})
	require.NoError(r.t, err)
	claim, err := r.store.Claim(ctx, id, store.Terms{Owner: "w", Lease: time.Minute, PlanGoodFor: time.Minute})
	require.NoError(r.t, err)
	var findings []trail.Finding
	for i := range n {
		findings = append(findings, trail.Finding{
			ChangeID: fmt.Sprintf("add_member:person:%d", i), EntityRef: fmt.Sprintf("person:%d", i), Action: "add_member", Outcome: trail.Applied, RecordedAt: time.Now(),
		})
	}
	require.NoError(r.t, claim.Record(ctx, findings))
	require.NoError(r.t, claim.Record(ctx, findings), "a second time, after a crash: it changes nothing")
	return id
}

// all reads what the database has of the trail.
func (r *rig) all() []trail.Entry {
	r.t.Helper()
	entries, err := r.store.Findings(r.t.Context(), store.FindingFilter{Limit: 10_000})
	require.NoError(r.t, err)
	return entries
}

// proven checks archives and database as one chain, and gives how many entries each has.
func (r *rig) proven() (archived, kept int64) {
	r.t.Helper()
	archives, err := r.store.TrailArchives(r.t.Context())
	require.NoError(r.t, err)
	var pieces []trail.Piece
	for _, a := range archives {
		name := fmt.Sprintf("trail-%012d-%012d.jsonl.gz", a.First, a.Last.Seq)
		content, err := r.dir.Read(r.t.Context(), name, 1<<20)
		require.NoError(r.t, err)
		unzipped, err := gzip.NewReader(bytes.NewReader(content))
		require.NoError(r.t, err)
		header, footer, err := trail.Check(unzipped, nil)
		require.NoError(r.t, err)
		pieces = append(pieces, trail.Piece{Name: name, Header: header, Footer: footer})
		archived += footer.Count
	}
	anchor, err := r.store.TrailAnchor(r.t.Context())
	require.NoError(r.t, err)
	if len(pieces) > 0 {
		first, last, err := trail.Join(pieces)
		require.NoError(r.t, err)
		require.Zero(r.t, first)
		require.Equal(r.t, anchor, last)
	}
	v := trail.VerifyAfter(anchor)
	for _, e := range r.all() {
		require.NoError(r.t, v.Next(e))
		kept++
	}
	head, err := r.store.TrailHead(r.t.Context())
	require.NoError(r.t, err)
	require.NoError(r.t, v.Close(head))
	return archived, kept
}

func TestLook_FullPartsThatAreOld_AreMovedWithTheChainIntact(t *testing.T) {
	r := start(t)
	old := r.run(7)
	for range 5 {
		r.run(7) // 42 entries in all, across the borders of parts
	}
	n, err := r.keeper.Look(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 40, n)
	archived, kept := r.proven()
	require.Equal(t, []int64{40, 2}, []int64{archived, kept})
	r.run(30)
	archived, kept = r.proven()
	require.Equal(t, []int64{40, 32}, []int64{archived, kept})
	n, err = r.keeper.Look(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 30, n)
	r.proven()
	var parts int
	require.NoError(t, r.db.QueryRow(t.Context(), "SELECT count(*) FROM pg_inherits WHERE inhparent = 'findings'::regclass").Scan(&parts))
	require.Positive(t, parts)
	_, err = r.db.Exec(t.Context(), "INSERT INTO changes (job_id, change_id, position, change, outcome, done_at) VALUES ($1, 'add_member:person:0', 0, '{}', 'applied', now())", old)
	require.NoError(t, err)
	_, err = r.store.Effects(t.Context(), old)
	require.Equal(t, "TRAIL_ARCHIVED", fault.ReasonOf(err), "it is not taken for a run that did nothing")
}

func TestLook_YoungOrNotFull_Stays(t *testing.T) {
	r := start(t)
	r.run(25)
	r.keeper.Keep = 72 * time.Hour
	n, err := r.keeper.Look(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	archived, kept := r.proven()
	require.Equal(t, []int64{0, 25}, []int64{archived, kept})
}

// faulty fails, or changes what it keeps, from a call on.
type faulty struct {
	objects.Store
	calls  int
	failAt int
	spoil  bool
}

var errBroken = errors.New("broken")

func (f *faulty) Write(ctx context.Context, name string, content []byte) error {
	if f.calls++; f.calls == f.failAt {
		_ = f.Store.Write(ctx, name, content[:len(content)/2]) // what a crash may leave
		return errBroken
	}
	if f.spoil {
		content = bytes.Clone(content[:len(content)-20])
	}
	return f.Store.Write(ctx, name, content)
}

func (f *faulty) Read(ctx context.Context, name string, most int64) ([]byte, error) {
	if f.calls++; f.calls == f.failAt {
		return nil, errBroken
	}
	return f.Store.Read(ctx, name, most)
}

// Broken off anywhere, each entry is in the database or in an archive that holds; the next time goes on.
func TestLook_BrokenOffAnywhere_LosesNothing(t *testing.T) {
	for failAt := 1; failAt <= 4; failAt++ {
		r := start(t)
		r.run(25)
		r.keeper.Objects = &faulty{Store: r.dir, failAt: failAt}
		_, err := r.keeper.Look(t.Context())
		require.ErrorIs(t, err, errBroken)
		archived, kept := r.proven()
		require.EqualValues(t, 25, archived+kept)
		r.keeper.Objects = r.dir
		_, err = r.keeper.Look(t.Context())
		require.NoError(t, err)
		archived, kept = r.proven()
		require.Equal(t, []int64{20, 5}, []int64{archived, kept})
	}
}

func TestLook_ArchiveIsNotWhatWasWritten_PartStays(t *testing.T) {
	r := start(t)
	r.run(15)
	r.keeper.Objects = &faulty{Store: r.dir, spoil: true}
	_, err := r.keeper.Look(t.Context())
	require.ErrorContains(t, err, "the archive is not what was written")
	require.Len(t, r.all(), 15)
}

// A trail that was edited is not archived as if it held, and a part that lies in no archive is not taken away.
func TestLook_EditedTrail_IsNotMoved(t *testing.T) {
	r := start(t)
	r.run(15)
	_, err := r.db.Exec(t.Context(), `ALTER TABLE findings DISABLE TRIGGER ALL; UPDATE findings SET content = replace(content, 'ann', 'eve') WHERE seq = 4`)
	require.NoError(t, err)
	_, err = r.keeper.Look(t.Context())
	var broken *trail.BrokenError
	require.ErrorAs(t, err, &broken)
	require.EqualValues(t, 4, broken.Seq)
	_, err = r.db.Exec(t.Context(), "SELECT drop_trail_part('findings_1')")
	require.ErrorContains(t, err, "moved to an archive")
}

func TestParts_AppendOnly_AcrossBorders(t *testing.T) {
	r := start(t)
	r.run(25)
	for _, statement := range []string{"UPDATE findings SET outcome = 'failed' WHERE seq = 12", "DELETE FROM findings WHERE seq = 22", "TRUNCATE findings", "TRUNCATE findings_11",
		"UPDATE findings_11 SET outcome = 'failed'", "DELETE FROM findings_21"} {
		_, err := r.db.Exec(t.Context(), statement)
		require.ErrorContains(t, err, "append-only", statement)
	}
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() { r.run(4) })
	}
	writers.Wait()
	_, kept := r.proven()
	require.EqualValues(t, 57, kept)
}
