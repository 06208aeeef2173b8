# Every target sets itself up, so that it works in a fresh clone: it makes .venv once, from pyproject.toml and
# constraints.txt. Another interpreter: make PYTHON=python3.12 test. Another number of test processes: make JOBS=4 test.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -n $(JOBS)

.PHONY: help demo test lint style bench soak
.DELETE_ON_ERROR:

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 8

demo: $(READY) ## a strategy trades a synthetic session, then an agent learns to make a market and is judged
	$(BIN)/bt-gym demo
	$(BIN)/python -m agents.ppo_market_making --total-steps 500000 --save-every 10 --folder demo/agent
	$(BIN)/python -m agents.evaluate demo/agent --quick --test-days 10

test: style ## all tests: kernels with bounds checked, kernels without the compiler, then everything as it runs
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CURDIR)/.numba_cache_boundscheck $(PYTEST) -m "kernel and not soak" tests
	NUMBA_DISABLE_JIT=1 $(PYTEST) -m "kernel and not soak and not real_data" tests
	$(PYTEST) --doctest-modules tests bt_gym

lint: style ## style, layers, formatting and types
	$(BIN)/ruff format --check .
	$(BIN)/mypy

style: $(READY)
	$(BIN)/ruff check .
	$(BIN)/lint-imports

bench: $(READY) ## every benchmark, one JSON file each in benchmarks/results/
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@mkdir -p benchmarks/results
	@set -e; for file in benchmarks/[!_]*.py; do \
	    [ -e "$$file" ] || continue; \
	    name=$$(basename "$$file" .py); \
	    echo "$(BIN)/python -m benchmarks.$$name --json > benchmarks/results/$$name.json"; \
	    $(BIN)/python -m benchmarks.$$name --json > "benchmarks/results/.$$name.part"; \
	    mv "benchmarks/results/.$$name.part" "benchmarks/results/$$name.json"; \
	done

soak: $(READY) ## long runs: the tests marked soak, and many more random examples for all others (results/soak.json)
	$(PYTEST) -m "soak or not soak" --hypothesis-profile=soak tests

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "bt_gym needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	@echo "Setting up $(VENV): once, a minute or two"
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
