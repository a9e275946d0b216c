#!/usr/bin/env bash
# Writes the flow as it is compiled into docs/architecture.md, between its two markers.
set -euo pipefail
cd "$(dirname "$0")/../.."
page=docs/architecture.md
diagram=$(go run ./cmd/nthlayer flow graph)
awk -v diagram="$diagram" '
	/<!-- end: nthlayer flow graph -->/ { inside = 0 }
	!inside { print }
	/<!-- begin: nthlayer flow graph -->/ { inside = 1; print "```mermaid\n" diagram "\n```" }
' "$page" >"$page.new"
mv "$page.new" "$page"
