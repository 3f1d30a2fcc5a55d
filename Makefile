# `make run` and `make test` do all the set-up they need: scripts/setup.sh says what that is.
#
# Everything is built with the release profile, and always for the whole workspace: so wasmtime is compiled once, for
# the binary, the tests and the benchmarks alike.

PORT ?= 5001

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PRECIOUS: target/release/scorebox
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

# Where things are built is fixed below; a setting of the user's would move them.
unexport CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR CARGO_BUILD_TARGET

RUST := scripts/rust.sh
CARGO := $(RUST) cargo
# In CI a Cargo.lock that does not fit its Cargo.toml is an error.
LOCKED := $(if $(CI),--locked)

BIN := target/release/scorebox
# One directory for all guests: the standard library for WebAssembly, where it has to be built, is built once.
BUILD_GUEST := CARGO_TARGET_DIR=$(CURDIR)/target/guests/build $(RUST) $(BIN) build

# Projects built for WebAssembly, as a user's are. They are no members of the workspace.
EXAMPLES := $(patsubst %/Cargo.toml,%,$(wildcard examples/*/Cargo.toml))
GLUE := guest-sdk/python/glue
GUESTS := $(patsubst %/Cargo.toml,%,$(wildcard tests/guests/*/Cargo.toml))
GUEST_WORKSPACE := $(patsubst %/Cargo.toml,%,$(wildcard tests/guests/Cargo.toml))
OUTSIDE := $(EXAMPLES) $(GLUE) $(or $(GUEST_WORKSPACE),$(GUESTS))

EXAMPLE_MODULES := $(EXAMPLES:%=%/model.wasm)
GUEST_MODULES := $(GUESTS:tests/guests/%=target/guests/%.wasm)

# $(call sources,DIR...): all files that a build may read, whatever their kind, but not what it writes.
sources = $(if $(wildcard $(1)),$(shell find $(wildcard $(1)) \( -name target -o -name __pycache__ -o -name '.*' \) -prune \
    -o -type f ! -name '*.wasm' ! -name '*.md' -print))
SDK_SOURCES := $(call sources,guest-sdk/rust wit)

.PHONY: help
help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

.PHONY: run
run: build python-runtime examples/iris-rust/model.wasm ## Serve examples/iris-python on port 5001 and iris-rust on 5002
	@PORT=$(PORT) scripts/run-examples.sh $(BIN)

.PHONY: test
test: setup-test fmt-check lint doc build guests examples python-runtime test-run fuzz-smoke ## Run all checks and all tests

.PHONY: build
build: setup $(BIN) ## Build the binary, target/release/scorebox

.PHONY: python-runtime
python-runtime: setup-python build target/guests/glue.wasm ## Make the Python runtime, target/release/python-runtime
	scripts/python-runtime.sh $(BIN) target/guests/glue.wasm target/release/scorebox-python-linker \
	    target/release/python-runtime

.PHONY: examples
examples: build $(EXAMPLE_MODULES) ## Build the examples, each into its model.wasm

.PHONY: guests
guests: build $(GUEST_MODULES) ## Build the guests of the tests, into target/guests

.PHONY: bench
bench: setup-bench build guests examples python-runtime ## Run the benchmarks
	$(TEST_ENV) $(CARGO) bench $(LOCKED) --workspace --bench instance --bench large_body
	$(TEST_ENV) target/release/scorebox-load

.PHONY: soak
soak: build guests examples python-runtime ## Send mixed traffic for 15 minutes (MINUTES=240), and fail where something grows
	$(TEST_ENV) target/release/scorebox-soak --minutes $(or $(MINUTES),15) --json target/soak.json

.PHONY: chaos
chaos: build guests python-runtime ## Manage ten tenants at random for 30 minutes (MINUTES=60), and kill the server each minute
	$(TEST_ENV) target/release/scorebox-chaos --minutes $(or $(MINUTES),30) --json target/chaos.json

.PHONY: fuzz-smoke
fuzz-smoke: setup-test build guests ## Fuzz everything that reads bytes from outside, for SECONDS each (default 10)
	$(TEST_ENV) scripts/fuzz.sh -seed=1 $(or $(SECONDS),10)

