#!/usr/bin/env bash
# Makes sure that a C compiler is there: Go's race detector links through one. Without it the tests run without the race
# detector and say so.
set -euo pipefail

if compiler=$(command -v "$(go env CC)"); then
	echo "C compiler: $compiler"
	exit 0
fi
if command -v apt-get >/dev/null; then
	as_root=()
	[[ $(id -u) == 0 ]] || as_root=(sudo -n)
	if "${as_root[@]}" true 2>/dev/null; then
		echo "C compiler: installing gcc with apt-get"
		"${as_root[@]}" apt-get update -qq
		"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null
		exit 0
	fi
fi
echo "C compiler: none; the tests will run without the race detector. Install gcc to have it." >&2
