// Testreport reads `go test -json` from its standard input and says what a person wants to know: a line a package, the
// output of what failed, every skipped test with its reason, and one last line with the numbers. It exits with 1 when
// anything failed, and also when no test ran: a broken pipe must not look like success.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	r := newReport(os.Stdout)
	started := time.Now()
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
	if !r.summary(time.Since(started)) {
		os.Exit(1)
	}
}

// event is one line of `go test -json` (go doc test2json; build events: go help buildjson).
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

type testID struct{ pkg, test string }

type report struct {
	to            io.Writer
	output        map[testID][]string // of tests that are not over, and of packages under an empty test name
	build         map[string][]string // compiler output by import path
	skips         []skip
	passed        int
	failedTests   []testID
	failedPackage []string
}

type skip struct {
	id     testID
	reason string
}

func newReport(to io.Writer) *report {
	return &report{to: to, output: map[testID][]string{}, build: map[string][]string{}}
}

func (r *report) read(from io.Reader) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil {
				r.add(e)
			} else {
				fmt.Fprintf(r.to, "%s", line) // not of go test: show it
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the events: %w", err)
		}
	}
}

func (r *report) add(e event) {
	id := testID{e.Package, e.Test}
	switch e.Action {
	case "output":
		r.output[id] = append(r.output[id], e.Output)
	case "build-output":
		r.build[e.ImportPath] = append(r.build[e.ImportPath], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(e.Action, id)
		}
		delete(r.output, id)
	}
}

func (r *report) endTest(action string, id testID) {
	switch action {
	case "pass":
		r.passed++
	case "skip":
		r.skips = append(r.skips, skip{id, reason(r.output[id])})
	case "fail":
		r.failedTests = append(r.failedTests, id)
		fmt.Fprint(r.to, strings.Join(r.output[id], ""))
	}
}

func (r *report) endPackage(e event) {
	name := short(e.Package)
	switch e.Action {
	case "pass":
		fmt.Fprintf(r.to, "ok    %-50s %6.1fs\n", name, e.Elapsed)
	case "fail":
		r.failedPackage = append(r.failedPackage, e.Package)
		fmt.Fprint(r.to, strings.Join(r.build[e.FailedBuild], ""))
		// What belongs to no single test: a panic, a data race, goroutines left, a test that never ended.
		for id, output := range r.output {
			if id.pkg == e.Package {
				fmt.Fprint(r.to, strings.Join(output, ""))
				delete(r.output, id)
			}
		}
		fmt.Fprintf(r.to, "FAIL  %-50s %6.1fs\n", name, e.Elapsed)
	}
	// A package that is skipped has no tests: nothing to say.
}

// summary prints the end of the report and says whether all is well.
func (r *report) summary(took time.Duration) bool {
	if len(r.skips) > 0 {
		fmt.Fprintf(r.to, "\nskipped:\n")
		slices.SortFunc(r.skips, func(a, b skip) int {
			return cmp.Or(cmp.Compare(a.id.pkg, b.id.pkg), cmp.Compare(a.id.test, b.id.test))
		})
		for _, s := range r.skips {
			fmt.Fprintf(r.to, "  %s %s: %s\n", short(s.id.pkg), s.id.test, s.reason)
		}
	}
	ok := len(r.failedTests) == 0 && len(r.failedPackage) == 0 && r.passed > 0
	if !ok {
		fmt.Fprintf(r.to, "\nfailed:\n")
		for _, id := range r.failedTests {
			fmt.Fprintf(r.to, "  %s %s\n", short(id.pkg), id.test)
		}
		for _, pkg := range r.failedPackage {
			fmt.Fprintf(r.to, "  %s\n", short(pkg))
		}
	}
	word := "PASS"
	if !ok {
		word = "FAIL"
	}
	fmt.Fprintf(r.to, "\n%s: %d tests passed, %d failed, %d skipped in %s\n",
		word, r.passed, len(r.failedTests), len(r.skips), took.Round(100*time.Millisecond))
	return ok
}

// reason is the text a test gave to Skip.
func reason(output []string) string {
	var words []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if _, text, ok := strings.Cut(line, ".go:"); ok { // file.go:12: text
			if _, text, ok = strings.Cut(text, ": "); ok {
				line = text
			}
		}
		words = append(words, line)
	}
	return cmp.Or(strings.Join(words, " "), "no reason given")
}

func short(pkg string) string { return strings.TrimPrefix(pkg, "github.com/nthlayer/nthlayer/") }
