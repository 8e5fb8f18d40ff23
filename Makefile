VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
UV := $(shell command -v uv)
# Where builds of torch are linked that go before the default one, which brings gigabytes for CUDA on Linux.
LINKS := $(if $(BUDGET_ZOO_TORCH_LINKS),--find-links $(BUDGET_ZOO_TORCH_LINKS))
# Compiled as pip does it: what compiles itself in a test warns there of its own faults, and warnings are errors.
INSTALL := $(if $(UV),$(UV) pip install --compile-bytecode --python $(BIN)/python,$(BIN)/python -m pip install) $(LINKS)
# Alone and first, with what its build needs; all else is in the locks, one version each.
TORCH = $(shell grep '^torch==' requirements.lock)
RESOLVE := --quiet --universal --python-version 3.11 --no-annotate --custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.PHONY: help run test coverage lint audit bench lock

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Open the app on 127.0.0.1:7860
	$(BIN)/python app.py

# A test process has a core: more threads would only wait for each other.
test: export OMP_NUM_THREADS := 1
test: $(VENV)/.dev ## Run every test; the browser journeys too where a Chromium is found
	$(BIN)/python -m pytest -n auto --dist loadfile --durations=20 --ignore tests/browser $(MEASURED)
	$(BIN)/python -m pytest tests/browser $(MEASURED) $(if $(MEASURED),--cov-append)  # one at a time: two browsers starve each other on two cores

coverage: MEASURED := --cov --cov-report= --cov-fail-under=0
coverage: test ## Run every test, and fail where they run less than 90 % of the lines of zoo, compress and ui
	$(BIN)/coverage report

lint: $(VENV)/.dev ## Check style, format and types
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check --no-cache .
	$(BIN)/pyright

audit: ## Ask which locked packages have known vulnerabilities (needs uv and the network)
	@set -e; for lock in requirements.lock requirements-dev.lock; do \
		uvx --quiet pip-audit --strict --progress-spinner off --disable-pip --no-deps --requirement $$lock; done

bench: $(VENV)/.run ## Time this program beside what one would use instead
	$(BIN)/python -m bench latency

lock: ## Resolve what is asked for here, by developers and on a Space anew into the three locks (needs uv)
	uv pip compile $(RESOLVE) requirements.txt --output-file requirements.lock
	uv pip compile $(RESOLVE) --constraints requirements.lock requirements-dev.txt --output-file requirements-dev.lock
	uv pip compile $(RESOLVE) --constraints requirements.lock spaces/requirements.txt --output-file spaces/requirements.lock

$(BIN)/python:
	$(if $(UV),$(UV) venv --seed --python $(PYTHON),$(PYTHON) -m venv) $(VENV)

$(VENV)/.run: requirements.lock | $(BIN)/python
	$(INSTALL) $(TORCH)
	$(INSTALL) --no-deps --requirement $<
	@touch $@

$(VENV)/.dev: requirements-dev.lock requirements.lock | $(BIN)/python
	$(INSTALL) $(TORCH)
	$(INSTALL) --no-deps --requirement $<
	@touch $@ $(VENV)/.run
