package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/nthlayer/nthlayer/pkg/notice"
)

// CSV writes findings as a table (RFC 4180) with a line of titles. A cell that a spreadsheet would take for a formula gets
// an apostrophe in front.
func CSV(w io.Writer, items []notice.AuditItem) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	_ = out.Write([]string{ // Flush keeps the error
		"finding_id", "team_id", "kind", "category", "entity", "message", "status", "since", "returned", "changed_by",
	})
	for _, i := range items {
		returned, since := "", ""
		if i.Returned {
			returned = "yes"
		}
		if !i.Since.IsZero() {
			since = i.Since.UTC().Format(time.RFC3339)
		}
		cells := []string{i.FindingID, i.TeamID, i.Kind, i.Category, i.Entity, i.Message, i.Status, since, returned, i.ChangedBy}
		for c := range cells {
			cells[c] = Harmless(cells[c])
		}
		_ = out.Write(cells)
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write findings: %w", err)
	}
	return nil
}

// formula begins what a spreadsheet computes; the wide forms count as well where East Asian settings are on.
const formula = "=+-@＝＋－＠"

// Harmless is a cell that no spreadsheet computes and no terminal obeys.
func Harmless(cell string) string {
	cell = clean(cell, math.MaxInt)
	if strings.IndexAny(cell, formula) == 0 {
		return "'" + cell
	}
	return cell
}
