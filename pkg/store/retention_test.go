package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/nthlayer/nthlayer/pkg/config"
	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/testkit"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

// blocks makes the partitions of an empty trail so small.
func blocks(t *testing.T, db *pgx.Conn, size int) {
	exec(t, db, "SELECT drop_trail_partition(from_seq) FROM trail_partitions")
	exec(t, db, "UPDATE trail_head SET block = $1, partitioned_to = 1", size)
}

// findings makes findings that were recorded at a time.
func findings(n int, at time.Time) (list []trail.Finding) {
	for i := range n {
		list = append(list, trail.Finding{ChangeID: fmt.Sprint("change-", i), Action: "add_member", Outcome: trail.Applied, Actor: "ann", RecordedAt: at})
	}
	return list
}

// ended is a run that recorded so many findings at a time and ended.
func ended(t *testing.T, s *store.Store, n int, at time.Time) uuid.UUID {
	id := accept(t, s, "team-"+uuid.NewString())
	c := claim(t, s, id)
	require.NoError(t, c.Record(t.Context(), findings(n, at)))
	require.NoError(t, c.Finish(t.Context(), store.Ending{Status: store.Succeeded}))
	return id
}

// archive is what an archiver would say of a part of the trail.
func archive(t *testing.T, s *store.Store, p store.TrailPartition) store.TrailArchive {
	anchor, err := s.TrailAnchor(t.Context())
	require.NoError(t, err)
	entries, err := s.Findings(t.Context(), store.FindingFilter{After: p.Last - 1, Last: p.Last, Limit: 1})
	require.NoError(t, err)
	require.Len(t, entries, 1)
	return store.TrailArchive{
		First: p.First, Last: p.Last, AnchorHash: anchor.Hash, LastHash: entries[0].Hash, Location: "file:///archive/x", SHA256: "ab",
		RecordedFrom: entries[0].RecordedAt, RecordedTo: entries[0].RecordedAt,
	}
}

func longAgo() time.Time { return time.Now().Add(-400 * day) }

// A table with rows becomes partitions: nothing is lost, the statements of programs from before go on, and the trail stays
// append-only in each partition.
func TestMigrate_TrailWithRows_BecomesPartitions(t *testing.T) {
	url := testkit.Postgres(t)
	db, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer db.Close(t.Context())
	exec(t, db, "DROP SCHEMA public CASCADE")
	exec(t, db, "CREATE SCHEMA public")
	old := stdlib.OpenDB(*db.Config())
	defer old.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, old, store.Migrations())
	require.NoError(t, err)
	_, err = provider.UpTo(t.Context(), 5)
	require.NoError(t, err)
	var head trail.Head
	// appendAsBefore is what a program of the version before does, with its own statements.
	appendAsBefore := func(n int) {
		tx, err := db.Begin(t.Context())
		require.NoError(t, err)
		var seq int64
		require.NoError(t, tx.QueryRow(t.Context(), "SELECT seq, hash FROM trail_head FOR UPDATE").Scan(&seq, &head.Hash))
		for range n {
			e, next, err := head.Append(trail.Finding{JobID: uuid.NewString(), ChangeID: "1", TeamID: "t", Outcome: trail.Applied, RecordedAt: time.Now()})
			require.NoError(t, err)
			_, err = tx.Exec(t.Context(), `INSERT INTO findings (seq, job_id, change_id, team_id, outcome, recorded_at, content, prev_hash, hash)
				SELECT unnest($1::bigint[]), unnest($2::uuid[]), unnest($3::text[]), unnest($4::text[]), unnest($5::text[]),
					unnest($6::timestamptz[]), unnest($7::text[]), unnest($8::text[]), unnest($9::text[])`,
				[]int64{e.Seq}, []string{e.JobID}, []string{e.ChangeID}, []string{e.TeamID}, []string{e.Outcome}, []time.Time{e.RecordedAt},
				[]string{e.Content}, []string{e.PrevHash}, []string{e.Hash})
			require.NoError(t, err)
			head = next
		}
		_, err = tx.Exec(t.Context(), "UPDATE trail_head SET seq = $1, hash = $2", head.Seq, head.Hash)
		require.NoError(t, err)
		require.NoError(t, tx.Commit(t.Context()))
	}
	appendAsBefore(500)

	_, err = store.Migrate(t.Context(), config.NewSecret(url))
	require.NoError(t, err)
	appendAsBefore(3) // the same connection, with what it has prepared
	s, err := store.Open(t.Context(), config.NewSecret(url), store.Options{})
	require.NoError(t, err)
	defer s.Close()
	ended(t, s, 2, time.Now())
	require.NoError(t, verify(t, s))
	require.Equal(t, 505, count(t, db, "SELECT count(*) FROM findings_1"))
	require.Equal(t, 200_000, count(t, db, "SELECT to_seq FROM trail_partitions WHERE from_seq = 1"), "room for what is appended meanwhile")

	// A migration that died before it was written down is done again.
	exec(t, db, "DELETE FROM goose_db_version WHERE version_id >= 7")
	_, err = provider.UpTo(t.Context(), 7)
	require.NoError(t, err)
	require.NoError(t, verify(t, s))
	require.Equal(t, 505, count(t, db, "SELECT count(*) FROM findings"))
}

