package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/nthlayer/nthlayer/pkg/notice"
)

// donut is the teams by status. Its circle is 100 long, so a slice's length is its share.
type donut struct {
	Total  int
	Slices []slice
}

type slice struct {
	Class, Name   string
	N             int
	Length, Start string // of 100
}

func teamsDonut(c notice.AuditCounts) (d donut) {
	parts := []slice{
		{Class: "good", Name: "in sync", N: c.InSync}, {Class: "attention", Name: "out of sync", N: c.OutOfSync}, {Class: "quiet", Name: "unknown", N: c.Unknown},
	}
	for _, p := range parts {
		d.Total += max(p.N, 0)
	}
	if d.Total == 0 {
		return donut{}
	}
	start := 0.0
	for _, p := range parts {
		share := 100 * float64(max(p.N, 0)) / float64(d.Total)
		p.Length, p.Start = number(share), number(-start)
		start += share
		d.Slices = append(d.Slices, p)
	}
	return d
}

const (
	barsShown  = 12 // kinds beyond that stand in the table alone
	barHeight  = 26
	barLabel   = 168 // width of the names
	barRoom    = 170 // width of the longest bar
	labelRunes = 22
)

// bars are the findings by kind.
type bars struct {
	Height int
	Bars   []bar
}

type bar struct {
	Name, Label        string // whole, and as much as fits
	Open, Acknowledged int
	Y, TextY           int
	OpenWidth          string
	KnownX, KnownWidth string
	EndX               string
}

func kindBars(kinds []notice.AuditKind) (b bars) {
	longest := 0
	for _, k := range kinds {
		longest = max(longest, k.Open+k.Acknowledged)
	}
	if longest == 0 {
		return bars{}
	}
	for i, k := range kinds[:min(len(kinds), barsShown)] {
		open := float64(barRoom*max(k.Open, 0)) / float64(longest)
		known := float64(barRoom*max(k.Acknowledged, 0)) / float64(longest)
		name := Kind(k.Kind)
		b.Bars = append(b.Bars, bar{
			Name: name, Label: clean(name, labelRunes), Open: k.Open, Acknowledged: k.Acknowledged,
			Y: i*barHeight + 4, TextY: i*barHeight + 18,
			OpenWidth: number(open), KnownX: number(barLabel + open), KnownWidth: number(known), EndX: number(barLabel + open + known + 8),
		})
	}
	b.Height = len(b.Bars)*barHeight + 4
	return b
}

const (
	trendLeft, trendRight = 44, 616
	trendTop, trendBottom = 16, 180
)

// trend are lines over the audits.
type trend struct {
	Top         int // the number at the upper edge
	First, Last string
	Lines       []line
}

type line struct {
	Class, Name, Points string
	Dots                []dot
}

type dot struct{ X, Y, Title string }

func trendLines(points []notice.AuditPoint) (t trend) {
	if len(points) < 2 {
		return trend{}
	}
	for _, p := range points {
		t.Top = max(t.Top, p.OutOfSync, p.Open)
	}
	t.Top = max(t.Top, 1)
	t.First, t.Last = day(points[0].At), day(points[len(points)-1].At)
	for _, l := range []struct {
		class, name string
		of          func(notice.AuditPoint) int
	}{
		{"attention", "teams out of sync", func(p notice.AuditPoint) int { return p.OutOfSync }},
		{"accent", "open findings", func(p notice.AuditPoint) int { return p.Open }},
	} {
		drawn := line{Class: l.class, Name: l.name}
		var all []string
		for i, p := range points {
			x := trendLeft + float64(trendRight-trendLeft)*float64(i)/float64(len(points)-1)
			y := trendBottom - float64(trendBottom-trendTop)*float64(max(l.of(p), 0))/float64(t.Top)
			d := dot{X: number(x), Y: number(y), Title: fmt.Sprintf("%s: %d %s", at(p.At), l.of(p), l.name)}
			drawn.Dots = append(drawn.Dots, d)
			all = append(all, d.X+","+d.Y)
		}
		drawn.Points = strings.Join(all, " ")
		t.Lines = append(t.Lines, drawn)
	}
	return t
}

// number is a length in a picture, short and without a -0.
func number(f float64) string {
	return strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.2f", math.Round(f*100)/100+0), "0"), ".0")
}
