# make scaling | test | test-cluster | test-wheel | book | lint | setup | clean          (see README.md)
PYTHON  ?= python3
SIZE    ?= S
DATASET ?= synthetic
SEED    ?= 0

BIN := .venv/bin
# pyproject.toml is the one place that says which Python is old enough.
MIN_PYTHON := $(shell sed -n 's/^requires-python = ">=\([0-9.]*\)"/\1/p' pyproject.toml)

# Bad arguments end in one line, before papermill has written anything.
CHECK := import sys; sys.tracebacklimit = 0; \
  from srtlib.params import load_params; from srtlib.data.dataset import load_dataset; \
  size, dataset, seed = sys.argv[1:]; \
  seed.isdigit() or sys.exit(f"SEED={seed} is not a seed; expected a whole number"); \
  load_params(size); load_dataset(dataset, seed=int(seed))

.PHONY: setup scaling test test-cluster test-wheel book lint clean

setup: .venv/.done

.venv/.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(MIN_PYTHON)".split("."))))' 2>/dev/null \
	  || { echo "srtlib needs Python $(MIN_PYTHON) or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there)." \
	            "Name another: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@touch $@

scaling: setup
	@$(BIN)/python -c '$(CHECK)' "$(SIZE)" "$(DATASET)" "$(SEED)"
	@mkdir -p out
	$(BIN)/papermill book/scaling.ipynb "out/scaling-$(SIZE).ipynb" -k python3 \
	  -p size "$(SIZE)" -p dataset "$(DATASET)" -p seed "$(SEED)"

test: setup
	$(BIN)/pytest --nbval

# Engines past one machine: their extras, and tests that start small clusters here.
test-cluster: setup
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[cluster,spark]"
	$(BIN)/pytest tests/cluster

test-wheel: setup
	$(BIN)/pytest tests/wheel

book: setup
	$(BIN)/jupyter-book build . --all -W -n --keep-going

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

clean:
	rm -rf .venv out _build data/cache data/synthetic srtlib.egg-info .pytest_cache .mypy_cache .ruff_cache
	find srtlib tests book benchmarks -name __pycache__ -prune -exec rm -rf {} +
