# Everything a developer or CI runs. `make` alone lists the targets.
#
# `make test` and `make demo` need Go and make. `make check` needs bash, git and
# a C compiler (for the race detector) as well, and installs its own tools.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Stamped into the binaries. Git must not look above this directory, or a source
# archive unpacked inside some other repository would carry that one's version.
VERSION ?= $(or $(shell GIT_CEILING_DIRECTORIES='$(abspath ..)' git describe --tags --always --dirty 2>/dev/null),unknown)

# With go.work, ./... at the root matches nothing. This names every module.
PACKAGES := $$(go list -f '{{.Dir}}/...' -m)

# Tools, pinned. The version is part of the path, so a changed pin installs anew.
TOOLS         := $(CURDIR)/.tools
GOLANGCI_LINT := $(TOOLS)/golangci-lint@v2.15.0/golangci-lint
BUF           := $(TOOLS)/buf@v1.75.0/buf
PROTOC_GEN_GO := $(TOOLS)/protoc-gen-go@v1.36.12/protoc-gen-go
BENCHSTAT     := $(TOOLS)/benchstat@v0.0.0-20260908200009-22c9c6c9d4da/benchstat

# --- running ------------------------------------------------------------------

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: build ## run the whole story on real processes in a temporary directory, then stop them
	@exec bin/revocast demo

.PHONY: dev
dev: build ## run the development stack on its default ports until Ctrl-C
	@exec bin/revocast dev

# --- building -----------------------------------------------------------------

.PHONY: build
build: ## build bin/issuer, bin/sidecar, bin/revocast and bin/loadtest, static
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ \
		./services/cmd/issuer ./services/cmd/revocast ./sidecar/cmd/sidecar ./loadtest/cmd/loadtest

.PHONY: generate
generate: $(BUF) $(PROTOC_GEN_GO) ## regenerate the Protocol Buffers code
	cd events && PATH='$(dir $(PROTOC_GEN_GO))':"$$PATH" $(BUF) generate

.PHONY: fmt
fmt: $(GOLANGCI_LINT) $(BUF) ## format Go and Protocol Buffers sources in place
	$(GOLANGCI_LINT) fmt
	cd events && $(BUF) format -w

.PHONY: tools
tools: $(GOLANGCI_LINT) $(BUF) $(PROTOC_GEN_GO) $(BENCHSTAT) ## install the pinned tools into .tools/

$(GOLANGCI_LINT): PACKAGE := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(BUF):           PACKAGE := github.com/bufbuild/buf/cmd/buf
$(PROTOC_GEN_GO): PACKAGE := google.golang.org/protobuf/cmd/protoc-gen-go
$(BENCHSTAT):     PACKAGE := golang.org/x/perf/cmd/benchstat

$(GOLANGCI_LINT) $(BUF) $(PROTOC_GEN_GO) $(BENCHSTAT):
	GOBIN='$(@D)' GOWORK=off CGO_ENABLED=0 go install '$(PACKAGE)$(patsubst $(@F)%,%,$(notdir $(@D)))'

.PHONY: clean
clean: ## remove what was built or measured (the tools stay)
	rm -rf bin loadtest/out

# --- testing ------------------------------------------------------------------

.PHONY: test
test: ## run every test of every module
	@go test -timeout 30m $(PACKAGES)

# What drives binaries has none of our code in its own process: the detector would see
# the test alone, and make test has run it.
.PHONY: race
race: ## the same with the race detector, in random order, but for tests of whole binaries
	@go test -race -shuffle=on -timeout 30m $$(go list $(PACKAGES) | grep -v /services/e2e)
	@go test -race -tags clockoffset ./sidecar/internal/clock

.PHONY: fuzz
fuzz: ## fuzz every target for a few seconds (FUZZTIME=5s)
	@FUZZTIME='$(or $(FUZZTIME),5s)' scripts/fuzz.sh