func TestFindings_EachPartition_IsAppendOnly(t *testing.T) {
	s, db := open(t)
	blocks(t, db, 10)
	ended(t, s, 15, time.Now())
	for _, table := range []string{"findings", "findings_1", "findings_11", "findings_21"} {
		for _, statement := range []string{"TRUNCATE %s", "UPDATE %s SET outcome = 'x'", "DELETE FROM %s"} {
			if table == "findings_21" && statement != "TRUNCATE %s" {
				continue // it is empty: no row is touched
			}
			_, err := db.Exec(t.Context(), fmt.Sprintf(statement, table))
			require.ErrorContains(t, err, "append-only", statement+" "+table)
		}
	}
}

// Writers that cross from partition to partition at once make one unbroken chain, and each finding stands once although
// the database's own index knows only its partition.
func TestRecord_AcrossPartitions_OneChainEachOnce(t *testing.T) {
	s, db := open(t)
	blocks(t, db, 7)
	var wg sync.WaitGroup
	for i := range 12 {
		c := claim(t, s, accept(t, s, fmt.Sprint("team-", i)))
		wg.Go(func() {
			all := findings(9, time.Now())
			for _, until := range []int{3, 9, 9} { // again, with what was recorded before
				if err := c.Record(t.Context(), all[:until]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, verify(t, s))
	require.Equal(t, 12*9, count(t, db, "SELECT count(*) FROM findings"))
	require.Equal(t, 12*9, count(t, db, "SELECT count(DISTINCT (job_id, change_id)) FROM findings"))
	require.GreaterOrEqual(t, count(t, db, "SELECT count(*) FROM trail_partitions"), 12*9/7+2, "two blocks ahead")
}

// The control: the index of a partition does not know what stands in another.
func TestControl_WithoutTheLook_AFindingStandsTwice(t *testing.T) {
	s, db := open(t)
	blocks(t, db, 7)
	id := ended(t, s, 8, time.Now())
	exec(t, db, `INSERT INTO findings SELECT 9, job_id, change_id, team_id, outcome, recorded_at, content, prev_hash, hash FROM findings WHERE seq = 1`)
	require.Equal(t, 2, count(t, db, "SELECT count(*) FROM findings WHERE job_id = $1 AND change_id = 'change-0'", id))
	_, err := db.Exec(t.Context(), `INSERT INTO findings SELECT 10, job_id, change_id, team_id, outcome, recorded_at, content, prev_hash, hash FROM findings WHERE seq = 1`)
	require.ErrorContains(t, err, "duplicate key")
}

// Whoever holds the table for long keeps nobody from appending: the next partition is made later.
func TestRecord_TableIsHeld_GoesOnInTheRoomAhead(t *testing.T) {
	s, db := open(t)
	blocks(t, db, 10)
	ended(t, s, 1, time.Now())
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE findings IN SHARE UPDATE EXCLUSIVE MODE") // as VACUUM and ANALYZE do
	require.NoError(t, err)
	ended(t, s, 12, time.Now())
	require.Equal(t, 31, countIn(t, tx, "SELECT partitioned_to FROM trail_head"), "no more was made")
	require.NoError(t, tx.Rollback(t.Context()))
	ended(t, s, 1, time.Now())
	require.Equal(t, 41, count(t, db, "SELECT partitioned_to FROM trail_head"))
	require.NoError(t, verify(t, s))
}

func countIn(t *testing.T, tx pgx.Tx, query string) (n int) {
	require.NoError(t, tx.QueryRow(t.Context(), query).Scan(&n))
	return n
}

func TestPartitionToArchive_OnlyWhatIsFullOldAndDone(t *testing.T) {
	s, db := open(t)
	blocks(t, db, 10)
	next := func(keep time.Duration) (*store.TrailPartition, uuid.UUID) {
		p, waits, err := s.PartitionToArchive(t.Context(), keep)
		require.NoError(t, err)
		return p, waits
	}
	first := &store.TrailPartition{First: 1, Last: 10}

	p, _ := next(day)
	require.Nil(t, p, "nothing is there")
	ended(t, s, 9, longAgo())
	p, _ = next(day)
	require.Nil(t, p, "it is not full")
	id := accept(t, s, "payments")
	c := claim(t, s, id)
	require.NoError(t, c.Record(t.Context(), findings(2, longAgo())))
	p, waits := next(day)
	require.Nil(t, p, "the run may go on")
	require.Equal(t, id, waits)
	require.NoError(t, c.Finish(t.Context(), store.Ending{Status: store.DeadLettered}))
	p, waits = next(day)
	require.Nil(t, p, "it may live again")
	require.Equal(t, id, waits)
	_, err := s.Discard(t.Context(), store.Which{ID: id}, "ann")
	require.NoError(t, err)
	p, waits = next(day)
	require.Equal(t, first, p)
	require.Equal(t, uuid.Nil, waits)
	p, _ = next(401 * day)
	require.Nil(t, p, "it is not old")
}

func TestMoveTrail_OnlyWhatIsProvedAndWhole(t *testing.T) {
	s, db := open(t)
	blocks(t, db, 10)
	job := ended(t, s, 25, longAgo())
	p := store.TrailPartition{First: 1, Last: 10}
	good := archive(t, s, p)
	for name, wrong := range map[string]func(a *store.TrailArchive, p *store.TrailPartition){
		"another last hash": func(a *store.TrailArchive, _ *store.TrailPartition) { a.LastHash = "x" },
		"another anchor":    func(a *store.TrailArchive, _ *store.TrailPartition) { a.AnchorHash = "x" },
		"begins later":      func(a *store.TrailArchive, _ *store.TrailPartition) { a.First = 2 },
		"ends before":       func(a *store.TrailArchive, _ *store.TrailPartition) { a.Last = 9 },
		"another partition": func(_ *store.TrailArchive, p *store.TrailPartition) { *p = store.TrailPartition{First: 11, Last: 20} },
		"no such partition": func(_ *store.TrailArchive, p *store.TrailPartition) { p.Last = 9 },
	} {
		a, part := good, p
		wrong(&a, &part)
		require.Equal(t, fault.Conflict, fault.KindOf(s.MoveTrail(t.Context(), part, day, []store.TrailArchive{a})), name)
	}
	require.Equal(t, fault.Conflict, fault.KindOf(s.MoveTrail(t.Context(), p, 500*day, []store.TrailArchive{good})), "it is not old any more")
	require.Equal(t, fault.Conflict, fault.KindOf(s.MoveTrail(t.Context(), p, day, nil)), "nothing holds it")
	require.Equal(t, 25, count(t, db, "SELECT count(*) FROM findings"))

	require.NoError(t, s.MoveTrail(t.Context(), p, day, []store.TrailArchive{good}))
	require.Equal(t, fault.Conflict, fault.KindOf(s.MoveTrail(t.Context(), p, day, []store.TrailArchive{good})), "it is gone")
	require.Equal(t, 15, count(t, db, "SELECT count(*) FROM findings"))
	anchor, err := s.TrailAnchor(t.Context())
	require.NoError(t, err)
	require.Equal(t, trail.Head{Seq: 10, Hash: good.LastHash}, anchor)
	entries, err := s.Findings(t.Context(), store.FindingFilter{Limit: 100})
	require.NoError(t, err)
	v := trail.NewVerifier(anchor)
	for _, e := range entries {
		require.NoError(t, v.Next(e))
	}

	exec(t, db, "UPDATE runs SET created_at = $1, finished_at = $1", longAgo())
	moved, err := s.RunArchives(t.Context(), job)
	require.NoError(t, err)
	require.Len(t, moved, 1)
	exec(t, db, `INSERT INTO changes (job_id, change_id, position, change, outcome, done_at)
		SELECT $1, 'change-' || i, i, '{}', 'applied', now() FROM generate_series(0, 24) AS i`, job)
	_, err = s.Effects(t.Context(), job)
	require.Equal(t, "TRAIL_ARCHIVED", fault.ReasonOf(err), "half of what it did would be undone")
	young := ended(t, s, 1, time.Now())
	moved, err = s.RunArchives(t.Context(), young)
	require.NoError(t, err)
	require.Empty(t, moved)
	require.Equal(t, int64(26), trailHead(t, s).Seq, "appending goes on")
}

func trailHead(t *testing.T, s *store.Store) trail.Head {
	head, err := s.TrailHead(t.Context())
	require.NoError(t, err)
	return head
}

// Who reads for long keeps a part where it is; appending waits no longer than the move tries.
func TestMoveTrail_TableIsRead_GivesUp(t *testing.T) {
	s, db := open(t)
	blocks(t, db, 10)
	ended(t, s, 15, longAgo())
	p := store.TrailPartition{First: 1, Last: 10}
	a := archive(t, s, p)
	tx, err := db.Begin(t.Context())
	require.NoError(t, err)
	require.Equal(t, 15, countIn(t, tx, "SELECT count(*) FROM findings"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.Equal(t, fault.Unavailable, fault.KindOf(s.MoveTrail(ctx, p, day, []store.TrailArchive{a})))
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, s.MoveTrail(t.Context(), p, day, []store.TrailArchive{a}))
}

func TestFindingRange_IsTheStretchOfAPeriod(t *testing.T) {
	s, _ := open(t)
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, hours := range []int{0, 2, 1, 3, 5} { // not in the order of time
		ended(t, s, 1, at.Add(time.Duration(hours)*time.Hour))
	}
	hour := func(n int) *time.Time { h := at.Add(time.Duration(n) * time.Hour); return &h }
	for name, c := range map[string]struct {
		from, to    *time.Time
		first, last int64
	}{
		"all":                           {nil, nil, 1, 5},
		"what begins a period is in it": {hour(1), hour(2), 3, 3},
		"what lies between":             {hour(2), hour(4), 2, 4},
		"up to":                         {nil, hour(2), 1, 3},
		"from":                          {hour(5), nil, 5, 5},
		"nothing":                       {hour(4), hour(5), 0, 0},
	} {
		first, last, err := s.FindingRange(t.Context(), c.from, c.to)
		require.NoError(t, err)
		require.Equal(t, []int64{c.first, c.last}, []int64{first, last}, name)
	}
}

// However long the trail is, a short period is found along the index of time.
func TestFindingRange_ReadsNoMoreThanThePeriod(t *testing.T) {
	_, db := open(t)
	blocks(t, db, 20_000)
	exec(t, db, "UPDATE trail_head SET seq = 100000")
	exec(t, db, `INSERT INTO findings (seq, job_id, change_id, team_id, outcome, recorded_at, content, prev_hash, hash)
		SELECT i, gen_random_uuid(), '1', 't', 'applied', timestamptz '2026-01-01' + i * interval '1 minute', '{}', '', '' FROM generate_series(1, 100000) AS i`)
	exec(t, db, "VACUUM ANALYZE findings")
	file, err := os.ReadFile("queries/trail.sql")
	require.NoError(t, err)
	_, statement, _ := strings.Cut(string(file), "-- name: FindingRange :one\n")
	statement, _, _ = strings.Cut(statement, ";")
	statement = strings.NewReplacer("@recorded_from", "timestamptz '2026-02-01'", "@recorded_to", "timestamptz '2026-02-02'").Replace(statement)
	var told []byte
	require.NoError(t, db.QueryRow(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) "+statement).Scan(&told))
	var plans []struct{ Plan plan }
	require.NoError(t, json.Unmarshal(told, &plans))
	read, _, nodes := plans[0].Plan.read()
	require.LessOrEqual(t, read, 3000.0, "a day has 1440 minutes: %v", nodes)
}
