// Package retention moves old parts of the trail out of the database, into files that prove themselves.
//
// A part is written as exports, which are read back from where they were written and proved, and only then, in one
// transaction, recorded and dropped. Whatever dies in between, the entries stand in the database or in a recorded archive;
// whoever tries again finds the files that are there and takes them.
package retention

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

const (
	page = 1000
	// perArchive keeps a file small enough to be held compressed in memory.
	perArchive  = 100_000
	mostArchive = 1 << 30 // bytes, compressed
)

// Store is what is needed of the database.
type Store interface {
	ClaimChore(ctx context.Context, name string, period time.Duration) (bool, error)
	PartitionToArchive(ctx context.Context, keep time.Duration) (*store.TrailPartition, uuid.UUID, error)
	Findings(ctx context.Context, f store.FindingFilter) ([]trail.Entry, error)
	TrailAnchor(ctx context.Context) (trail.Head, error)
	TrailHead(ctx context.Context) (trail.Head, error)
	MoveTrail(ctx context.Context, p store.TrailPartition, keep time.Duration, archives []store.TrailArchive) error
}

// Objects is where archives are written.
type Objects interface {
	Read(ctx context.Context, name string, most int64) ([]byte, error)
	Write(ctx context.Context, name string, content []byte) error
}

// Archiver moves what is older than Keep.
type Archiver struct {
	Store   Store
	Objects Objects
	Place   string // the URL of Objects
	Keep    time.Duration
	Every   time.Duration                // how often one process of all looks
	Moved   func(context.Context, int64) // told how many entries were moved; may be nil
	Now     func() time.Time
	Log     *slog.Logger
	Most    int64 // entries of a file; 0: 100,000
}

