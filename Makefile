# Few, stable targets; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
FUZZTIME    ?= 30s

# Without cgo the binary is static, and builds in half the time.
export CGO_ENABLED ?= 0

.PHONY: help build demo test lint bench fuzz torture mutants loadtest peers recovery chaos evaluate kafka-up kafka-down

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A first build compiles all dependencies: a quarter faster without debug information, which -s drops in any case, and
# without garbage collection in compilers that stay below 1 GiB.
build: ## bin/farcall
	GOGC=off GOMEMLIMIT=1GiB go build -trimpath -gcflags=all=-dwarf=false -ldflags='-s -w' -o bin/farcall ./processor/cmd/farcall

demo: build ## watch farcall find intrusions on an embedded broker (ARGS="--seed 8")
	bin/farcall demo $(ARGS)

test: ## all tests, the concurrent ones with the race detector (needs a C compiler), Apache Kafka too where there is a Java
	go test $$(go list ./... | grep -v /loadtest)
	go test -count=1 ./loadtest/... # these run the built binary, which the test cache knows nothing of
	@if command -v $${CC:-cc} >/dev/null; then CGO_ENABLED=1 go test -race ./processor/stream ./state ./processor/geo; \
	else echo "SKIPPED: no C compiler, so no race detector"; test -z "$$FARCALL_NO_SKIP"; fi

lint: ## gofmt, go vet, staticcheck, go mod tidy, import direction
	@out=$$(gofmt -l .); test -z "$$out" || { echo "not gofmt-ed:"; echo "$$out"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	go mod tidy -diff
	go test ./processor/lint

bench: ## benchmarks of the hot path
	go test -run '^$$' -bench . -benchmem ./processor/cloudtrail ./processor/geo ./processor/route ./processor/detect

fuzz: ## every fuzz target for FUZZTIME
	@set -e; for pkg in $$(go list ./...); do for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg; done; done

mutants: ## take farcall's defences out one by one: some test must notice each (ARGS="-run stale", ARGS=-list)
	go run ./loadtest/mutants $(ARGS)

torture: ## random histories against the oracle, with new seeds, twice for DURATION (1h); FARCALL_SEED=N plays one again
	FARCALL_TORTURE=$(or $(DURATION),1h) go test -count=1 -v -timeout 0 ./processor/model

recovery: ## how soon farcall is ready again, and in how much memory, on Apache Kafka (ARGS="-rows 10000000")
	go run ./loadtest/recovery $(ARGS)

loadtest: ## farcall against a bare consumer and Kafka Streams, on Apache Kafka: speed, latency, growth, bad records; prints the tables of loadtest/RESULTS.md (ARGS="-events 500000 throughput")
	go run ./loadtest/bench -plots loadtest $(ARGS)

peers: ## build the same job in Kafka Streams, and run its tests (needs Java 17 and Maven); loadtest/peers/kafka-streams/README.md
	cd loadtest/peers/kafka-streams && mvn -q -B -C package

chaos: ## farcall on three nodes of Apache Kafka under 200 faults, and the proof that nothing was lost or doubled (CHAOS_ARGS="--seed 8")
	go run ./loadtest/chaos $(CHAOS_ARGS)

evaluate: build ## how many planted intrusions farcall finds, and at what noise, beside simpler engines; writes loadtest/EVALUATION.md (WORLDS=plain,small SEEDS=101 DAYS=15 HISTORY=30; ARGS="--tune --report= --misses")
	go run ./loadtest/evaluate --models --report loadtest/EVALUATION.md $(if $(WORLDS),--world $(WORLDS)) $(if $(SEEDS),--seed $(SEEDS)) $(if $(DAYS),--days $(DAYS)) $(if $(HISTORY),--history $(HISTORY)) $(ARGS)

kafka-up: ## start Apache Kafka on loopback in the background (needs Java 17 and Maven)
	@go run ./loadtest/kafka/cmd/kafka up

kafka-down: ## stop it
	@go run ./loadtest/kafka/cmd/kafka down
