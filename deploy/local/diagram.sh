#!/usr/bin/env bash
# Writes the flows as they are compiled into docs/architecture.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
for flow in team.reconcile team.audit; do
	go run ./cmd/nthlayer flow graph "$flow" --embed docs/architecture.md
done
