# `make` explains itself: a target is listed with the text after its two hashes.
.DEFAULT_GOAL := help
.PHONY: setup run demo test test-all check lint types arch web screens pictures docs openapi bench bench-all measure dist lock clean help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# The first of these that runs, is new enough and can make environments; another by `make setup PYTHON=...`.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3; do \
    "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done)
BIN := .venv/bin
ESSAYS ?= examples/class-9b
PIPELINE ?= nlp
DIST := dist

# Trust what the machine trusts: a school's network often signs with a certificate of its own.
export UV_SYSTEM_CERTS ?= 1

# A stamp is touched when its step is done, so `setup` costs nothing until what it depends on changes.
ENVIRONMENT := .venv/.environment
INSTALLED := .venv/.installed

$(BIN)/uv: scripts/uv.txt
	@test -n "$(PYTHON)" || { echo "HuleEdu needs Python 3.11 or newer, with venv: make setup PYTHON=..." >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r scripts/uv.txt
	@touch $@

$(ENVIRONMENT): requirements.lock $(BIN)/uv
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@touch $@

DICTIONARIES := scripts/build_dictionaries.py dictionaries/package-lock.json $(wildcard src/huleedu/phases/spellcheck/*.py)

$(INSTALLED): $(ENVIRONMENT) pyproject.toml hatch_build.py $(DICTIONARIES)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(INSTALLED) ## the environment from the lock, the dictionaries, the page, the package (only what has changed)
	@$(BIN)/python scripts/build_page.py

run: setup ## start the server at http://127.0.0.1:4001, data in ./huleedu-data, and print a link to sign in
	$(BIN)/huleedu serve

demo: setup ## assess a class of twelve essays and print what was found (ESSAYS=, PIPELINE=)
	$(BIN)/huleedu assess $(ESSAYS) --pipeline $(PIPELINE)

test: setup ## all tests that need nothing but this: of the page, then of everything (ARGS= goes to pytest)
	$(BIN)/python scripts/build_page.py --packages
	cd web && npm run --silent test
	$(BIN)/python -m pytest $(ARGS)

test-all: ## those, and what needs PostgreSQL, Redis, S3 and Kafka (scripts/servers starts them)
	$(MAKE) test ARGS='-m "" --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)'

check: lint types arch web ## what the code must satisfy: lint, types, layers, the page, generated documents fresh
	$(BIN)/python scripts/reference.py --check

web: setup ## the page's types, lint and format
	$(BIN)/python scripts/build_page.py --packages
	cd web && npm run --silent check

screens: setup ## every page as a picture, light and dark, wide and narrow, in build/screens/
	$(BIN)/python -m tests.browser.screens

pictures: setup ## the pictures of docs/ again
	$(BIN)/python -m tests.browser.screens --documents

lint: setup ## ruff: rules and format; hadolint; the schema of compose.yaml
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml

types: setup ## mypy --strict
	$(BIN)/mypy

arch: setup ## import-linter: the layers
	$(BIN)/lint-imports --no-logo

docs: setup ## write docs/reference/ again from the code
	$(BIN)/python scripts/reference.py

openapi: setup ## write docs/reference/openapi.json only
	$(BIN)/python scripts/reference.py openapi.json

bench: setup ## each figure beside a baseline of the same run
	for file in benchmarks/[!_]*.py; do echo "== $$file"; PYTHONPATH=. $(BIN)/python "$$file"; done

bench-all: bench ## those, and what needs PostgreSQL, Redis, S3 and Kafka (scripts/servers starts them)
	for file in benchmarks/engine/*.py; do echo "== $$file"; PYTHONPATH=.:benchmarks $(BIN)/python "$$file"; done

measure: setup ## the shape of the code in figures
	$(BIN)/python scripts/measure.py

dist: setup ## in dist/ (DIST=): the wheel, the versions that go with it, the source distribution
	rm -rf "$(DIST)"
	$(BIN)/uv build --python $(BIN)/python --no-build-isolation --out-dir "$(DIST)"
	for wheel in "$(DIST)"/*.whl; do \
	    sed -nE 's/^([^ #]+==.*[^ \\]) *\\?$$/\1/p' requirements.lock > "$${wheel%-py3-*}-constraints.txt"; done

lock: $(BIN)/uv ## requirements.lock from pyproject.toml (UPGRADE=1: to the newest releases)
	$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --all-extras --group dev \
	    $(if $(UPGRADE),--upgrade) --custom-compile-command "make lock" --output-file requirements.lock
	! grep -n '://' requirements.lock

clean: ## remove what make made; your data in ./huleedu-data stays
	rm -rf .venv build dist dictionaries/node_modules web/node_modules src/huleedu/phases/spellcheck/data src/huleedu/gateway/page .hypothesis .*_cache
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12
