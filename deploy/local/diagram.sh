#!/usr/bin/env bash
# Writes the flow as it is compiled into docs/architecture.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec go run ./cmd/nthlayer flow graph --embed docs/architecture.md
