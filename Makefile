# Everything that a developer does. `make` alone prints this list.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

GO      ?= go
TIME    ?= 1s
EFFORT  ?= 0.2
PKG     ?= ./...
modules := . examples/acme tests/sdk/go

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: build
build: ## build bin/headrace, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o bin/headrace ./cmd/headrace

.PHONY: run
run: ## run the gateway with gateway.yaml
	$(GO) run ./cmd/headrace run

.PHONY: check
check: ## look for problems in the files that ship
	$(GO) run ./cmd/headrace check --config gateway.yaml
	$(GO) run ./cmd/headrace check --config examples/plain.yaml
	EMBEDDER_URL=http://localhost:8082/v1 $(GO) run ./cmd/headrace check --config examples/meaning.yaml
	QDRANT_URL=http://localhost:6334 NEO4J_URI=bolt://localhost:7687 NEO4J_PASSWORD=x $(GO) run ./cmd/headrace check --config examples/stores.yaml

.PHONY: test
test: ## all Go tests, without the race detector
	$(GO) test $(PKG)

.PHONY: race
race: ## all Go tests, with the race detector, in random order
	$(GO) test -race -shuffle=on -count=1 -timeout 5m $(PKG)

.PHONY: suites
suites: ## the OpenAI libraries and the real LiteLLM against the gateway, and the real servers behind the stores, and a real embedder (needs Python, Node, JDK 17 and Maven)
	@[ -n "$${HEADRACE_SUITES:-}" ] || tests/setup.sh
	HEADRACE_SUITES=$${HEADRACE_SUITES:-all} HEADRACE_RACE=1 $(GO) test -v -count=1 -timeout 20m ./tests/sdk ./tests/litellm ./tests/models ./tests/stores

.PHONY: example
example: ## the third party's module in examples/acme
	# -mod=mod: what the gateway newly needs, this module needs too; `make tidy` tells.
	cd examples/acme && export GOFLAGS=-mod=mod && $(GO) vet ./... && $(GO) test -race -count=1 ./...

.PHONY: fuzz
fuzz: ## every fuzz target for TIME each (make fuzz TIME=1m)
	@$(GO) list -f '{{$$dir := .Dir}}{{range .TestGoFiles}}{{$$dir}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$$dir}}/{{.}}{{"\n"}}{{end}}' ./... | \
	while read -r file; do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]+).*/\1/p' "$$file"); do \
			echo "$$file $$target"; \
			(cd "$$(dirname "$$file")" && $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(TIME) . </dev/null); \
		done; \
	done

.PHONY: bench
bench: ## the gateway against its floors: ten minutes, report in bin/bench
	$(GO) run ./benchmarks -out bin/bench

.PHONY: bench-peers
bench-peers: ## the same with nginx, HAProxy, LiteLLM and Portkey, where installed
	$(GO) run ./benchmarks -peers -out bin/bench

.PHONY: bench-gate
bench-gate: ## fail if a ratio has become worse than benchmarks/goals.go holds it to (a repeat included)
	$(GO) run ./benchmarks -gate -effort $(EFFORT)

.PHONY: bench-compare
bench-compare: ## Go benchmarks of PKG at BASE (a commit) against this tree, in turns, through benchstat
	$(GO) run ./benchmarks compare -base "$${BASE:-HEAD}" $(PKG)

.PHONY: fmt
fmt: ## format every Go file
	gofmt -s -w $$(git ls-files -co --exclude-standard '*.go')

.PHONY: format
format: ## fail if a file is not formatted
	@bad=$$(gofmt -s -l $$(git ls-files -co --exclude-standard '*.go')); [ -z "$$bad" ] || { echo "not formatted (make fmt):"; echo "$$bad"; exit 1; }

.PHONY: vet
vet: ## go vet, also of the tests with the Go library
	$(GO) vet ./...
	cd tests/sdk/go && $(GO) vet ./...

.PHONY: lint
lint: ## golangci-lint with .golangci.yml, built from tools/ (the first time takes minutes)
	$(GO) tool -modfile=tools/go.mod golangci-lint run

.PHONY: tidy
tidy: ## fail if a go.mod or go.sum is not what `go mod tidy` makes
	@for m in $(modules); do (cd $$m && $(GO) mod tidy -diff); done

.PHONY: generate
generate: ## renew what programs write: the settings in the README files of plugins and providers
	$(GO) generate ./...

.PHONY: verify
verify: format vet build check race example ## everything that must pass; the suites too, where CI is set or tests/setup.sh has run
	@tools=$${HEADRACE_TOOLS:-$${XDG_CACHE_HOME:-$$HOME/.cache}/headrace-test}; \
	if [ -n "$${CI:-}" ] || [ -d "$$tools" ]; then $(MAKE) --no-print-directory suites; \
	else echo "the suites of other languages were left out; make suites runs them"; fi
	@echo "verify: all good"
