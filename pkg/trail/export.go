package trail

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Format names the export that Writer writes and Check reads: JSON Lines. The first line is a Header, each of the lines that
// follow is one entry with the bytes that were sealed, the last line is a Footer. An export is a piece of the chain without a
// gap, so it proves itself, and joins on to the export before it.
const Format = "nthlayer.trail.export.v1"

// Header begins an export.
type Header struct {
	Format     string     `json:"format"`
	From       *time.Time `json:"from,omitempty"` // the period that was asked for
	To         *time.Time `json:"to,omitempty"`
	Anchor     Head       `json:"anchor"` // the entry before the first of the export
	Head       Head       `json:"head"`   // the newest entry of the trail when it was exported
	ExportedAt time.Time  `json:"exported_at"`
}

// Footer ends an export: without it, the export was cut off.
type Footer struct {
	Count int64 `json:"count"`
	Last  Head  `json:"last"`
}

// exported is the line of one entry.
type exported struct {
	Hash     string          `json:"hash"`
	PrevHash string          `json:"prev_hash"`
	Finding  json.RawMessage `json:"finding"` // the sealed bytes
}

// Writer writes an export, entry by entry.
type Writer struct {
	out  *bufio.Writer
	last Head
	n    int64
}

// NewWriter begins an export with its header.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	h.Format = Format
	e := &Writer{out: bufio.NewWriterSize(w, 1<<16), last: h.Anchor}
	return e, e.line(h)
}

// Add writes the next entry. The chain is checked on the way: what does not hold is not exported as if it did.
func (e *Writer) Add(entry Entry) error {
	v := Verifier{head: e.last}
	if err := v.Next(entry); err != nil {
		return err
	}
	e.last = v.head
	e.n++
	// By hand: an encoder would not keep the sealed bytes as they are.
	_, err := fmt.Fprintf(e.out, "{\"hash\":%q,\"prev_hash\":%q,\"finding\":%s}\n", entry.Hash, entry.PrevHash, entry.Content)
	return err
}

// Close writes the footer and gives it.
func (e *Writer) Close() (Footer, error) {
	f := Footer{Count: e.n, Last: e.last}
	return f, errors.Join(e.line(f), e.out.Flush())
}

func (e *Writer) line(v any) error {
	text, err := json.Marshal(v)
	if err == nil {
		_, err = e.out.Write(append(text, '\n'))
	}
	return err
}

// mostLine bounds a line of an export: an entry has some kB.
const mostLine = 16 << 20

// Check reads an export and proves it: no entry was changed, left out, put in or moved, and the end is there. It needs nothing
// else. each is called with every entry once it was checked; it may be nil.
func Check(r io.Reader, each func(Entry) error) (Header, Footer, error) {
	var header Header
	var footer Footer
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 1<<16), mostLine)
	next := func() ([]byte, error) {
		if lines.Scan() {
			return lines.Bytes(), nil
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read the export: %w", err)
		}
		return nil, errors.New("the export was cut off: its last line is missing")
	}
	line, err := next()
	if err != nil {
		return header, footer, err
	}
	if err := strictly(line, &header); err != nil || header.Format != Format {
		return header, footer, errors.New("this is no export of a trail: it does not begin with a line of the format " + Format)
	}
	v := Verifier{head: header.Anchor}
	for {
		if line, err = next(); err != nil {
			return header, footer, err
		}
		if strictly(line, &footer) == nil {
			break
		}
		entry, err := readEntry(line)
		if err != nil {
			return header, footer, &BrokenError{Seq: v.head.Seq + 1, Problem: err.Error()}
		}
		if err := v.Next(entry); err != nil {
			return header, footer, err
		}
		if each != nil {
			if err := each(entry); err != nil {
				return header, footer, err
			}
		}
	}
	switch count := v.head.Seq - header.Anchor.Seq; {
	case lines.Scan():
		return header, footer, errors.New("something follows the export's last line")
	case footer.Count != count || footer.Last != v.head:
		return header, footer, &BrokenError{Seq: v.head.Seq, Problem: fmt.Sprintf("the export has %d entries up to this one, and says that it has %d up to entry %d",
			count, footer.Count, footer.Last.Seq)}
	}
	return header, footer, nil
}

func readEntry(line []byte) (Entry, error) {
	var e exported
	if err := strictly(line, &e); err != nil {
		return Entry{}, errors.New("its line cannot be read")
	}
	finding, err := Decode(string(e.Finding))
	if err != nil {
		return Entry{}, errors.New("its content cannot be read")
	}
	return Entry{Finding: finding, Content: string(e.Finding), PrevHash: e.PrevHash, Hash: e.Hash}, nil
}

// strictly decodes one JSON object without fields that are not known.
func strictly(line []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("more than one value")
	}
	return nil
}

// Piece is an export that was checked, as a piece of the chain.
type Piece struct {
	Name   string
	Header Header
	Footer Footer
}

// Join puts pieces in their order and proves that each follows the one before: it gives the range that they hold together.
func Join(pieces []Piece) (first, last Head, err error) {
	if len(pieces) == 0 {
		return first, last, errors.New("there is nothing to check")
	}
	byAnchor := make(map[Head]Piece, len(pieces))
	follows := map[Head]bool{}
	for _, p := range pieces {
		if p.Footer.Count == 0 {
			continue
		}
		if other, ok := byAnchor[p.Header.Anchor]; ok {
			return first, last, fmt.Errorf("%s and %s begin with the same entry; give one of them", other.Name, p.Name)
		}
		byAnchor[p.Header.Anchor] = p
		follows[p.Footer.Last] = true
	}
	var begins []Piece
	for _, p := range byAnchor {
		if !follows[p.Header.Anchor] {
			begins = append(begins, p)
		}
	}
	if len(byAnchor) == 0 {
		return pieces[0].Header.Anchor, pieces[0].Header.Anchor, nil
	}
	if len(begins) != 1 {
		return first, last, fmt.Errorf("the exports do not join on to each other: there are %d pieces with gaps between them", max(len(begins), 2))
	}
	first, last = begins[0].Header.Anchor, begins[0].Footer.Last
	for used := 1; used < len(byAnchor); used++ {
		p, ok := byAnchor[last]
		if !ok {
			return first, last, fmt.Errorf("the exports do not join on to each other after entry %d", last.Seq)
		}
		last = p.Footer.Last
	}
	return first, last, nil
}
