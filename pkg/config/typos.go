package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

const (
	ownPrefix = "NTHLAYER_"
	// closeBy edits make a typo: a letter forgotten, doubled or wrong, or two exchanged.
	closeBy = 2
)

func typos(root reflect.Value, set map[string]string) []string {
	var unset []string
	known := make(map[string]bool)
	for l := range leaves(root) {
		known[l.Name] = true
		if _, ok := set[l.Name]; !ok {
			unset = append(unset, l.Name)
		}
	}
	var found []string
	for name := range set {
		if known[name] || !strings.HasPrefix(name, ownPrefix) {
			continue
		}
		for _, candidate := range unset {
			if distance(name, candidate) <= closeBy {
				found = append(found, fmt.Sprintf("%s is not a variable of this service; did you mean %s?", name, candidate))
			}
		}
	}
	slices.Sort(found)
	return found
}

// distance is how many letters must be put in, taken out or replaced to make a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
