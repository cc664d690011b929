# Two commands for everyone:
#
#     make example    train the example in .venv and write its pictures
#     make test       run every test, documentation examples included
#
# make docs builds the documentation into build/docs; a broken link is an error.
#
# DMLKERNELS_NATIVE=1 makes the native module a must, =0 leaves it out, unset tries it. DMLKERNELS_CUDA=1 adds the CUDA
# engine. A pip setting goes in through pip's own variables: PIP_EXTRA_INDEX_URL, say, for a CPU-only torch.

PYTHON ?= python3
VENV   ?= .venv
PYTEST_ARGS ?=

BIN    := $(VENV)/bin
NATIVE := $(or $(DMLKERNELS_NATIVE),auto)
BUILD_INPUTS := pyproject.toml constraints.txt CMakeLists.txt $(shell find csrc -type f)

.PHONY: example test docs lint types wheels clean
.DELETE_ON_ERROR:

example: $(VENV)/.installed-examples-$(NATIVE)
	$(BIN)/python examples/digits.py

test: $(VENV)/.installed-test,examples-$(NATIVE)
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --doctest-modules dmlkernels tests $(PYTEST_ARGS)

docs: $(VENV)/.installed-docs-$(NATIVE)
	$(BIN)/python -m sphinx -W --keep-going -q docs build/docs
	@echo 'build/docs/index.html'

lint: $(VENV)/.installed-dev-$(NATIVE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev-$(NATIVE)
	$(BIN)/mypy

wheels: $(VENV)/.installed-dev-$(NATIVE)
	rm -rf dist
	DMLKERNELS_NATIVE=1 $(BIN)/python -m build --outdir dist/native
	DMLKERNELS_NATIVE=0 $(BIN)/python -m build --wheel --outdir dist/pure

clean:
	rm -rf $(VENV) build dist

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

# torch goes in first and pinned, so that no other package picks another build of it. An install for another
# DMLKERNELS_NATIVE replaces this one, hence the removal of its stamps.
$(VENV)/.installed-%-$(NATIVE): $(BUILD_INPUTS) | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --config-settings=build-dir=build/editable --editable '.[$*]'
	find $(VENV) -maxdepth 1 -name '.installed-*' ! -name '.installed-*-$(NATIVE)' -delete
	@$(BIN)/python -W ignore -c 'from dmlkernels.backends.native import unavailable_reason as why; \
	print("native module:", why() or "built")'
	touch $@
