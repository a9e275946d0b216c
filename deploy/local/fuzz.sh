#!/usr/bin/env bash
# Fuzzes every target of the packages for a bounded time each, one after the other, and says what was found.
# usage: fuzz.sh <time, for example 10s> <packages…>
set -euo pipefail

time=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT

targets=0
found=()
while read -r package dir; do
	while read -r target; do
		targets=$((targets + 1))
		printf '%-80s ' "$package $target"
		if go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" >"$log" 2>&1; then
			grep -o 'execs: [0-9]*' "$log" | tail -1 || echo "no inputs beyond the corpus"
		else
			echo "FOUND"
			cat "$log"
			found+=("$package $target")
		fi
	done < <(grep -hos '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed 's/^func //' | sort -u)
done < <(go list -f '{{.ImportPath}} {{.Dir}}' "$@")

if ((targets == 0)); then
	echo "fuzz: no targets in $*" >&2
	exit 1
fi
if ((${#found[@]} > 0)); then
	echo "fuzz: ${#found[@]} of $targets targets found something: ${found[*]}; their inputs are in testdata/fuzz of the package" >&2
	exit 1
fi
echo "fuzz: $targets targets, $time each, nothing found"
