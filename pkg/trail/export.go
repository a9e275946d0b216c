package trail

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// An export is a stretch of the trail as JSON Lines: a header, one line an entry, a footer. It is proved by itself; exports
// that follow each other are proved together. docs/trail.md describes it for those who have no NthLayer.
const (
	exportFormat  = "nthlayer.trail.export"
	exportVersion = 1
	mostLine      = 64 << 20 // bytes; an entry holds one change
)

// Header is the first line of an export.
type Header struct {
	Format     string            `json:"format"`
	Version    int               `json:"version"`
	From       *time.Time        `json:"from,omitempty"` // the period that was asked for
	To         *time.Time        `json:"to,omitempty"`
	Filters    map[string]string `json:"filters,omitempty"` // with any, entries are left out and nothing is proved
	Anchor     Head              `json:"anchor"`            // the entry before the first
	Head       Head              `json:"head"`              // the newest entry when the export was made
	ExportedAt time.Time         `json:"exported_at"`
}

// footer is the last line of an export: without it the file was cut off.
type footer struct {
	Count int64 `json:"count"`
	Last  Head  `json:"last"`
}

// Exporter writes an export, entry by entry, and holds none of them. It refuses entries that do not hold, so that what
// it has written whole can be proved.
type Exporter struct {
	out    io.Writer
	header Header
	check  Verifier
	begun  bool
	count  int64
	last   Head
}

// NewExporter begins an export. Anchor is set by the first entry; where there is none it stays as it is.
func NewExporter(out io.Writer, h Header) *Exporter {
	h.Format, h.Version, h.ExportedAt = exportFormat, exportVersion, h.ExportedAt.UTC()
	return &Exporter{out: out, header: h, last: h.Anchor}
}

// Add writes the next entry.
func (x *Exporter) Add(e Entry) error {
	if !x.begun {
		if err := x.begin(Head{Seq: e.Seq - 1, Hash: e.PrevHash}); err != nil {
			return err
		}
	}
	if len(x.header.Filters) > 0 { // entries are missing on purpose: each is checked for itself
		x.check = Verifier{head: Head{Seq: e.Seq - 1, Hash: e.PrevHash}}
	}
	if err := x.check.Next(e); err != nil {
		return err
	}
	x.count, x.last = x.count+1, x.check.Head()
	return write(x.out, exportLine(e))
}

// Close writes the end.
func (x *Exporter) Close() error {
	if !x.begun {
		if err := x.begin(x.header.Anchor); err != nil {
			return err
		}
	}
	return writeJSON(x.out, footer{Count: x.count, Last: x.last})
}

// Count is how many entries were written, and Last the newest of them.
func (x *Exporter) Count() (n int64, last Head) { return x.count, x.last }

func (x *Exporter) begin(anchor Head) error {
	x.begun, x.header.Anchor, x.check = true, anchor, NewVerifier(anchor)
	return writeJSON(x.out, x.header)
}

