VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test coverage lint bench

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Open the app on 127.0.0.1:7860
	$(BIN)/python app.py

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

bench: $(VENV)/.run ## Time this program beside what one would use instead
	$(BIN)/python -m bench latency

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install -r requirements-dev.txt
	@touch $@ $(VENV)/.run
