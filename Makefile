# make demo, make test and make lint each work on a machine with only Python 3.11 to 3.13, pip, make and (for lint) Git.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= runs/demo
# The tests of a file share what they compile.
PYTEST := $(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

PIP_INSTALL := PYTHONWARNINGS='ignore:Editable installation' $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: install demo test test-all bench-clustering bench-selection bench-training
.PHONY: lint lint-rules lint-format lint-types lint-prose format clean

install: $(VENV)/.installed

# The demo needs the package alone; tests and checks need much more (.[test]).
$(VENV)/.package: setup.py
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable .
	touch $@

$(VENV)/.installed: $(VENV)/.package
	$(PIP_INSTALL) --editable '.[test]'
	touch $@

demo: $(VENV)/.package
	$(BIN)/data-redundancy run --config=digits --workdir=$(DEMO) --config.dataset.data_dir=$(DEMO)/tfds

test: install
	$(PYTEST) -m "not slow"

test-all: install
	$(PYTEST) --cov --cov-report=
	@echo "Coverage of data_redundancy, subprocesses included: $$($(BIN)/coverage report --format=total | tail -n 1)%"

# For example make bench-clustering ARGS='--workdir=runs/cifar10 --only=cifar,tree20k'
bench-clustering: install
	$(PIP_INSTALL) --editable '.[bench]'
	$(BIN)/python -m benchmarks.clustering $(ARGS)

# For example make bench-selection ARGS='kcenter herding --workdir=runs/cifar10'
bench-selection: install
	$(BIN)/python -m benchmarks.selection $(ARGS)

# For example make bench-training ARGS='--only=input,keep10'; on a GPU, what is meant for one (see .[bench-gpu])
bench-training: install
	$(BIN)/python -m benchmarks.training $(ARGS)

# .pre-commit-config.yaml runs the same four.
lint: lint-rules lint-format lint-types lint-prose

lint-rules: install
	$(BIN)/ruff check .

lint-format: install
	$(BIN)/ruff format --check .

lint-types: install
	$(BIN)/mypy

lint-prose: install
	$(BIN)/python .ci/lint_prose.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info
