# demo        the main job on the embedded miniature
# test        what must hold before a change is merged: lint and all tests but the slow ones
# unit        the tests of functions; no inversion, command or training: under a minute
# test-slow   full-size shapes, sweeps in many processes, and a whole edit compiled
# test-latest the same as test, with the newest versions of all libraries: by hand, once a week
# constraints the versions that test-latest passed with, for all others
# lint        style, formatting and types
# hooks       lint before every commit
# docs        the reference of public functions, in docs/api
# tables      every published table with our figures beside it, on the miniature
# train-mini  train the miniature (to MINI), or go on where it was stopped (in WORK)
# cost-gpu    every cost figure with SDXL's shapes on the GPU at hand (random weights: time and memory do not notice)
PYTHON ?= python3
VENV ?= .venv
# With the versions that were tested; CONSTRAINTS= installs the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
INSTALL = $(PIP) install --quiet $(addprefix --constraint ,$(CONSTRAINTS)) --editable
# Two processes of one thread each: threads that wait for a busy core cost more than they give.
PYTEST = OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses 2 --dist worksteal
COST = $(VENV)/bin/python -m experiments.cost
WORK ?= .cache/mini
MINI ?= rli/models/mini/weights

.PHONY: demo test unit test-slow lint hooks docs tables train-mini cost-gpu clean test-latest constraints

demo: $(VENV)/installed
	$(VENV)/bin/python main.py experiment=demo hydra.run.dir=outputs/demo

test: lint
	$(PYTEST) -m "not slow"

unit: $(VENV)/tested
	$(PYTEST) -m "not slow and not integration"

test-slow: $(VENV)/tested
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m slow

# In an environment of its own, made anew: what users get who install today.
test-latest:
	rm -rf .venv-latest
	$(MAKE) test VENV=.venv-latest CONSTRAINTS=

constraints:
	head -3 constraints.txt > constraints.new
	.venv-latest/bin/python -m pip freeze --exclude-editable | sed 's/+.*//' | grep -viE '^(nvidia|cuda|triton)' >> constraints.new
	mv constraints.new constraints.txt

lint: $(VENV)/tested
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

hooks: $(VENV)/tested
	$(VENV)/bin/pre-commit install

# Every package and module by name: pdoc would go no further than what rli/__init__.py gives.
MODULES = $(subst /,.,$(patsubst %.py,%,$(patsubst %/__init__.py,%,$(wildcard rli/*/__init__.py rli/[a-z]*.py))))
docs: $(VENV)/tested
	$(VENV)/bin/python -m pdoc --docformat google --output-directory docs/api rli $(MODULES)

tables: $(VENV)/installed
	$(VENV)/bin/python -m experiments.tables

train-mini: $(VENV)/installed
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m rli.models.mini.train --out $(MINI) --work $(WORK)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m rli.models.mini.classifier --out $(MINI) --work $(WORK)

cost-gpu: $(VENV)/installed
	$(COST).run --device cuda --model sdxl --size 512 --dtype bfloat16 float16
	$(COST).run --device cuda --model sdxl --size 1024 --dtype bfloat16 float16 --defects 1
	$(COST).run --device cuda --model sdxl --size 512 --dtype bfloat16 --defects 1 --ways ours --photos 2 4 8
	$(COST).run --device cuda --model sdxl --size 1024 --dtype bfloat16 --ways ours --frugal
	$(COST).memory --device cuda --model sdxl --dtype bfloat16 --size 512 --budgets 24 12 8
	$(COST).memory --device cuda --model sdxl --dtype bfloat16 --size 1024 --budgets 24 12 8
	$(COST).kernels --device cuda --model sdxl --dtype bfloat16 --size 512
	$(COST).profile --device cuda --model sdxl --dtype bfloat16 --size 1024
	$(COST).solvers --device cuda

clean:
	rm -rf .venv .venv-latest .cache .mypy_cache .pytest_cache .ruff_cache build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml $(CONSTRAINTS)
	$(INSTALL) .
	touch $@

$(VENV)/tested: $(VENV)/installed
	$(INSTALL) ".[test]"
	touch $@
