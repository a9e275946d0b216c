package trail_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/nthlayer/nthlayer/pkg/trail"
)

// export writes entries as an export.
func export(t require.TestingT, entries []trail.Entry, head trail.Head) []byte {
	var b bytes.Buffer
	out := trail.NewExporter(&b, trail.Header{Head: head, ExportedAt: time.Unix(1700000000, 0)})
	for _, e := range entries {
		require.NoError(t, out.Add(e))
	}
	require.NoError(t, out.Close())
	return b.Bytes()
}

func TestVerifyExport_WholeOrPart_Holds(t *testing.T) {
	entries, head := chain(t, 7)
	for name, part := range map[string][]trail.Entry{"whole": entries, "begin": entries[:3], "middle": entries[2:5], "end": entries[5:], "one": entries[3:4]} {
		content := export(t, part, head)
		h, last, err := trail.VerifyExport(bytes.NewReader(content), nil)
		require.NoError(t, err, name)
		require.Equal(t, part[0].PrevHash, h.Anchor.Hash)
		require.Equal(t, part[0].Seq-1, h.Anchor.Seq)
		require.Equal(t, trail.Head{Seq: part[len(part)-1].Seq, Hash: part[len(part)-1].Hash}, last)

		var compressed bytes.Buffer
		z := gzip.NewWriter(&compressed)
		_, _ = z.Write(content)
		require.NoError(t, z.Close())
		_, again, err := trail.VerifyExport(bytes.NewReader(compressed.Bytes()), nil)
		require.NoError(t, err, name)
		require.Equal(t, last, again)
		_, _, err = trail.VerifyExport(bytes.NewReader(compressed.Bytes()[:compressed.Len()-9]), nil)
		require.Error(t, err, "compressed and cut off")
	}
}

// Any byte that is other, missing or added in an entry or the last line is found; so is any line that is missing, doubled or
// moved. In the header it is everything that proof rests on.
func TestVerifyExport_AnyEdit_IsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, head := chain(t, rapid.IntRange(3, 6).Draw(t, "n"))
		content := export(t, entries, head)
		lines := bytes.SplitAfter(bytes.TrimSuffix(content, []byte("\n")), []byte("\n"))
		header := len(lines[0])
		var edited []byte
		switch rapid.SampledFrom([]string{"flip", "cut", "add", "drop line", "repeat line", "swap lines"}).Draw(t, "edit") {
		case "flip":
			i := rapid.IntRange(header, len(content)-1).Draw(t, "at")
			edited = bytes.Clone(content)
			edited[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		case "cut":
			edited = content[:rapid.IntRange(0, len(content)-1).Draw(t, "at")]
		case "add":
			i := rapid.IntRange(header, len(content)).Draw(t, "at")
			edited = slices.Insert(bytes.Clone(content), i, rapid.SliceOfN(rapid.Byte(), 1, 3).Draw(t, "what")...)
		case "drop line":
			i := rapid.IntRange(0, len(lines)-1).Draw(t, "line")
			edited = bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil)
		case "repeat line":
			i := rapid.IntRange(0, len(lines)-2).Draw(t, "line")
			edited = bytes.Join(slices.Insert(slices.Clone(lines), i, lines[i]), nil)
		case "swap lines":
			i := rapid.IntRange(0, len(lines)-3).Draw(t, "line")
			moved := slices.Clone(lines)
			moved[i], moved[i+1] = moved[i+1], moved[i]
			edited = bytes.Join(moved, nil)
		}
		if _, _, err := trail.VerifyExport(bytes.NewReader(edited), nil); err == nil {
			t.Fatalf("not found:\n%s\n%s", content, edited)
		}
	})
}