.PHONY: bench
bench: ## run the quick Go benchmarks, as benchstat reads them (BENCH=regexp COUNT=6; PROOF=full: all)
	@go test $(if $(filter full,$(PROOF)),-timeout 3h,-short) -run '^$$' -bench '$(or $(BENCH),.)' -benchmem -count $(or $(COUNT),6) $(PACKAGES)

.PHONY: benchstat
benchstat: $(BENCHSTAT) ## compare two saved runs of make bench (OLD=file NEW=file)
	@$(BENCHSTAT) $(OLD) $(NEW)

# quick takes a few minutes; full repeats every case five times.
.PHONY: loadtest
loadtest: build ## load systems of its own on this machine; report in loadtest/out (PROFILE=full: for hours)
	@scripts/loadtest.sh '$(or $(PROFILE),quick)' loadtest/out

.PHONY: keycloak
keycloak: ## run the tests beside a real Keycloak, which is fetched first (JDK of 17, 21 or 25)
	@settings=$$(scripts/install-keycloak.sh) && eval "$$settings" && go test -count=1 -v -timeout 20m ./services/e2e/keycloak

# The names are those of the proxies; `-unix` is the same one, asking over a Unix socket.
PROXIES := nginx haproxy caddy traefik envoy
.PHONY: proxies
proxies: ## install real proxies and test deploy/proxies with them (PROXIES="nginx envoy": only these)
	@PROXIES_DIR='$(TOOLS)/proxies' scripts/install-proxies.sh $(PROXIES)
	@REVOCAST_PROXIES='$(TOOLS)/proxies' go test -count=1 -timeout 20m \
		-run '^Test(Readings|Documented|Proxies)$$/^($(subst $() ,|,$(strip $(PROXIES))))(-unix)?$$' ./services/e2e/proxies

# --- what CI runs -------------------------------------------------------------

# Cheap phases first. The race tests come last, so that a run ends with Go's lines.
CHECKS := check-format lint check-proto check-docs check-tidy vet build-alone fuzz check-proxies race

.PHONY: check
check: ## everything CI checks: format, lint, generated code, docs, builds, fuzz, race tests
	@set -e; for phase in $(CHECKS); do \
		echo "== $$phase"; began=$$(date +%s); \
		$(MAKE) --no-print-directory "$$phase"; \
		echo "== $$phase: $$(($$(date +%s) - began)) s"; \
	done

.PHONY: check-format
check-format: $(GOLANGCI_LINT) $(BUF)
	@$(GOLANGCI_LINT) fmt --diff
	@cd events && $(BUF) format --diff --exit-code

.PHONY: lint
lint: $(GOLANGCI_LINT) ## lint every module
	@$(GOLANGCI_LINT) run $(PACKAGES)

.PHONY: check-proto
check-proto: $(BUF) $(PROTOC_GEN_GO)
	@PATH='$(dir $(BUF))':'$(dir $(PROTOC_GEN_GO))':"$$PATH" scripts/check-proto.sh

.PHONY: check-docs
check-docs:
	@scripts/check-docs.sh

.PHONY: check-tidy
check-tidy:
	@set -e; for dir in $$(go list -f '{{.Dir}}' -m); do (cd "$$dir" && GOWORK=off go mod tidy -diff); done

# The one whose package is there in seconds, where the distribution has that version;
# make proxies is about all of them.
.PHONY: check-proxies
check-proxies:
	@PROXIES_DIR='$(TOOLS)/proxies' scripts/install-proxies.sh nginx >/dev/null; status=$$?; \
	case $$status in \
		0) $(MAKE) --no-print-directory proxies PROXIES=nginx ;; \
		3) echo 'nginx is not tested' ;; \
		*) exit $$status ;; \
	esac

.PHONY: vet
vet:
	@go vet $(PACKAGES)

# Each module must also build for those who fetch it without this workspace.
.PHONY: build-alone
build-alone:
	@set -e; for dir in $$(go list -f '{{.Dir}}' -m); do (cd "$$dir" && GOWORK=off go build ./...); done
