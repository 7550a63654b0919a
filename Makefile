# The one entry point. `make help` lists what there is.
# Needs Python 3.11 or newer, a Rust toolchain and git; everything else is installed into .venv, in locked versions.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
# The cargo profile of the extension: `fast` compiles quickly, `release` (fat LTO) is what wheels and benches use.
PROFILE ?= fast
ARGS ?=
# Processes that run tests side by side.
WORKERS ?= 2

BIN := .venv/bin
DONE := .venv/.done
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt
RUST_SOURCES := Cargo.toml $(wildcard Cargo.lock) $(shell find rust -type f \( -name '*.rs' -o -name Cargo.toml \) -not -path '*/target/*' -not -path '*/fuzz/*' 2>/dev/null)

.PHONY: help setup run test test-python test-rust lint lint-python lint-rust bench bench-gates fuzz docs wheel lock clean FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DONE)/core $(DONE)/dev ## .venv with everything for developers, and .venv/bin/ailink

run: $(DONE)/core ## build what is missing, then start the gateway (ARGS="--port 4001" is passed on)
	@exec $(BIN)/ailink serve $(ARGS)

test: test-python test-rust ## every test; installs what it lacks (ARGS=tests/integration/test_keys.py: just that file, in Python)

# File by file in several processes, then what judges time or memory by itself. With ARGS one process runs just those.
test-python: $(DONE)/core $(DONE)/dev
ifneq ($(strip $(ARGS)),)
	$(BIN)/python -m pytest $(ARGS)
else
	code=0; \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not alone" || code=$$?; \
	$(BIN)/python -m pytest -m alone || code=$$?; \
	exit $$code
endif

test-rust:
	cargo test --workspace --exclude ailink-py --locked

lint: lint-python lint-rust ## format, types, layers, stub, sizes; Python and Rust

lint-python: $(DONE)/core $(DONE)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m mypy.stubtest ailink._core
	$(BIN)/python scripts/sizes.py
	$(BIN)/python scripts/links.py

lint-rust:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --lib --bins --locked -- -D warnings -W clippy::too_many_lines

bench: $(DONE)/bench ## all benches: gateway (W bars), peers, micro budgets, locust; writes benches/results and docs/performance.md
	scripts/tools.sh nginx wrk
	$(BIN)/python -m pytest benches
	$(BIN)/python -m benches.day
	$(BIN)/python -m benches.gateway --peers $(ARGS)
	$(BIN)/python -m benches.render

bench-gates: $(DONE)/bench ## the short benches with generous limits that CI runs
	scripts/tools.sh nginx wrk
	$(BIN)/python -m pytest benches
	$(BIN)/python -m benches.day --short
	$(BIN)/python -m benches.gateway --short $(ARGS)

fuzz: ## fuzz every decoder, ten minutes each, and keep the figures; needs a nightly compiler and cargo-fuzz (ARGS="--seconds 60 chat": a part)
	$(PYTHON) scripts/fuzz.py $(ARGS)

docs: $(DONE)/core $(DONE)/dev ## render the pages that are made of the code and of measurements, check the links, build the Rust reference
	$(BIN)/python -m benches.render
	$(BIN)/python -m scripts.configuration_page
	$(BIN)/python -m scripts.commands_page
	$(BIN)/python scripts/links.py
	cargo doc --workspace --no-deps --locked

wheel: $(DONE)/tools ## the release wheel (fat LTO) in dist/
	$(BIN)/maturin build --release --locked --out dist
	@ls -lh dist/*.whl

lock: ## resolve newer versions of the Python packages into constraints.txt
	$(PYTHON) scripts/lock.py

clean: ## remove all that was built or downloaded
	rm -rf .venv target dist benches/.cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache
	find python tests benches scripts -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f python/ailink/_core*.so

# A fresh environment has pip only, in the locked version (older ones do not know dependency groups).
$(DONE)/venv:
	@scripts/venv.sh "$(PYTHON)" .venv
	@mkdir -p $(DONE)
	$(PIP) pip
	@touch $@

$(DONE)/tools: $(DONE)/venv constraints.txt
	$(PIP) maturin
	@touch $@

$(DONE)/dev: $(DONE)/venv constraints.txt pyproject.toml
	$(PIP) --group dev
	@touch $@

# Holds the profile the extension was last built with, and changes only when another one is asked for.
$(DONE)/profile: FORCE | $(DONE)/venv
	@echo "$(PROFILE)" | cmp -s - $@ || echo "$(PROFILE)" > $@

# The extension, its Python package (editable) and what they depend on, in the locked versions.
$(DONE)/core: $(DONE)/tools $(DONE)/profile constraints.txt pyproject.toml $(RUST_SOURCES)
	VIRTUAL_ENV="$(CURDIR)/.venv" PIP_CONSTRAINT="$(CURDIR)/constraints.txt" PIP_DISABLE_PIP_VERSION_CHECK=1 \
		$(BIN)/maturin develop --profile "$(PROFILE)" --locked
	@touch $@

# Benches judge the release build and use the mock's own binary as upstream and generator.
.PHONY: $(DONE)/bench
$(DONE)/bench: $(DONE)/dev
	@$(MAKE) --no-print-directory PROFILE=release $(DONE)/core
	cargo build --release --locked --package ailink-mock
