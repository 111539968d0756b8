# Targets for people; ".ci/run" runs the checks of a change. Only Go is needed:
# linters are fetched and built by the go command.

GOLANGCI_VERSION    := v2.6.2
STATICCHECK_VERSION := v0.8.2

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS  := $(if $(VERSION),-X main.version=$(VERSION))
FUZZTIME ?= 10s
FUZZED   := schemas/layouts:FuzzRead schemas/layouts:FuzzFormats pipeline/csvio:FuzzCSV pipeline/csvio:FuzzOptions pipeline/parquetio:FuzzParquet pipeline/arrowio:FuzzArrow pipeline/spill:FuzzRowsOf loaders/ndjson:FuzzFoldJournal internal/verify:FuzzResource pipeline/kafkaio:FuzzBatch pipeline/messages:FuzzJSON pipeline/messages:FuzzAvro pipeline/messages:FuzzProtobuf internal/store/owner:FuzzMessages internal/store/owner:FuzzDecode internal/api:FuzzSearch internal/api:FuzzRequests internal/api:FuzzCursors internal/api:FuzzQuery

.DEFAULT_GOAL := help
.PHONY: help demo build install test race vet lint staticcheck golden mapping docs generate fuzz bench bench-check bench-baseline microbench cover tidy-check clean ci

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## make a synthetic extract, load it, look at it
	go run ./cmd/cpcds2fhir demo

# Without -trimpath: it would compile every package again that `go run` has compiled.
build: ## build bin/cpcds2fhir and bin/cpcds2fhir-verify
	@mkdir -p bin
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

install: ## install both programs into GOBIN
	go install -ldflags '$(LDFLAGS)' ./cmd/...

test: ## run all tests
	go test ./...

race: ## run the short tests under the race detector (needs a C compiler)
	go test -race -short ./...

vet: ## run go vet
	go vet ./...

lint: ## run the linters of .golangci.yml
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION) run ./...

staticcheck: ## run staticcheck alone
	go run honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK_VERSION) ./...

golden: ## rewrite testdata/claims with what the engine makes of it; read the diff
	go test ./pipeline/batchrun -run 'TestGolden$$' -update
	go test ./pipeline/batchrun -run TestOutput -update

mapping: ## find out again what every column becomes; read the diff, then make docs
	go test ./pipeline/batchrun -run TestMapping -update

docs: ## rewrite the tables of docs/ that are made from the program
	go test ./internal/rooms -run "RejectsPage|MappingPage" -update

generate: ## make the generated code again
	go generate ./...

# A bad input is kept, and fails the second time too; a fuzzer that was not done when
# its time was up, on a busy machine, is not. Inputs of files are long: making each that
# is new as short as it can be would take all of the time.
fuzz: ## fuzz each target for FUZZTIME (10s)
	@set -e; for f in $(FUZZED); do \
		run="go test ./$${f%%:*} -run ^$$ -fuzz ^$${f##*:}$$ -fuzztime $(FUZZTIME) -fuzzminimizetime 1x"; \
		$$run || $$run; \
	done

bench: ## measure against floors and peers; writes bench/RESULTS.md (40 minutes; BENCH='--only 1,2')
	go run ./bench $(BENCH)

bench-check: ## fail if a ratio is more than 20% worse than in bench/baseline.json
	go run ./bench --check --claims 50000 --only 2,4,5,7,10,11 $(BENCH)

bench-baseline: ## write bench/baseline.json anew, for bench-check
	go run ./bench --save-baseline --claims 50000 --only 2,4,5,7,10,11

microbench: ## run the benchmarks of the packages
	go test -run '^$$' -bench . -benchmem ./...

cover: ## show what the tests cover
	@mkdir -p bin
	go test -coverpkg=./... -coverprofile=bin/cover.out ./...
	go tool cover -func=bin/cover.out | tail -n 1

tidy-check: ## fail if go.mod or go.sum would change
	go mod tidy -diff

clean: ## remove what the targets made
	rm -rf bin demo

ci: tidy-check vet lint test race build ## what must pass before a change goes in
