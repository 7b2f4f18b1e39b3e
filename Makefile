# setup is implied by the others. Everything lives in .venv; nothing is installed elsewhere.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
LOG := $(VENV)/setup.log
# Python compiles what is imported when it is imported first; compiling all of every package takes half of the setup.
# Where PYTHONDONTWRITEBYTECODE is set (in most containers), nobody would ever keep what was compiled: so make unsets it,
# and setup compiles all packages for the commands that are typed beside make.
NO_BYTECODE := $(PYTHONDONTWRITEBYTECODE)
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile --constraint constraints.txt

# No telemetry from any tool that this project runs.
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export HF_HUB_DISABLE_TELEMETRY := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup browser repro experiments test faults lint bench audit
.DEFAULT_GOAL := help

help: ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 10

setup: $(STAMP) ## Create .venv and install what is missing

$(STAMP): pyproject.toml constraints.txt Makefile
	@echo "setup: creating $(VENV) and installing about 280 packages (2.7 GB); 3 to 6 minutes the first time"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "error: Python 3.11 or newer is needed; name one with make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) pip setuptools wheel >$(LOG) 2>&1 || { cat $(LOG); exit 1; }
	@$(PIP) --editable '.[dev,llm,chgnet,mp,optimade,dask,ray,export]' >>$(LOG) 2>&1 || { cat $(LOG); exit 1; }
	@if [ -n "$(NO_BYTECODE)" ]; then \
		echo "setup: PYTHONDONTWRITEBYTECODE is set here, so all packages are compiled ahead (one to two minutes)"; \
		$(BIN)/python -m compileall -q -j 0 -x '/torch/testing/_internal/py3' $(VENV)/lib features pipelines model >>$(LOG) 2>&1 \
			|| echo "setup: some files could not be compiled ahead, see $(LOG)"; fi
	@touch $(STAMP)
	@echo "setup: done; activate with: source $(VENV)/bin/activate"

repro: setup ## Run the whole chain: dvc repro
	@$(BIN)/python -m model check
	@$(BIN)/python -m pipelines repair --quick
	$(BIN)/dvc repro

# hours: EXPERIMENTS_MINUTES=60 make experiments begins no further cell after an hour, and goes on the next time
experiments: setup ## Does the text help? Run what is missing of model/experiments/matrix.yaml
	$(BIN)/dvc repro model/experiments/dvc.yaml

# The pages are tested in a real browser. Where there is none, apt fetches it while the first tests run (and whoever needs
# it waits until INSTALLING is gone); where that is not possible, those tests are skipped.
INSTALLING := $(VENV)/browser.installing
BROWSER_LOG := $(VENV)/browser.log
browser: setup
	@if ! command -v chromedriver >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "test: installing chromium for the tests of the pages, see $(BROWSER_LOG)"; touch $(INSTALLING); \
		( DEBIAN_FRONTEND=noninteractive timeout 240 sh -c 'apt-get -qq update && \
			apt-get -qq install -y --no-install-recommends chromium chromium-driver'; rm -f $(INSTALLING) \
		) >$(BROWSER_LOG) 2>&1 </dev/null & fi

# a test process has one thread, so that two of them do not wait for each other's
test: browser ## Run the tests, two at a time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not nodes"

faults: setup ## Kill, damage, poison and starve it, and count what it does not survive: under 30 minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m nodes tests/pipelines

lint: setup ## ruff, who may import whom, mypy
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy

bench: setup ## Run the quick benchmarks, and write their figures into docs/benchmarks.csv and the pages
	$(BIN)/python -m benchmarks

audit: setup ## Are vulnerabilities known of the pinned packages? Needs a network: asks pypi.org
	@$(BIN)/python .ci/audit.py
