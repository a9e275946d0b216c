// Package retention moves old parts of the audit trail out of the database, with the chain intact.
package retention

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/nthlayer/nthlayer/pkg/fault"
	"github.com/nthlayer/nthlayer/pkg/store"
	"github.com/nthlayer/nthlayer/pkg/trail"
)

const (
	chore    = "trail retention"
	page     = 1000
	mostSize = 1 << 30 // of an archive: a part has 100,000 entries of some kB, and packs well
)

// Trail is what Keeper needs of the store.
type Trail interface {
	ClaimChore(ctx context.Context, name string, period time.Duration) (bool, error)
	OldestTrailPart(ctx context.Context, before time.Time) (*store.TrailPart, error)
	TrailAnchor(ctx context.Context) (trail.Head, error)
	TrailHead(ctx context.Context) (trail.Head, error)
	Findings(ctx context.Context, f store.FindingFilter) ([]trail.Entry, error)
	MovedTrailPart(ctx context.Context, part store.TrailPart, a store.TrailArchive) error
}

// Objects is where archives are kept.
type Objects interface {
	Read(ctx context.Context, name string, most int64) ([]byte, error)
	Write(ctx context.Context, name string, content []byte) error
}

// Keeper moves parts of the trail that are older than Keep.
type Keeper struct {
	Trail   Trail
	Objects Objects
	Place   string // of Objects, for people
	Keep    time.Duration
	Every   time.Duration // how often somebody looks, of all processes together
	Log     *slog.Logger
	Now     func() time.Time
}

// Run looks now and then until the context ends.
func (k *Keeper) Run(ctx context.Context) error {
	moved, _ := otel.Meter("github.com/nthlayer/nthlayer/services/audit-scheduler").
		Int64Counter("nthlayer.trail.archived", metric.WithDescription("Entries of the trail that were moved to archives."))
	look := time.NewTicker(min(k.Every, time.Hour))
	defer look.Stop()
	for {
		if n, err := k.Look(ctx); err != nil && ctx.Err() == nil {
			k.Log.ErrorContext(ctx, "the trail could not be moved to an archive; it stays where it is", "error", err)
		} else if n > 0 {
			moved.Add(ctx, n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// Look moves all parts that are old enough, if nobody has looked of late, and gives the number of their entries.
func (k *Keeper) Look(ctx context.Context) (entries int64, err error) {
	ours, err := k.Trail.ClaimChore(ctx, chore, k.Every)
	if !ours || err != nil {
		return 0, err
	}
	for {
		part, err := k.Trail.OldestTrailPart(ctx, k.Now().Add(-k.Keep))
		if part == nil || err != nil {
			return entries, err
		}
		if err := k.move(ctx, *part); err != nil {
			return entries, fmt.Errorf("entries %d to %d: %w", part.First, part.Last, err)
		}
		entries += part.Last - part.First + 1
	}
}

// move writes a part to an archive, reads that back and proves it, and only then takes the part away. Interrupted anywhere it
// begins anew: the part is still there, and the archive is written again.
func (k *Keeper) move(ctx context.Context, part store.TrailPart) error {
	anchor, err := k.Trail.TrailAnchor(ctx)
	if err != nil {
		return err
	}
	if anchor.Seq != part.First-1 {
		return fault.New(fault.Internal, fmt.Sprintf("the archives end with entry %d", anchor.Seq), nil)
	}
	content, want, err := k.pack(ctx, part, anchor)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("trail-%012d-%012d.jsonl.gz", part.First, part.Last)
	if err := k.Objects.Write(ctx, name, content); err != nil {
		return err
	}
	back, err := k.Objects.Read(ctx, name, mostSize)
	if err != nil {
		return err
	}
	if err := prove(back, anchor, want); err != nil {
		return fault.New(fault.Internal, "the archive is not what was written: "+err.Error(), err)
	}
	sum := sha256.Sum256(back)
	archive := store.TrailArchive{Anchor: anchor.Hash, Last: want.Last, Location: k.Place + "/" + path.Base(name), SHA256: hex.EncodeToString(sum[:])}
	if err := k.Trail.MovedTrailPart(ctx, part, archive); err != nil {
		return err
	}
	k.Log.InfoContext(ctx, "a part of the trail lies in an archive now", "first", part.First, "last", part.Last, "location", archive.Location, "sha256", archive.SHA256)
	return nil
}

// pack exports a part, compressed. The chain is checked on the way.
func (k *Keeper) pack(ctx context.Context, part store.TrailPart, anchor trail.Head) ([]byte, trail.Footer, error) {
	head, err := k.Trail.TrailHead(ctx)
	if err != nil {
		return nil, trail.Footer{}, err
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	out, err := trail.NewWriter(zip, trail.Header{Anchor: anchor, Head: head, ExportedAt: k.Now().UTC()})
	if err != nil {
		return nil, trail.Footer{}, err
	}
	filter := store.FindingFilter{After: part.First - 1, UpTo: part.Last, Limit: page}
	for filter.After < part.Last {
		entries, err := k.Trail.Findings(ctx, filter)
		if err != nil {
			return nil, trail.Footer{}, err
		}
		for _, e := range entries {
			if err := out.Add(e); err != nil {
				return nil, trail.Footer{}, err
			}
			filter.After = e.Seq
		}
		if len(entries) < page {
			break
		}
	}
	footer, err := out.Close()
	if err == nil {
		err = zip.Close()
	}
	if err == nil && footer.Last.Seq != part.Last {
		err = &trail.BrokenError{Seq: footer.Last.Seq + 1, Problem: "it is not in the database"}
	}
	return packed.Bytes(), footer, err
}

// prove checks an archive as it was read back.
func prove(content []byte, anchor trail.Head, want trail.Footer) error {
	unzipped, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return err
	}
	header, footer, err := trail.Check(unzipped, nil)
	if err != nil {
		return err
	}
	if header.Anchor != anchor || footer != want {
		return fmt.Errorf("it holds %d entries up to %d", footer.Count, footer.Last.Seq)
	}
	return nil
}
