# `make setup` makes .venv from pyproject.toml and constraints.txt; it does nothing when neither changed.
#   PYTHON=/path/to/python3.11   which interpreter to use
#   TORCH_INDEX=URL              where to take another build of PyTorch from (README: CPU or CUDA)

SHELL := /bin/bash
BIN := .venv/bin
ROOMS := urdf bridge hardware calibration perception sim policies scripts
PI_TESTS := $(wildcard tests/urdf tests/bridge tests/hardware tests/calibration)
# What stands on the base install alone is tested there, and not once more beside PyTorch.
PI_ALONE := --ignore=tests/bridge --ignore-glob='tests/hardware/test_*.py'
# These hold several processes to milliseconds, whole labs among them, and run by themselves; all others run two at a time
# (three are no quicker on two cores: 686 s against 663).
ALONE := $(addprefix tests/scripts/test_,demo.py lab.py mirror.py run.py)
PIP_FLAGS := $(if $(CI),--quiet) --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
FIND_PYTHON := PYTHON="$(PYTHON)" bash scripts/find_python.sh

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-pi check check-deep format bench clean

help: ## list these targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: .venv/.installed ## make .venv (CPython 3.11) and install everything, pinned

.venv/.installed: pyproject.toml constraints.txt
	@python="$$($(FIND_PYTHON))" && \
	if ! [ -x $(BIN)/python ]; then echo "setup: making .venv with $$python"; "$$python" -m venv --clear .venv; fi
	@echo "setup: installing the pinned packages (about a minute, downloads aside: 0.85 GB with a CPU build of PyTorch, 3 GB with CUDA)"
	@$(BIN)/python -m pip install $(PIP_FLAGS) -e '.[workstation,dev]'
	@touch $@
	@echo "setup: done. Next: make demo (the whole thing in six minutes), or .venv/bin/tandem --help"

demo: setup ## train, start the lab, run 20 episodes across the bridge, write data/demo/report.html
	@$(BIN)/tandem demo

test: setup ## run the tests
	@$(BIN)/python -m pytest

test-pi: .venv-pi/.installed ## run the Raspberry Pi half's tests with the base install alone
	@.venv-pi/bin/python -m pytest -p no:cacheprovider -n 2 --dist loadfile $(PI_TESTS) tests/test_imports.py

.venv-pi/.installed: pyproject.toml constraints.txt
	@python="$$($(FIND_PYTHON))" && \
	if ! [ -x .venv-pi/bin/python ]; then "$$python" -m venv --clear .venv-pi; fi
	@echo "test-pi: installing the base packages alone"
	@.venv-pi/bin/python -m pip install $(PIP_FLAGS) -e '.[test]'
	@touch $@

check: setup ## format, lint, types, import contracts, the Pi half alone, all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	@# The Pi half mostly waits; the types are checked meanwhile.
	@log=$$(mktemp); $(BIN)/pyright >"$$log" 2>&1 & types=$$!; \
	$(MAKE) --no-print-directory test-pi; tested=$$?; \
	wait $$types; typed=$$?; cat "$$log"; rm -f "$$log"; exit $$((tested || typed))
	@# One thread each: two of them share two cores, and threads that wait for each other there spin.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 20 $(addprefix --ignore=,$(ALONE)) $(PI_ALONE)
	$(BIN)/python -m pytest $(ALONE)

check-deep: setup ## the long tests: 10^5 hostile sequences, messages and replies, whole labs; mutation testing (an hour)
	TANDEM_DEEP=1 $(BIN)/python -m pytest $(shell grep -rlE 'TANDEM_DEEP|mark\.deep' --include='test_*.py' tests)
	$(BIN)/python -m scripts.programs.mutate --jobs 2

format: setup ## format the code and mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## measure what is promised in numbers, into data/bench/
	@$(BIN)/tandem bench

clean: ## remove the environments and every build product (data/ stays)
	rm -rf .venv .venv-pi build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(ROOMS) tests -name __pycache__ -prune -exec rm -rf {} +
