# `make run` starts the system, `make test` tests it. The other targets are for development.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Tests mostly wait for real processes, so three workers are useful even on two cores.
WORKERS ?= 3
HAS_UV := $(shell command -v uv 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help run test check chaos attack soak replay-check bench component panel format lock sbom clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 21

run: $(VENV)/run.stamp  ## install what is missing and start at http://localhost:3001 (options: ARGS="--port 8000")
	@$(BIN)/python manage.py migrate --verbosity 0
	@exec $(BIN)/python manage.py up $(ARGS)

test: $(VENV)/dev.stamp  ## install what is missing and run all tests (a part: ARGS=tests/alerts)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

check: $(VENV)/dev.stamp  ## check format, lint, types, import rules and missing migrations
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/python manage.py check

chaos: $(VENV)/dev.stamp  ## break every part under load, one line for each fault (half an hour; a part: ARGS="--only storm_up --seed 7")
	@$(BIN)/python -m tests.system.chaos $(ARGS)

attack: $(VENV)/dev.stamp  ## attack a running system on loopback, one line for each attack (minutes; a part: ARGS="--only frames --scale 0.1")
	@$(BIN)/python -m tests.system.attack $(ARGS)

soak: $(VENV)/dev.stamp  ## run under load for DURATION (40m) and report what grows; samples go to soak.json
	@$(BIN)/python -m tests.system.chaos.soak --duration $(or $(DURATION),40m) $(ARGS)

replay-check: $(VENV)/dev.stamp  ## replay the crash of 19 May 2021 at 60x and check the page every second; needs the recordings of ../shared/data (pictures: ARGS="--shots DIR")
	@$(BIN)/python -m tests.system.replay_truth $(ARGS)

bench: $(VENV)/dev.stamp  ## measure the cost of a delivered frame against other servers (needs cc, node, npm; takes minutes)
	@$(BIN)/python -m benchmarks.fanout $(ARGS)

component:  ## build the panel into frontend/static, which is committed (needs Node 20)
	@cd frontend && npm ci --silent --no-audit --no-fund && npm run --silent build

panel: component  ## check types, lint and format of the panel and test it; fails if the committed build is stale (needs Node 20)
	@cd frontend && npm run --silent check && npm run --silent test
	@git diff --exit-code --stat frontend/static || { echo "The committed build of the panel is stale: run make component and commit frontend/static."; exit 1; }

format: $(VENV)/dev.stamp  ## format the code and apply automatic fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@if [ -d frontend/node_modules ]; then cd frontend && npm run --silent format; fi

lock: $(VENV)/dev.stamp  ## compile requirements*.txt from pyproject.toml (needs uv)
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line -q pyproject.toml -o requirements.txt
	@uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line -q --group dev pyproject.toml -o requirements-dev.txt

# Its tool has an environment of its own: it must not choose the versions that it lists.
sbom: | $(VENV)/bin/python  ## list every package of a release with its hash in sbom.json (CycloneDX)
	@test -x .sbom/bin/cyclonedx-py || { $(PYTHON) -m venv .sbom && .sbom/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0; }
	@# Requirements say nothing of who needs whom, and the tool warns of that.
	@PYTHONWARNINGS="ignore:The Component this BOM is describing:UserWarning" .sbom/bin/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --mc-type application --output-reproducible --of JSON -o sbom.json

clean:  ## remove the virtual environment and the caches (your data in var/ stays)
	rm -rf $(VENV) .sbom sbom.json .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# --- The virtual environment: created once, updated when the pinned versions change -----------------------------------

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed; %s is %s. Choose another: make run PYTHON=python3.12" % (sys.executable, sys.version.split()[0]))'
	@echo "Creating the virtual environment $(VENV) (once) …"
ifdef HAS_UV
	@uv venv --quiet --python $(PYTHON) $(VENV)
else
	@$(PYTHON) -m venv $(VENV) || { echo "This Python cannot create virtual environments. On Debian and Ubuntu: apt install python3-venv."; exit 1; }
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
