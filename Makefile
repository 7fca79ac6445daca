# make run    sets up .venv and runs the quickstart      make check  ruff and mypy --strict
# make test   sets up .venv and passes the tests         make test-kill  every kill point, not a sample (long)
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test test-kill check clean

run: .venv/run.done
	$(BIN)/synth run flows/recipes/quickstart.toml

test: .venv/test.done
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-kill: .venv/test.done
	$(BIN)/python -m pytest -n 2 --dist worksteal -m kill --every-kill-point

check: .venv/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run.done: .venv/bin/python pyproject.toml constraints.txt
	@echo "setting up .venv (once, a few minutes)"
	$(PIP) --editable .
	@touch $@

.venv/test.done: .venv/bin/python pyproject.toml constraints.txt
	@echo "setting up .venv with what the tests need (once, a few minutes)"
	$(PIP) --editable ".[test]"
	@touch $@ .venv/run.done

clean:
	rm -rf .venv corpus build *.egg-info
