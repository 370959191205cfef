# Two commands do everything: `make run` and `make test`. The rest is for those who work on the code.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Most of a test run is waiting, for real seconds and real processes: more workers than two cores would need.
WORKERS ?= 3
HAS_UV := $(shell command -v uv 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help run test check bench component panel format lock clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

run: $(VENV)/run.stamp  ## set up what is missing and start: http://localhost:3001 (ARGS="--port 8000" for options)
	@$(BIN)/python manage.py migrate --verbosity 0
	@exec $(BIN)/python manage.py up $(ARGS)

test: $(VENV)/dev.stamp  ## set up what is missing and run all tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: $(VENV)/dev.stamp  ## lint, types, import rules, migrations up to date
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/python manage.py check

bench: $(VENV)/dev.stamp  ## what a delivered frame costs, against other servers (needs cc, node, npm; minutes)
	@$(BIN)/python -m benchmarks.fanout $(ARGS)

component:  ## build the panel into frontend/static, which is committed (needs Node 20)
	@cd frontend && npm ci --silent --no-audit --no-fund && npm run --silent build

panel: component  ## types, lint, format and tests of the panel; fails when the committed build is stale (needs Node 20)
	@cd frontend && npm run --silent check && npm run --silent test
	@git diff --exit-code --stat frontend/static || { echo "The committed build is stale: commit what make component wrote."; exit 1; }

format: $(VENV)/dev.stamp  ## format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@if [ -d frontend/node_modules ]; then cd frontend && npm run --silent format; fi

lock: $(VENV)/dev.stamp  ## compile requirements*.txt from pyproject.toml (needs uv)
	@uv pip compile --universal --python-version 3.11 --no-header --annotation-style line -q pyproject.toml -o requirements.txt
	@uv pip compile --universal --python-version 3.11 --no-header --annotation-style line -q --group dev pyproject.toml -o requirements-dev.txt

clean:  ## remove the virtual environment and the caches (var/ with your data stays)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# --- The virtual environment: made once, brought up to date when the pins change --------------------------------------

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed; %s is %s. Name another: make run PYTHON=python3.12" % (sys.executable, sys.version.split()[0]))'
	@echo "Setting up $(VENV) (once) …"
ifdef HAS_UV
	@uv venv --quiet --python $(PYTHON) $(VENV)
else
	@$(PYTHON) -m venv $(VENV) || { echo "This Python cannot make virtual environments (on Debian and Ubuntu: apt install python3-venv)."; exit 1; }
endif

define install
	@echo "Installing $(1) (the first time takes about a minute) …"
	@$(if $(HAS_UV),VIRTUAL_ENV=$(VENV) uv pip install --quiet -r $(1),$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(1))
	@touch $@
endef

$(VENV)/run.stamp: requirements.txt | $(VENV)/bin/python
	$(call install,requirements.txt)

$(VENV)/dev.stamp: requirements-dev.txt | $(VENV)/bin/python
	$(call install,requirements-dev.txt)
