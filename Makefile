# What the project is built and tested with. Nothing but Go needs to be there.

GO          ?= go
STATICCHECK ?= $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
# How long `make fuzz` spends on each target.
FUZZTIME    ?= 20s
# How long one package's tests may take.
TIMEOUT     ?= 10m
# How many tests of one package run beside each other, where they may: many of them
# wait for most of their time.
PARALLEL    ?= 4
# Packages with goroutines: `make test` runs them a second time with the race
# detector, shortened; `make race` runs everything with it.
CONCURRENT  ?= ./stream/... ./checkpoint/... ./processors/... ./lease/... ./engine/... ./kinesis/... ./fanout/... ./worker/... ./internal/cli/...

.DEFAULT_GOAL := help
.PHONY: help fmt lint vet layout test test-kcl mutants race bench fuzz prove

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

fmt: ## format every file
	gofmt -w .

lint: vet ## look for mistakes: gofmt, go vet, staticcheck (staticcheck.conf tells the exceptions)
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted, run make fmt:"; echo "$$unformatted"; exit 1; fi
	$(STATICCHECK) ./...
	cd benchmarks && $(STATICCHECK) ./...

vet: ## go vet, the benchmarks' module too
	$(GO) vet ./...
	cd benchmarks && $(GO) vet ./...

layout: ## who may import whom, and other rules of the house (layout_test.go)
	$(GO) test -count=1 .

test: vet layout ## everything that is promised: all tests, the concurrent packages with the race detector, the mutants
	$(GO) test -timeout $(TIMEOUT) -parallel $(PARALLEL) ./...
	cd benchmarks && $(GO) test -timeout $(TIMEOUT) ./...
	$(GO) test -timeout $(TIMEOUT) -race -short $(CONCURRENT)
	$(GO) run ./internal/mutants

test-kcl: ## the Java KCL and the KPL against the served API; Millrace and the KCL go on with each other's leases (needs Java and Maven)
	MILLRACE_KCL=1 $(GO) test -count=1 -timeout $(TIMEOUT) -run 'KCL|KPL' ./internal/clients

mutants: ## take each safety mechanism out of the source, one by one: a test that names it has to fail
	$(GO) run ./internal/mutants

race: ## all tests with the race detector, not shortened
	$(GO) test -timeout 30m -race ./...

bench: ## the benchmarks beside the code (scenarios: benchmarks/)
	$(GO) test -run '^$$' -bench . -benchmem ./...

fuzz: ## each fuzz target for FUZZTIME (20s)
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package || exit 1; \
		done; \
	done

prove: ## all proofs at full length, which takes hours, and PROOFS.md (go run ./internal/prove -list)
	$(GO) run ./internal/prove
