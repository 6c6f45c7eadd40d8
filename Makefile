# make demo   train a language model on the embedded corpus and watch it write (about two minutes)
# make test   the tests that run in seconds
# make check  everything that CI checks: tests, lint, types, generated docs
# make slow   the tests that take minutes
# make docs   regenerate what is generated in README.md and docs/
# make site   build the documentation site into site/; a broken link is an error
# make fuzz   an hour of mutated files (make fuzz SECONDS=60 SEED=2 for less, or others)
# make lab-docs  run the experiments of the lab and paste what they print (some minutes)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test slow fuzz lint docs lab-docs docs-check site check clean
.DEFAULT_GOAL := test

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	touch $@

demo: export CHARNN_DATA_DIR := demo/data
demo: export CHARNN_RUNS_DIR := demo/runs
demo: $(INSTALLED)
	$(BIN)/charnn prepare
	$(BIN)/charnn train --minutes 1
	$(BIN)/charnn eval
	$(BIN)/charnn sample --temp 0.8 -n 500

# A process a core, each with one thread: threads that wait for each other would spin.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow --timeout 3600

fuzz: SECONDS ?= 3600
fuzz: SEED ?= 1
fuzz: $(INSTALLED)
	$(BIN)/python -m tests.reliability.fuzz --seconds $(SECONDS) --seed $(SEED)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED)
	$(BIN)/python -m docs.generate

lab-docs: $(INSTALLED)
	$(BIN)/python docs/run_lab.py

docs-check: $(INSTALLED)
	$(BIN)/python -m docs.generate --check

site: $(INSTALLED)
	$(BIN)/properdocs build --strict

check: lint docs-check site test

clean:
	rm -rf $(VENV) demo build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