.PHONY: fuzz
fuzz: setup-test build guests ## Fuzz the target NAME for SECONDS (default 3600)
	$(TEST_ENV) scripts/fuzz.sh $(or $(SECONDS),3600) $(NAME)

.PHONY: conformance
conformance: build python-runtime ## Compare with Azure ML's inference server, case by case; write docs/conformance.md
	$(TEST_ENV) target/release/scorebox-conformance

.PHONY: screenshots
screenshots: setup-test build guests examples python-runtime ## Take the pictures of the console in docs/images
	SCOREBOX_SCREENSHOTS=$(CURDIR)/docs/images $(TEST_ENV) $(CARGO) test $(LOCKED) --workspace --release --test console pictures

.PHONY: audit
audit: setup-audit ## Check licences, sources and advisories of all dependencies
	@$(RUST) scripts/audit.sh . $(OUTSIDE)

.PHONY: fmt
fmt: setup-test ## Format all code
	$(CARGO) fmt --all
	@$(call each-outside,$(CARGO) fmt --all --manifest-path $$dir/Cargo.toml)

.PHONY: fmt-check
fmt-check: setup-test ## Check the format of all code
	$(CARGO) fmt --all --check
	@$(call each-outside,$(CARGO) fmt --all --check --manifest-path $$dir/Cargo.toml)

.PHONY: lint
lint: setup-test ## Run clippy on all code; shellcheck on the scripts and promtool on the alerts where they are installed
	$(CARGO) clippy $(LOCKED) --workspace --all-targets --release -- -D warnings
	@$(call each-outside,$(CARGO) clippy $(LOCKED) --manifest-path $$dir/Cargo.toml --target-dir target/lint \
	    --workspace --all-targets --release -- -D warnings)
	@if command -v shellcheck >/dev/null; then shellcheck -x scripts/*.sh .ci/run; fi
	@if command -v promtool >/dev/null; then promtool check rules docs/monitoring/alerts.yml; fi

.PHONY: doc
doc: setup ## Build the documentation, target/doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --no-deps --workspace --release

.PHONY: clean
clean: ## Remove all that was built
	rm -rf target $(EXAMPLE_MODULES) $(OUTSIDE:%=%/target)

# --- parts of the above ----------------------------------------------------------------------------------------------

.PHONY: setup setup-test setup-python setup-bench setup-audit
setup:
	@scripts/setup.sh build
setup-test setup-python setup-bench setup-audit: setup-%:
	@scripts/setup.sh $*

# What the black-box tests and benchmarks find the binary and the guests by.
TEST_ENV := SCOREBOX_BIN=$(CURDIR)/$(BIN) SCOREBOX_GUESTS=$(CURDIR)/target/guests

.PHONY: test-run
test-run: build guests examples python-runtime
	@$(TEST_ENV) scripts/test.sh $(LOCKED) --workspace --release
	@scripts/test.sh $(LOCKED) --manifest-path $(GLUE)/Cargo.toml --target-dir target/lint --release

# $(call each-outside,COMMAND): runs it for each project outside the workspace, its directory in $$dir.
each-outside = set -e; for dir in $(OUTSIDE); do (set -x; $(1)); done

# Cargo knows whether there is anything to do. It leaves the file as it is when not, and then make does the same with
# what depends on it.
$(BIN): FORCE
	$(CARGO) build $(LOCKED) --workspace --release
	@ln -sf scorebox $(@D)/azmlinfsrv

.PHONY: FORCE
FORCE:

# Modules are built again when their sources, the SDK, or the binary that builds them have changed.
.SECONDEXPANSION:
examples/%/model.wasm: $(BIN) $(SDK_SOURCES) $$(call sources,examples/$$*)
	$(BUILD_GUEST) examples/$* -o $@

target/guests/glue.wasm: $(BIN) $(call sources,$(GLUE) wit)
	@mkdir -p $(@D)
	$(BUILD_GUEST) $(GLUE) --core-module -o $@

target/guests/%.wasm: $(BIN) $(SDK_SOURCES) $$(call sources,tests/guests/$$* tests/guests/Cargo.toml)
	@mkdir -p $(@D)
	$(BUILD_GUEST) tests/guests/$* -o $@
