#!/usr/bin/env bash
# Installs the tools that lint and generate use, each in its pinned version, into the cache, and prints the directories to
# put on PATH. What is there already is left as it is; a new version comes to lie beside the old one.
#
# Usage: tools.sh [group…]   groups: go (linter, generators), node (buf, third-party protos); all when none is named
set -euo pipefail

tools="${XDG_CACHE_HOME:-$HOME/.cache}/nthlayer/tools"

go_tools=(
	github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1
	google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
	google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
	github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-grpc-gateway@v2.33.0
	github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-openapiv2@v2.33.0
)
# buf comes as a program from its npm package in seconds; building it takes minutes.
node_tools=(
	@bufbuild/buf@1.75.0
	google-proto-files@5.0.3
)

go_tool() {
	local module=${1%@*} version=${1#*@}
	local dir="$tools/${module##*/}-$version"
	echo "$dir"
	[[ -x $dir/${module##*/} ]] && return
	echo "installing ${module##*/} $version" >&2
	GOBIN="$dir" GOWORK=off GOFLAGS= go install "$1" >&2
}

# One directory for a set of versions, moved into place when it is whole.
node_modules() {
	local dir="$tools/node-${node_tools[0]##*@}-${node_tools[1]##*@}"
	echo "$dir/node_modules/.bin"
	[[ -d $dir ]] && return
	if ! command -v npm >/dev/null; then
		echo "npm is needed for buf and the third-party protos: install Node.js 20 or newer (Debian, Ubuntu: apt-get install npm)" >&2
		exit 1
	fi
	echo "installing ${node_tools[*]}" >&2
	rm -rf "$dir.new"
	mkdir -p "$dir.new"
	npm install --prefix "$dir.new" --no-audit --no-fund --loglevel=error "${node_tools[@]}" >&2
	mv "$dir.new" "$dir"
}

for group in "${@:-go node}"; do
	for name in $group; do
		case $name in
		go) for tool in "${go_tools[@]}"; do go_tool "$tool"; done ;;
		node) node_modules ;;
		*) echo "tools.sh: no group $name" >&2; exit 1 ;;
		esac
	done
done
