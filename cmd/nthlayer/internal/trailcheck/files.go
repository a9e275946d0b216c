package trailcheck

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/nthlayer/nthlayer/pkg/trail"
)

// File is an export that can be opened more than once.
type File struct {
	Name string
	Open func() (io.ReadCloser, error)
}

// Stretch is the part of the trail that files hold.
type Stretch struct {
	Anchor, Last trail.Head // the entry before the first, and the last
	Head         trail.Head // the newest entry when the last of the files was made
}

// Files proves exports without a server: each for itself, and that they follow each other without a gap, in whatever order
// they are given. anchor is the entry that the first must follow, kept an entry that they must hold; zeros ask for nothing.
func Files(files []File, anchor, kept trail.Head) (Stretch, error) {
	headers := make([]trail.Header, len(files))
	order := make([]int, len(files))
	for i, f := range files {
		order[i] = i
		err := f.read(func(r io.Reader) (err error) {
			if headers[i], err = trail.ReadHeader(r); err == nil && len(headers[i].Filters) > 0 {
				err = trail.ErrFiltered
			}
			return err
		})
		if err != nil {
			return Stretch{}, err
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(headers[a].Anchor.Seq - headers[b].Anchor.Seq) })

	var s Stretch
	found := kept.Seq == 0
	for n, i := range order {
		h := headers[i]
		switch {
		case n == 0 && anchor != (trail.Head{}) && h.Anchor != anchor:
			return s, fmt.Errorf("%s: it begins after entry %d:%s, not after the anchor %d:%s", files[i].Name, h.Anchor.Seq, h.Anchor.Hash, anchor.Seq, anchor.Hash)
		case n == 0:
			s.Anchor = h.Anchor
		case h.Anchor.Seq > s.Last.Seq:
			return s, fmt.Errorf("%s: %w", files[i].Name, &trail.BrokenError{
				Seq: s.Last.Seq + 1, Problem: fmt.Sprintf("entries %d to %d are in none of the files", s.Last.Seq+1, h.Anchor.Seq),
			})
		case h.Anchor.Seq < s.Last.Seq:
			return s, fmt.Errorf("%s: it repeats entries of another file, from %d to %d: give each entry once", files[i].Name, h.Anchor.Seq+1, s.Last.Seq)
		case h.Anchor != s.Last:
			return s, fmt.Errorf("%s: %w", files[i].Name, &trail.BrokenError{Seq: s.Last.Seq + 1, Problem: "it does not follow the last entry of the file before"})
		}
		s.Head = h.Head
		err := files[i].read(func(r io.Reader) error {
			again, last, err := trail.VerifyExport(r, func(e trail.Entry) error {
				found = found || e.Seq == kept.Seq
				return checkKept(kept, e)
			})
			if err == nil && again.Anchor != h.Anchor {
				err = errors.New("it changed while it was read")
			}
			s.Last = last
			return err
		})
		if err != nil {
			return s, err
		}
	}
	switch {
	case kept.Seq != 0 && kept == s.Anchor:
		found = true
	case kept.Seq != 0 && kept.Seq == s.Anchor.Seq:
		return s, &trail.BrokenError{Seq: kept.Seq, Problem: "it is not the entry whose hash was kept: the trail was written anew"}
	}
	if !found {
		return s, fmt.Errorf("the files hold entries %d to %d, not the entry %d that was kept", s.Anchor.Seq+1, s.Last.Seq, kept.Seq)
	}
	return s, nil
}

func (f File) read(use func(io.Reader) error) error {
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	if err := use(in); err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	return nil
}
