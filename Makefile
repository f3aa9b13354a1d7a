# Each target makes what it needs. PYTHON chooses the interpreter (3.11 or later): make test PYTHON=python3.13
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
FOLDER ?= .

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench bench-steady chaos docs clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

# The demo needs the packages only; the tests need the tools too.
$(VENV)/installed: soniq_core/pyproject.toml plugins/embedded/pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Soniq needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	@test -x $(RUN) || "$(PYTHON)" -m venv $(VENV)
	@echo "installing soniq-core and soniq-embedded into $(VENV)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ./soniq_core --editable ./plugins/embedded
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	@echo "installing the tools for the tests into $(VENV)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement requirements-dev.txt
	@touch $@

demo: $(VENV)/installed ## run Soniq on real files, on an embedded PostgreSQL (FOLDER=... chooses the files)
	@$(RUN) -m examples.demo "$(FOLDER)"

test: $(VENV)/installed-dev ## run the whole test suite (ARGS=... goes to pytest)
	@$(RUN) -m pytest $(ARGS)

check: $(VENV)/installed-dev ## linter, formatter, type checker, import rule
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy soniq_core/src plugins/embedded/src tests examples
	@$(RUN) tests/imports.py

format: $(VENV)/installed-dev ## put the code into its form
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

bench: $(VENV)/installed-dev ## jobs per second, beside a raw asyncpg loop in the same run
	@$(RUN) -m tests.benchmarks.throughput $(ARGS)

bench-steady: $(VENV)/installed-dev ## minutes at a steady backlog, with a transaction that holds the horizon
	@$(RUN) -m tests.benchmarks.steady $(ARGS)

chaos: $(VENV)/installed-dev ## the long races: kills, deadlocks, restarts
	@$(RUN) -m pytest tests/chaos $(ARGS)

docs: $(VENV)/installed-dev ## run every code block of the documentation
	@$(RUN) -m pytest tests/docs $(ARGS)

clean: ## remove the environment and the caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
