# Two commands for everyone:
#
#     make example    train the example in .venv and write its pictures
#     make test       run the tests, documentation examples included
#
# make docs builds the documentation into build/docs; a broken link is an error.
#
# make test takes a sample of the longest tests, PYTEST_ARGS=--every all of them.
#
# DMLKERNELS_NATIVE=1 makes the native module a must, =0 leaves it out, unset tries it. DMLKERNELS_CUDA=1 adds the CUDA
# engine. EXTRAS=dev,test,examples,docs installs all at once, instead of what each target needs. A pip setting goes in
# through pip's own variables: PIP_EXTRA_INDEX_URL, say, for a CPU-only torch.

PYTHON ?= python3
VENV   ?= .venv
PYTEST_ARGS ?=

BIN     := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt
NATIVE  := $(or $(DMLKERNELS_NATIVE),auto)
EXTRAS  ?=
TEST    := test,examples
# EXTRAS, or what a target needs; a comma would end the argument of a call, hence TEST.
installed = $(VENV)/.installed-$(or $(EXTRAS),$(1))-$(NATIVE)
BUILD_INPUTS := pyproject.toml constraints.txt CMakeLists.txt $(shell find csrc -type f)

.PHONY: example test docs lint types wheels clean
.DELETE_ON_ERROR:

example: $(call installed,examples)
	$(BIN)/python examples/digits.py

test: $(call installed,$(TEST))
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --doctest-modules dmlkernels tests $(PYTEST_ARGS)

docs: $(call installed,docs)
	$(BIN)/python -m sphinx -W --keep-going -q -j auto docs build/docs
	@echo 'build/docs/index.html'

lint: $(call installed,dev)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(call installed,dev)
	$(BIN)/mypy

wheels: $(call installed,dev)
	rm -rf dist
	DMLKERNELS_NATIVE=1 $(BIN)/python -m build --outdir dist/native
	DMLKERNELS_NATIVE=0 $(BIN)/python -m build --wheel --outdir dist/pure

clean:
	rm -rf $(VENV) build dist

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

# torch goes in first and pinned, so that no other package picks another build of it. compileall takes all cores, pip
# one. An install for another DMLKERNELS_NATIVE replaces this one, hence the removal of its stamps.
$(VENV)/.installed-%-$(NATIVE): $(BUILD_INPUTS) | $(VENV)/pyvenv.cfg
	$(INSTALL) torch
	$(INSTALL) --config-settings=build-dir=build/editable --editable '.[$*]'
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # some files are for another Python
	find $(VENV) -maxdepth 1 -name '.installed-*' ! -name '.installed-*-$(NATIVE)' -delete
	@$(BIN)/python -W ignore -c 'from dmlkernels.backends.native import unavailable_reason as why; \
	print("native module:", why() or "built")'
	touch $@
