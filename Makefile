PYTHON  ?= python3
SIZE    ?= S
DATASET ?= synthetic
SEED    ?= 0
ARGS    ?=

BIN := .venv/bin
# pyproject.toml is the one place that says which Python is old enough.
MIN_PYTHON := $(shell sed -n 's/^requires-python = ">=\([0-9.]*\)"/\1/p' pyproject.toml)

# Bad arguments end in one line, before papermill has written anything.
CHECK := import sys; sys.tracebacklimit = 0; \
  from srtlib.params import load_params; from srtlib.data.loading import load_dataset; \
  size, dataset, seed = sys.argv[1:]; \
  seed.isdigit() or sys.exit(f"SEED={seed} is not a seed; expected a whole number"); \
  load_params(size); load_dataset(dataset, seed=int(seed))

.DEFAULT_GOAL := help
.PHONY: help setup scaling test coverage test-cluster test-wheel book book-fast test-book design frontier planner models format lint clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.done ## .venv with the pinned versions

.venv/.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(MIN_PYTHON)".split("."))))' 2>/dev/null \
	  || { echo "srtlib needs Python $(MIN_PYTHON) or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there)." \
	            "Name another: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@touch $@

scaling: setup ## run the scaling study and draw its figures [SIZE=S DATASET=synthetic SEED=0]
	@$(BIN)/python -c '$(CHECK)' "$(SIZE)" "$(DATASET)" "$(SEED)"
	@mkdir -p out
	$(BIN)/papermill book/scaling.ipynb "out/scaling-$(SIZE).ipynb" -k python3 \
	  -p size "$(SIZE)" -p dataset "$(DATASET)" -p seed "$(SEED)"

# By file on every core, one thread each: a file's fixtures, and a notebook's cells, stay together.
PARALLEL := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

test: setup ## run every test and every notebook [ARGS="-k laws"]
	$(PARALLEL) --nbval $(ARGS)

coverage: setup ## say which lines of srtlib no test reaches
	$(PARALLEL) --cov srtlib --cov-report term-missing:skip-covered tests srtlib $(ARGS)

test-cluster: setup ## install the extras for clusters, and test them on small ones here
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[cluster,spark]"
	$(BIN)/pytest tests/cluster $(ARGS)

test-wheel: setup ## test the package as it is installed elsewhere
	$(BIN)/pytest tests/wheel $(ARGS)

# What pages are built with; a folder is newer when a file of it comes or goes ("models" by itself is a target).
CODE := $(shell find $(addsuffix /.,srtlib params results models datasets benchmarks/results book/_ext) -not -path '*__pycache__*')

# A build that fails leaves nothing to build on: its warnings would not come again.
book: setup ## build the book into _build/html, every notebook executed anew
	@mkdir -p _build && touch _build/.executed
	$(BIN)/jupyter-book build . --all -W -n --keep-going || { rm -rf _build/.doctrees; exit 1; }

book-fast: setup _build/.executed ## build again what has changed; a change in the library or in recorded runs executes every notebook
	$(BIN)/jupyter-book build . -W -n --keep-going || { rm -rf _build/.doctrees; exit 1; }

_build/.executed: $(CODE)
	@mkdir -p _build && touch book/*.ipynb book/api/*.md $@

test-book: setup ## open every page of the built book in a browser (Chromium, where there is one) [ARGS]
	$(BIN)/pytest tests/browser $(ARGS)

design: setup ## draw what imports what into out/design.svg
	$(BIN)/python book/_ext/design.py out/design.svg

frontier: setup ## draw the README's figure from the recorded runs into book/_static/frontier.svg
	$(BIN)/python book/_ext/frontier.py book/_static/frontier.svg

planner: setup ## fit the laws of the book's planner to the recorded runs, into book/_static/planner/data.js
	$(BIN)/python book/_ext/planner.py book/_static/planner/data.js

models: setup ## pre-train the released models anew into models/ (minutes; needs the data in SRT_DATA)
	$(BIN)/python -m srtlib.studies.releasing

format: setup ## format the code, and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lint: setup ## check style, types, and which way imports run
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

clean: ## remove what these made
	rm -rf .venv out _build dist data/cache data/synthetic .coverage .*_cache
	find srtlib tests book benchmarks -name __pycache__ -prune -exec rm -rf {} +
