package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const passing = `{"Action":"run","Package":"github.com/nthlayer/nthlayer/pkg/a","Test":"TestGood"}
{"Action":"output","Package":"github.com/nthlayer/nthlayer/pkg/a","Test":"TestGood","Output":"chatter\n"}
{"Action":"pass","Package":"github.com/nthlayer/nthlayer/pkg/a","Test":"TestGood","Elapsed":0.1}
{"Action":"output","Package":"github.com/nthlayer/nthlayer/pkg/a","Test":"TestOther","Output":"=== RUN   TestOther\n"}
{"Action":"output","Package":"github.com/nthlayer/nthlayer/pkg/a","Test":"TestOther","Output":"    a_test.go:9: no Node here\n"}
{"Action":"output","Package":"github.com/nthlayer/nthlayer/pkg/a","Test":"TestOther","Output":"--- SKIP: TestOther (0.00s)\n"}
{"Action":"skip","Package":"github.com/nthlayer/nthlayer/pkg/a","Test":"TestOther","Elapsed":0}
{"Action":"pass","Package":"github.com/nthlayer/nthlayer/pkg/a","Elapsed":1.25}
`

func TestReport_AllPass_NamesSkipsAndEndsWithThePlainNumbers(t *testing.T) {
	out, ok := report1(t, passing)
	require.True(t, ok)
	require.Equal(t, `ok    pkg/a                                                 1.2s

skipped:
  pkg/a TestOther: no Node here

PASS: 1 tests passed, 0 failed, 1 skipped in 3s
`, out)
}

func TestReport_TestFails_ShowsItsOutput(t *testing.T) {
	out, ok := report1(t, passing+`{"Action":"output","Package":"p","Test":"TestBad","Output":"want 1, got 2\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"fail","Package":"p","Elapsed":0.5}
`)
	require.False(t, ok)
	require.Contains(t, out, "want 1, got 2\n")
	require.Contains(t, out, "failed:\n  p TestBad\n")
}

func TestReport_BuildFails_ShowsTheCompilersWords(t *testing.T) {
	out, ok := report1(t, passing+`{"ImportPath":"p [p.test]","Action":"build-output","Output":"p/x.go:1: undefined: y\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p [p.test]"}
`)
	require.False(t, ok)
	require.Contains(t, out, "undefined: y")
}

func TestReport_TestNeverEnds_ShowsWhatItSaid(t *testing.T) {
	out, ok := report1(t, passing+`{"Action":"output","Package":"p","Test":"TestPanics","Output":"panic: boom\n"}
{"Action":"fail","Package":"p","Elapsed":0.5}
`)
	require.False(t, ok)
	require.Contains(t, out, "panic: boom")
}

func TestReport_NothingRan_IsNoSuccess(t *testing.T) {
	out, ok := report1(t, "go: no such tool\n")
	require.False(t, ok)
	require.Contains(t, out, "no such tool")
}

func report1(t *testing.T, events string) (string, bool) {
	t.Helper()
	var out strings.Builder
	r := newReport(&out)
	require.NoError(t, r.read(strings.NewReader(events)))
	ok := r.summary(3 * time.Second)
	return out.String(), ok
}
