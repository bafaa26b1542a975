# make run    set up and run the main job on a shipped example
# make test   set up and run the tests
# make bench  set up and run the benchmarks;  make lint  formatting, types and style;  make clean
# make validate        set up SCALE-Sim itself in a virtual environment of its own and compare 100 random layers
# make bench-scalesim  time SCALE-Sim and hdasim side by side there (7 minutes, 7 GiB)
# Needs Python 3.11 or newer with venv, a C compiler and make; everything else is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEER := .venv-validate
# exact, because a new formatter has new opinions
LINTERS := ruff==0.17.5 mypy==2.4.1 types-PyYAML clang-format==23.1.5 cython-lint==0.22.0
SOURCES := pyproject.toml setup.py $(wildcard hdasim/core/*.pyx hdasim/core/*.pxi csrc/*.c csrc/*.h)

.PHONY: run test bench lint format clean validate bench-scalesim
run: $(VENV)/.installed
	$(BIN)/python -m hdasim run ador-llama3-8b

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m pytest benchmarks --benchmark-only -q $(PYTEST_ARGS)

validate: $(PEER)/.installed
	$(PEER)/bin/python -m hdasim validate scalesim --live 100 --seed 0

bench-scalesim: $(PEER)/.installed
	$(PEER)/bin/python -m pytest benchmarks/bench_scalesim.py --benchmark-only -q $(PYTEST_ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check hdasim tests benchmarks setup.py
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint hdasim/core/*.pyx hdasim/core/*.pxi
	$(BIN)/clang-format --dry-run --Werror csrc/*.[ch] tests/c/*.[ch]

format: $(VENV)/.lint
	$(BIN)/ruff check --fix hdasim tests benchmarks setup.py
	$(BIN)/clang-format -i csrc/*.[ch] tests/c/*.[ch]

$(BIN)/python $(PEER)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "hdasim needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(patsubst %/bin/python,%,$@)

$(VENV)/.installed: $(BIN)/python $(SOURCES)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(BIN)/python $(SOURCES)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(PEER)/.installed: $(PEER)/bin/python $(SOURCES)
	$(PEER)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev,validate]'
	@touch $@

$(VENV)/.lint: $(VENV)/.dev Makefile
	$(BIN)/pip install --quiet --disable-pip-version-check $(LINTERS)
	@touch $@

clean:
	rm -rf $(VENV) $(PEER) build results *.egg-info hdasim/core/_core.c hdasim/core/_core.*.so .pytest_cache .ruff_cache .mypy_cache .hypothesis