func TestVerifyExport_SaysWhatIsWrong(t *testing.T) {
	entries, head := chain(t, 4)
	content := string(export(t, entries, head))
	lines := strings.SplitAfter(content, "\n")
	shown := func(from, to string) string {
		i := strings.Index(lines[2], `"finding":`)
		return lines[0] + lines[1] + lines[2][:i] + strings.Replace(lines[2][i:], from, to, 1) + lines[3] + lines[4] + lines[5]
	}
	for name, c := range map[string]struct{ content, says string }{
		"nothing":          {"", "first line is not the header"},
		"something else":   {`{"a":1}` + "\n", "first line is not the header"},
		"a later version":  {strings.Replace(content, `"version":1`, `"version":2`, 1), "version 2"},
		"cut off":          {strings.Join(lines[:4], ""), "entry 4: the file was cut off"},
		"cut in a line":    {content[:len(content)-2], "last line is not whole"},
		"entry missing":    {lines[0] + lines[1] + strings.Join(lines[3:], ""), "entry 2: missing"},
		"end missing":      {strings.Join(lines[:4], "") + lines[5], "entry 3: the entries end here"},
		"content edited":   {strings.Replace(content, `\"actor\":\"ann\"`, `\"actor\":\"eve\"`, 1), "entry 1: "},
		"readable edited":  {shown(`"actor":"ann"`, `"actor":"eve"`), "entry 2: what it shows differs"},
		"readable doubled": {shown(`"actor":"ann"`, `"actor":"ann","Actor":"eve"`), "entry 2: what it shows differs"},
		"more at the end":  {content + lines[1], "something follows"},
		"another head":     {strings.Replace(content, head.Hash, entries[0].Hash, 1), "newest entry"},
	} {
		_, _, err := trail.VerifyExport(strings.NewReader(c.content), nil)
		require.ErrorContains(t, err, c.says, name)
	}
}

func TestExporter_Filtered_ProvesNothing(t *testing.T) {
	entries, head := chain(t, 4)
	var b bytes.Buffer
	out := trail.NewExporter(&b, trail.Header{Head: head, Filters: map[string]string{"team_id": "payments"}})
	require.NoError(t, out.Add(entries[0]))
	require.NoError(t, out.Add(entries[2]))
	forged := entries[3]
	forged.Actor = "eve"
	require.Error(t, out.Add(forged), "each entry is checked for itself")
	require.NoError(t, out.Close())
	_, _, err := trail.VerifyExport(&b, nil)
	require.ErrorIs(t, err, trail.ErrFiltered)
}

func TestExporter_BrokenTrail_IsRefused(t *testing.T) {
	entries, head := chain(t, 4)
	var b bytes.Buffer
	out := trail.NewExporter(&b, trail.Header{Head: head})
	require.NoError(t, out.Add(entries[0]))
	var broken *trail.BrokenError
	require.ErrorAs(t, out.Add(entries[2]), &broken)
	require.Equal(t, int64(2), broken.Seq)
}

// FuzzVerifyExport: whatever the file, it is judged without a panic; and what holds is what was exported.
func FuzzVerifyExport(f *testing.F) {
	entries, head := chain(f, 3)
	good := export(f, entries, head)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte{0x1f, 0x8b, 0})
	f.Fuzz(func(t *testing.T, content []byte) {
		var read []trail.Entry
		h, last, err := trail.VerifyExport(bytes.NewReader(content), func(e trail.Entry) error { read = append(read, e); return nil })
		if err != nil {
			return
		}
		v := trail.NewVerifier(h.Anchor)
		for _, e := range read {
			require.NoError(t, v.Next(e))
		}
		require.NoError(t, v.Close(last))
	})
}

// Entries that were sealed before findings named reasons, plans, decisions and approvers verify as they stand.
func TestVerifier_EntriesFromBefore_HoldUnchanged(t *testing.T) {
	content, err := os.ReadFile("testdata/before.jsonl")
	require.NoError(t, err)
	var v trail.Verifier
	for line := range strings.Lines(string(content)) {
		var old struct{ Content, PrevHash, Hash string }
		require.NoError(t, json.Unmarshal([]byte(line), &old))
		finding, err := trail.Decode(old.Content)
		require.NoError(t, err)
		require.NoError(t, v.Next(trail.Entry{Finding: finding, Content: old.Content, PrevHash: old.PrevHash, Hash: old.Hash}))
		_, head, err := trail.Head{Seq: finding.Seq - 1, Hash: old.PrevHash}.Append(finding)
		require.NoError(t, err)
		require.Equal(t, old.Hash, head.Hash, "sealed again it is the same")
	}
	require.Equal(t, int64(3), v.Head().Seq)
}
