// Package trailcheck proves an audit trail from what the API shows of it, without trusting the server: the chain of
// seals holds, every entry shows what was sealed, and the trail ends at its head.
package trailcheck

import (
	"context"
	"errors"
	"fmt"

	"github.com/nthlayer/nthlayer/pkg/api"
	"github.com/nthlayer/nthlayer/pkg/trail"
	nthlayerv1 "github.com/nthlayer/nthlayer/proto/gen/nthlayer/v1"
)

const pageSize = 1000 // the API's largest page

// ErrMoved says that a part of the trail was moved to archives while it was read.
var ErrMoved = errors.New("a part of the trail was moved to the archives meanwhile; try again")

// ErrPartial says that the caller sees only a part of the trail.
var ErrPartial = errors.New("you do not see the findings of every team, and a chain with entries left out cannot be checked: " +
	"ask somebody who sees all")

// Check reads a trail page by page, from its beginning, or from the entry after its anchor where older ones were moved.
type Check struct {
	chain  trail.Verifier
	kept   trail.Head // an entry that must be in the trail; zero: none
	head   trail.Head // as the newest page gave it
	anchor trail.Head // what the trail begins after
	begun  bool
}

// New begins a check. kept is a head that was printed before and must still be in the trail; the zero Head asks for
// nothing.
func New(kept trail.Head) *Check { return &Check{kept: kept} }

// Read reads the whole trail from the API, checks it and gives its head, and the entry that it begins after.
func Read(ctx context.Context, client nthlayerv1.TrailServiceClient, kept trail.Head) (anchor, head trail.Head, err error) {
	check := New(kept)
	for token := ""; ; {
		page, err := client.ListFindings(ctx, &nthlayerv1.ListFindingsRequest{PageSize: pageSize, PageToken: token})
		if err == nil {
			err = check.Page(page)
		}
		if err != nil {
			return trail.Head{}, trail.Head{}, err
		}
		if token = page.GetNextPageToken(); token == "" {
			head, err = check.Close()
			return check.anchor, head, err
		}
	}
}

// Page checks the next page.
func (c *Check) Page(page *nthlayerv1.ListFindingsResponse) error {
	if page.GetPartial() {
		return ErrPartial
	}
	switch anchor := head(page.GetAnchor()); {
	case !c.begun:
		c.begun, c.anchor, c.chain = true, anchor, trail.NewVerifier(anchor)
		if err := c.keptBefore(); err != nil {
			return err
		}
	case anchor.Seq > c.chain.Head().Seq:
		return ErrMoved
	}
	for _, f := range page.GetFindings() {
		if err := c.entry(f); err != nil {
			return err
		}
	}
	c.head = head(page.GetHead())
	return nil
}

// keptBefore checks a kept entry that was moved away: only the anchor is known here.
func (c *Check) keptBefore() error {
	switch {
	case c.kept.Seq == 0 || c.kept.Seq > c.anchor.Seq:
		return nil
	case c.kept.Seq < c.anchor.Seq:
		return fmt.Errorf("entry %d was moved to the archives: check them with `nthlayer trail verify --file ARCHIVE... --head %d:%s`",
			c.kept.Seq, c.kept.Seq, c.kept.Hash)
	default:
		return checkKept(c.kept, trail.Entry{Finding: trail.Finding{Seq: c.anchor.Seq}, Hash: c.anchor.Hash})
	}
}

func head(h *nthlayerv1.TrailHead) trail.Head { return trail.Head{Seq: h.GetSeq(), Hash: h.GetHash()} }

func (c *Check) entry(shown *nthlayerv1.Finding) error {
	entry, err := api.Entry(shown)
	if err != nil {
		return err
	}
	if err := c.chain.Next(entry); err != nil {
		return err
	}
	return checkKept(c.kept, entry)
}

// checkKept checks the entry that was kept, when it comes.
func checkKept(kept trail.Head, e trail.Entry) error {
	if kept.Seq == e.Seq && kept.Hash != e.Hash {
		return &trail.BrokenError{Seq: e.Seq, Problem: "it is not the entry whose hash was kept: the trail was written anew"}
	}
	return nil
}

// Close checks that the trail ends where it should and gives its head.
func (c *Check) Close() (trail.Head, error) {
	if err := c.chain.Close(c.head); err != nil {
		return trail.Head{}, err
	}
	if c.kept.Seq > c.head.Seq {
		return trail.Head{}, &trail.BrokenError{
			Seq: c.head.Seq, Problem: fmt.Sprintf("the trail ends here, but it once had entry %d", c.kept.Seq),
		}
	}
	return c.head, nil
}
