#!/usr/bin/env bash
# Lays the third-party protos out in .protodeps, where buf.yaml expects them. They come from published packages and are
# never committed: validate.proto from protovalidate's Go module, google/api from the npm package google-proto-files.
set -euo pipefail
cd "$(dirname "$0")/../.."

protovalidate=github.com/bufbuild/protovalidate@v1.2.2

bin=$(deploy/local/tools.sh node)
stamp=".protodeps/$(echo "$protovalidate $(basename "$(dirname "$(dirname "$bin")")")" | tr '/ ' '__')"
[[ -e $stamp ]] && exit 0

module=$(GOWORK=off GOFLAGS= go mod download -json "$protovalidate" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)".*/\1/p')
rm -rf .protodeps
mkdir -p .protodeps/protovalidate/buf/validate .protodeps/googleapis/google/api
install -m 644 "$module/proto/protovalidate/buf/validate/validate.proto" .protodeps/protovalidate/buf/validate/
install -m 644 "$bin"/../google-proto-files/google/api/{annotations,http}.proto .protodeps/googleapis/google/api/
touch "$stamp"
