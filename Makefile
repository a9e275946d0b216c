# NthLayer. `make demo` shows what it does, `make test` runs every test; both install what they miss.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The race detector needs a C compiler. CI must not go without.
RACE := $(if $(shell command -v "$$(go env CC)"),-race,$(if $(NTHLAYER_TEST_REQUIRE),$(error no C compiler for the race detector: run make deps)))
PROGRAMS := ./cmd/nthlayer ./services/gateway ./services/reconcile-worker ./services/audit-scheduler ./services/notifier
MODULES := $(addsuffix /...,./cmd/nthlayer ./pkg ./proto $(wildcard ./services/*))

.PHONY: help
help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the CLI and the services into bin/
	@go build -o bin/ $(PROGRAMS)

.PHONY: demo
demo: postgres build ## Reconcile a drifted team of an example organisation, start to end
	@bin/nthlayer demo

.PHONY: dev
dev: postgres build ## Keep the whole system running on this machine until Ctrl-C
	@bin/nthlayer dev

.PHONY: test
test: postgres ## Run every test of every module with the race detector
	@$(if $(RACE),,echo "no C compiler: the race detector is off";) \
	go test -json $(RACE) -timeout 15m work | go run ./pkg/testkit/testreport

FUZZTIME ?= 10s

.PHONY: fuzz
fuzz: postgres ## Fuzz every decoder of outside input, each for FUZZTIME (10s)
	@deploy/local/fuzz.sh $(FUZZTIME) $(MODULES)

# Without the race detector: it would slow the simulators down, which are not what is tested here.
.PHONY: chaos
chaos: postgres ## Hurt a whole system for ten minutes and have it judged (NTHLAYER_CHAOS_SEED=n repeats the faults)
	@NTHLAYER_CHAOS_TIME=$${NTHLAYER_CHAOS_TIME:-9m} go test ./cmd/nthlayer/chaos -run TestChaos -v -count=1 -timeout 25m

.PHONY: chaos-short
chaos-short: ## The same in three minutes, always with the same faults
	@NTHLAYER_CHAOS_TIME=3m NTHLAYER_CHAOS_SEED=1 $(MAKE) chaos

# Without the race detector: it would slow down what is measured.
.PHONY: bench-audit
bench-audit: postgres ## Time audits of a company and of a large fleet, with what the quotas allow beside each figure (8 minutes)
	@go test ./pkg/store -run '^$$' -bench AuditFindings -benchtime 20x -count=1 -timeout 10m
	@go test ./cmd/nthlayer/e2e -run '^$$' -bench Audit -benchtime 1x -count=1 -timeout 30m

.PHONY: lint
lint: protodeps ## Check code, walls between packages, protos, and that the API did not break
	@export PATH="$$(deploy/local/tools.sh | paste -sd:):$$PATH"; \
	golangci-lint run $(MODULES); \
	buf format proto --diff --exit-code; \
	buf lint; \
	buf breaking proto --against proto/baseline.binpb; \
	echo "lint: ok"

.PHONY: generate
generate: protodeps ## Write everything generated anew: protos, SQL, docs
	@export PATH="$$(deploy/local/tools.sh | paste -sd:):$$PATH"; \
	buf generate; \
	(cd pkg/store && sqlc generate); \
	go generate work; \
	echo "generate: ok"

.PHONY: baseline
baseline: protodeps ## Make the API as it is now the one that `make lint` compares with
	@export PATH="$$(deploy/local/tools.sh node):$$PATH"; \
	buf build proto --exclude-source-info -o proto/baseline.binpb

.PHONY: deps
deps: postgres protodeps ## Install what the other targets need
	@deploy/local/cc.sh
	@deploy/local/tools.sh >/dev/null
	@[[ -d deploy/test/fauxqs/node_modules ]] || npm ci --prefix deploy/test/fauxqs --no-audit --no-fund --loglevel=error
	@echo "deps: ok"

.PHONY: postgres
postgres:
	@deploy/local/postgres.sh

.PHONY: protodeps
protodeps:
	@deploy/local/protodeps.sh

.PHONY: clean
clean: ## Remove what was built and the state of dev and demo
	@rm -rf bin .nthlayer
