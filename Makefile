# The doors to Cadenza. `make up` brings everything to life, `make test` proves it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
RUN := .venv/bin/python
ARGS ?=
# A process that compiles all it imports takes more than twice as long to start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup up demo lint format test check faults fault-mutations bench bench-quick clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/ready  ## create .venv from uv.lock

.venv/ready: uv.lock pyproject.toml
	@if [ ! -x .venv/bin/python ]; then \
		for python in $(PYTHON) python3 python3.12 python3.11; do \
			if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then \
				echo "Creating .venv with $$($$python --version)"; $$python -m venv .venv && break; \
			fi; \
		done; \
		test -x .venv/bin/python || { echo "Cadenza needs Python 3.11, 3.12 or 3.13 with the venv module (Debian: apt-get install python3-venv)." >&2; exit 1; }; \
	fi
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
	@test -x .venv/bin/uv || .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	@echo "Installing what uv.lock names (the first time takes a minute or two)"
	@.venv/bin/uv sync --frozen --inexact --quiet --system-certs --python .venv/bin/python
	@touch $@

up: setup  ## everything on this machine: services, web, beats, workers, Flower, demo
	@exec $(RUN) manage.py up --demo $(ARGS)

demo: setup  ## the headless proof, on its own fresh data; ARGS='--json --keep DIR'
	@exec $(RUN) manage.py demo $(ARGS)

lint: setup  ## ruff, types, import contracts, migrations, OpenAPI, templates
	@mkdir -p .cadenza
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --quiet --check .
	@.venv/bin/lint-imports --verbose > .cadenza/imports.txt 2>&1 || { cat .cadenza/imports.txt; exit 1; }
	@CADENZA_ROLE=lint .venv/bin/mypy .
	@CADENZA_ROLE=lint $(RUN) -W ignore manage.py makemigrations --check --dry-run
	@CADENZA_ROLE=lint $(RUN) manage.py spectacular --validate --fail-on-warn --file .cadenza/openapi.yaml
	@diff -u openapi.yaml .cadenza/openapi.yaml || { echo "openapi.yaml is out of date: cp .cadenza/openapi.yaml openapi.yaml" >&2; exit 1; }
	@find templates -name '*.html' -print0 | xargs -0 -r .venv/bin/djade --target-version 5.2 --check

format: setup  ## put the code into its one shape
	@.venv/bin/ruff check --quiet --fix . ; .venv/bin/ruff format --quiet .

# What starts real processes comes by itself: what is quick would wait for it.
PROCESSES := journey or fault or browser or benchmark

test: setup  ## all tests: unit, journeys, browser, smoke faults; ARGS='tests/some/path'
ifeq ($(strip $(ARGS)),)
	@red=0; \
	$(RUN) -m pytest -n 2 -m 'not ($(PROCESSES) or long)' --durations 10 || red=1; \
	$(RUN) -m pytest -n 2 -m '($(PROCESSES)) and not long' --durations 25 || red=1; \
	exit $$red
else
	@exec $(RUN) -m pytest $(ARGS)
endif

check: lint test  ## what CI runs

faults: setup  ## the whole fault suite; ARGS='--repeat 3 --seed 7'; writes its report
	@exec $(RUN) -m pytest tests/faults -m fault --fault-report docs/operations/fault_report.md $(ARGS)

fault-mutations: setup  ## proves that fault tests fail when a defence is switched off
	@exec $(RUN) -m tests.faults.mutations $(ARGS)

bench: setup  ## every target of performance beside the peers, three runs; writes benchmarks/report.md
	@exec $(RUN) manage.py benchmark --report benchmarks $(ARGS)

bench-quick: setup  ## the same with less of everything, once: a few minutes
	@exec $(RUN) manage.py benchmark --quick $(ARGS)

clean:  ## forget the embedded services' data (stop them first)
	@rm -rf .cadenza
