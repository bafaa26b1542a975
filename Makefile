# make run    set up and run the main job on a shipped example
# make test   set up and run the tests
# make bench  set up and run the benchmarks;  make lint  formatting, types and style;  make clean
# Needs Python 3.11 or newer with venv, a C compiler and make; everything else is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py hdasim/core/_core.pyx $(wildcard csrc/*.c csrc/*.h)

.PHONY: run test bench lint format clean
run: $(VENV)/.installed
	$(BIN)/python -m hdasim run ador-llama3-8b

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m pytest benchmarks --benchmark-only -q $(PYTEST_ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check hdasim tests benchmarks setup.py
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint hdasim/core/_core.pyx
	$(BIN)/clang-format --dry-run --Werror csrc/*.[ch] tests/c/*.c

format: $(VENV)/.lint
	$(BIN)/ruff check --fix hdasim tests benchmarks setup.py
	$(BIN)/clang-format -i csrc/*.[ch] tests/c/*.c

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "hdasim needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python $(SOURCES)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(VENV)/.lint: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[lint]'
	@touch $@

clean:
	rm -rf $(VENV) build results *.egg-info hdasim/core/_core.c hdasim/core/_core.*.so .pytest_cache .ruff_cache .mypy_cache .hypothesis
