# demo: the main job on the embedded miniature.  test: the whole suite.  train-mini: train the miniature anew.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check
WORK ?= .cache/mini

.PHONY: demo test test-slow lint train-mini clean

demo: .venv/installed
	.venv/bin/python main.py experiment=demo hydra.run.dir=outputs/demo

test: .venv/tested
	.venv/bin/python -m pytest -m "not slow"

test-slow: .venv/tested
	.venv/bin/python -m pytest -m slow

lint: .venv/tested
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

train-mini: .venv/installed
	.venv/bin/python -m rli.mini.train --out rli/mini/weights --work $(WORK) --vae-steps 4700 --vae-minutes 20 --minutes 60
	.venv/bin/python -m rli.mini.classifier --work $(WORK)

clean:
	rm -rf .venv .cache .pytest_cache .ruff_cache build *.egg-info

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	$(PIP) install --quiet --editable .
	touch $@

.venv/tested: .venv/installed
	$(PIP) install --quiet --editable ".[test]"
	touch $@