// Run looks now and then, until the context ends. A failure is logged, and tried again in the next period.
func (a *Archiver) Run(ctx context.Context) error {
	look := time.NewTicker(a.Every / 4) // several processes share the chore
	defer look.Stop()
	for {
		ours, err := a.Store.ClaimChore(ctx, "trail archive", a.Every)
		if err == nil && ours {
			err = a.Archive(ctx)
		}
		if err != nil && ctx.Err() == nil {
			a.Log.ErrorContext(ctx, "the trail was not archived; its entries stay in the database", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// Archive moves every part that is old enough, the oldest first.
func (a *Archiver) Archive(ctx context.Context) error {
	for {
		p, waitsFor, err := a.Store.PartitionToArchive(ctx, a.Keep)
		if err != nil {
			return err
		}
		if waitsFor != uuid.Nil {
			a.Log.WarnContext(ctx, "a part of the trail is old enough and stays: a run that has findings in it may still record more; "+
				"let it end, or discard it from the dead letters", "job_id", waitsFor)
		}
		if p == nil {
			return nil
		}
		if err := a.move(ctx, *p); err != nil {
			return fmt.Errorf("move entries %d to %d: %w", p.First, p.Last, err)
		}
	}
}

func (a *Archiver) move(ctx context.Context, p store.TrailPartition) error {
	at, err := a.Store.TrailAnchor(ctx)
	if err != nil {
		return err
	}
	var list []store.TrailArchive
	for at.Seq < p.Last {
		archive, err := a.put(ctx, at, min(p.Last, at.Seq+a.most()))
		if err != nil {
			return err
		}
		list, at = append(list, archive), trail.Head{Seq: archive.Last, Hash: archive.LastHash}
	}
	if err := a.Store.MoveTrail(ctx, p, a.Keep, list); err != nil {
		return err
	}
	n := p.Last - p.First + 1
	a.Log.InfoContext(ctx, "a part of the trail was moved to archives", "first_seq", p.First, "last_seq", p.Last, "entries", n, "files", len(list),
		"head", fmt.Sprintf("%d:%s", at.Seq, at.Hash))
	if a.Moved != nil {
		a.Moved(ctx, n)
	}
	return nil
}

// put writes the entries after anchor up to last as one file and proves what stands there then.
func (a *Archiver) put(ctx context.Context, anchor trail.Head, last int64) (store.TrailArchive, error) {
	name := fmt.Sprintf("trail-%012d-%012d.jsonl.gz", anchor.Seq+1, last)
	content, want, err := a.export(ctx, anchor, last)
	if err != nil {
		return store.TrailArchive{}, err
	}
	there, err := a.Objects.Read(ctx, name, mostArchive)
	switch fault.KindOf(err) {
	case fault.NotFound:
	default:
		if err != nil {
			return store.TrailArchive{}, err
		}
		got, err := prove(there)
		if err == nil && got == want {
			return a.archive(name, there, want), nil // somebody died after writing it
		}
		if err == nil {
			return store.TrailArchive{}, fault.New(fault.Conflict, a.at(name)+" holds another trail: give this one a place of its own (NTHLAYER_TRAIL_ARCHIVE)", nil)
		}
	}
	if err := a.Objects.Write(ctx, name, content); err != nil {
		return store.TrailArchive{}, err
	}
	back, err := a.Objects.Read(ctx, name, mostArchive)
	if err != nil {
		return store.TrailArchive{}, err
	}
	got, err := prove(back)
	if err == nil && (got != want || !bytes.Equal(back, content)) {
		err = errors.New("it reads back as something else")
	}
	if err != nil {
		return store.TrailArchive{}, fault.New(fault.Unavailable, a.at(name)+" does not prove what was written", err)
	}
	return a.archive(name, back, want), nil
}

// stretch is what an archive holds.
type stretch struct {
	anchor, last trail.Head
	from, to     int64 // the times of its entries, in microseconds
}

func (s *stretch) add(e trail.Entry) {
	at := e.RecordedAt.UnixMicro()
	if s.from == 0 || at < s.from {
		s.from = at
	}
	s.to = max(s.to, at)
	s.last = trail.Head{Seq: e.Seq, Hash: e.Hash}
}

// export makes the file. It fails where the trail does not hold: what was tampered with stays where it can be looked at.
func (a *Archiver) export(ctx context.Context, anchor trail.Head, last int64) ([]byte, stretch, error) {
	s := stretch{anchor: anchor, last: anchor}
	head, err := a.Store.TrailHead(ctx)
	if err != nil {
		return nil, s, err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	out := trail.NewExporter(z, trail.Header{Anchor: anchor, Head: head, ExportedAt: a.Now()})
	check := trail.NewVerifier(anchor)
	for s.last.Seq < last {
		entries, err := a.Store.Findings(ctx, store.FindingFilter{After: s.last.Seq, Last: last, Limit: page})
		if err != nil {
			return nil, s, err
		}
		if len(entries) == 0 {
			return nil, s, &trail.BrokenError{Seq: s.last.Seq + 1, Problem: "it is missing"}
		}
		for _, e := range entries {
			if err := errors.Join(check.Next(e), out.Add(e)); err != nil {
				return nil, s, err
			}
			s.add(e)
		}
	}
	if err := errors.Join(out.Close(), z.Close()); err != nil {
		return nil, s, err
	}
	return b.Bytes(), s, nil
}

// prove checks a file as anybody would, and says what it holds.
func prove(content []byte) (stretch, error) {
	var s stretch
	h, last, err := trail.VerifyExport(bytes.NewReader(content), func(e trail.Entry) error { s.add(e); return nil })
	s.anchor, s.last = h.Anchor, last
	return s, err
}

func (a *Archiver) archive(name string, content []byte, s stretch) store.TrailArchive {
	sum := sha256.Sum256(content)
	return store.TrailArchive{
		First: s.anchor.Seq + 1, Last: s.last.Seq, AnchorHash: s.anchor.Hash, LastHash: s.last.Hash, Location: a.at(name),
		SHA256: hex.EncodeToString(sum[:]), RecordedFrom: time.UnixMicro(s.from).UTC(), RecordedTo: time.UnixMicro(s.to).UTC(),
	}
}

func (a *Archiver) at(name string) string { return strings.TrimRight(a.Place, "/") + "/" + name }

func (a *Archiver) most() int64 {
	if a.Most > 0 {
		return a.Most
	}
	return perArchive
}