// exportLine is an entry's line. The finding is for those who read; it is the sealed content, byte for byte.
func exportLine(e Entry) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"seq":%d,"prev_hash":%s,"hash":%s,"content":%s,"finding":%s}`, e.Seq, quote(e.PrevHash), quote(e.Hash), quote(e.Content), e.Content)
	return b.Bytes()
}

func quote(s string) []byte {
	b, _ := compactJSON(s) // a string can be written
	return b
}

func compactJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimRight(buf.Bytes(), "\n"), err
}

func writeJSON(w io.Writer, v any) error {
	line, err := compactJSON(v)
	if err != nil {
		return err
	}
	return write(w, line)
}

func write(w io.Writer, line []byte) error {
	_, err := w.Write(append(line, '\n'))
	return err
}

// ErrFiltered says that an export leaves entries out.
var ErrFiltered = errors.New("it is filtered and cannot prove anything: export the period without filters")

// ReadHeader reads the first line of an export, which may be compressed.
func ReadHeader(r io.Reader) (Header, error) {
	lines, err := exportLines(r)
	if err != nil {
		return Header{}, err
	}
	return readHeader(lines)
}

// VerifyExport checks an export, which may be compressed, from its first byte to its last, and gives its header and its
// newest entry. Every line must be as an Exporter writes it, so that no edit is too small. Each entry that holds is given
// to entry, which may be nil.
func VerifyExport(r io.Reader, entry func(Entry) error) (Header, Head, error) {
	lines, err := exportLines(r)
	if err != nil {
		return Header{}, Head{}, err
	}
	h, err := readHeader(lines)
	if err != nil {
		return h, Head{}, err
	}
	if len(h.Filters) > 0 {
		return h, Head{}, ErrFiltered
	}
	check := NewVerifier(h.Anchor)
	for lines.Scan() {
		line := lines.Bytes()
		if bytes.HasPrefix(line, []byte(`{"count":`)) {
			return h, check.Head(), readFooter(lines, h, check.Head())
		}
		e, err := readEntry(line)
		if err == nil {
			err = check.Next(e)
		} else {
			err = &BrokenError{Seq: check.Head().Seq + 1, Problem: err.Error()}
		}
		if err == nil && entry != nil {
			err = entry(e)
		}
		if err != nil {
			return h, check.Head(), err
		}
	}
	if err := lines.Err(); err != nil {
		return h, check.Head(), &BrokenError{Seq: check.Head().Seq + 1, Problem: "the file cannot be read on: " + err.Error()}
	}
	return h, check.Head(), &BrokenError{Seq: check.Head().Seq + 1, Problem: "the file was cut off: it does not say where it ends"}
}

// exportLines reads line by line. What follows the last newline is no line: it was cut off.
func exportLines(r io.Reader) (*bufio.Scanner, error) {
	in := bufio.NewReader(r)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("read the compressed file: %w", err)
		}
		in = bufio.NewReader(z)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, mostLine)
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			return 0, nil, errors.New("its last line is not whole")
		}
		return 0, nil, nil
	})
	return lines, nil
}

func readHeader(lines *bufio.Scanner) (Header, error) {
	var h Header
	noExport := errors.New("it is no export of the trail: its first line is not the header")
	if !lines.Scan() {
		if err := lines.Err(); err != nil {
			return h, fmt.Errorf("read its first line: %w", err)
		}
		return h, noExport
	}
	line := lines.Bytes()
	if err := json.Unmarshal(line, &h); err != nil || h.Format != exportFormat {
		return h, noExport
	}
	if h.Version != exportVersion {
		return h, fmt.Errorf("its format has version %d, this program knows %d", h.Version, exportVersion)
	}
	if again, err := compactJSON(h); err != nil || !bytes.Equal(again, line) {
		return h, errors.New("its header was changed")
	}
	return h, nil
}

func readEntry(line []byte) (Entry, error) {
	var read struct {
		Seq      int64  `json:"seq"`
		PrevHash string `json:"prev_hash"`
		Hash     string `json:"hash"`
		Content  string `json:"content"`
	}
	if err := json.Unmarshal(line, &read); err != nil {
		return Entry{}, errors.New("its line cannot be read")
	}
	finding, err := Decode(read.Content)
	if err != nil {
		return Entry{}, errors.New("its content cannot be read")
	}
	if finding.Seq != read.Seq {
		return Entry{}, fmt.Errorf("it is numbered %d beside its content and %d in it", read.Seq, finding.Seq)
	}
	e := Entry{Finding: finding, Content: read.Content, PrevHash: read.PrevHash, Hash: read.Hash}
	if !bytes.Equal(exportLine(e), line) {
		return e, errors.New("what it shows differs from what was sealed")
	}
	return e, nil
}

func readFooter(lines *bufio.Scanner, h Header, last Head) error {
	broken := func(problem string) error { return &BrokenError{Seq: last.Seq, Problem: problem} }
	want, err := compactJSON(footer{Count: last.Seq - h.Anchor.Seq, Last: last})
	if err != nil {
		return err
	}
	if !bytes.Equal(lines.Bytes(), want) {
		return broken("the entries end here, and the last line of the file says otherwise: some were cut off")
	}
	if h.Head.Seq < last.Seq || h.Head.Seq == last.Seq && h.Head.Hash != last.Hash {
		return broken("the header names another newest entry")
	}
	if lines.Scan() {
		return broken("something follows the last line of the file")
	}
	if err := lines.Err(); err != nil {
		return broken("something follows the last line of the file: " + err.Error())
	}
	return nil
}

// CSVTitles are the columns of an export as a table; CSVCells are an entry's cells in that order.
func CSVTitles() []string {
	return []string{
		"seq", "recorded_at", "team_id", "actor", "reason", "action", "entity_ref", "before", "after", "outcome", "message",
		"verdict", "approved_by", "plan_hash", "request_id", "job_id", "change_id", "prev_hash", "hash", "content",
	}
}

// CSVCells are the cells of an entry.
func CSVCells(e Entry) []string {
	verdict := ""
	if e.Decision != nil {
		verdict = e.Decision.Verdict
	}
	return []string{
		fmt.Sprint(e.Seq), e.RecordedAt.UTC().Format(time.RFC3339Nano), e.TeamID, e.Actor, e.Reason, e.Action, e.EntityRef, string(e.Before),
		string(e.After), e.Outcome, e.Message, verdict, strings.Join(e.ApprovedBy, " "), e.PlanHash, e.RequestID, e.JobID, e.ChangeID,
		e.PrevHash, e.Hash, e.Content,
	}
}
