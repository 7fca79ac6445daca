"""The quickstart's three families over a few bundled passages, with vLLM in the place of llama.cpp."""

from __future__ import annotations

import itertools
from collections import Counter
from importlib import resources
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from synth.engine.roles import ModelConfig
from tests.corpora import run_recipe, shard_rows, write_recipe
from tests.vllm.processes import ARGS, nothing_left

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

SEEDS = 8
FAMILIES = """
[[families]]
name = "diverse_qa"
options = { max_pairs = 2, max_tokens = 170, temperature = 0.2, anchored = true }

[[families]]
name = "distill"
options = { max_tokens = 180, temperature = 0.3 }

[[families]]
name = "textbook"
options = { words = 80, max_tokens = 220, temperature = 0.4 }
"""
RUN = """
[run]
grace_seconds = 2
[run.models.m]
args = {args}
max_num_seqs = 16
max_num_batched_tokens = 4096
gpu_memory_utilization = 0.4
in_flight = 16
{more}
"""


def write_passages(path: Path, number: int) -> None:
    """The first bundled passages as a JSONL file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with resources.files("synth.data").joinpath("passages.jsonl").open() as bundled:
        path.write_text("".join(itertools.islice(bundled, number)))


def vllm_recipe(folder: Path, model: ModelConfig, more: str = "", families: str = FAMILIES) -> Path:
    """A recipe over folder/seeds and a vLLM that is ours; `more` goes into [run.models.m]."""
    lines = [f'{key} = "{value}"' for key, value in model.content().items() if isinstance(value, str)]
    models = "\n".join(["[models.m]", *lines, f"context_tokens = {model.context_tokens}"])
    return write_recipe(folder, "", models=models, families=families, run=RUN.format(args=list(ARGS), more=more))


def rows(home: Path, step: str, file: str) -> list[dict[str, object]]:
    """All rows of one kind of file of a step's objects."""
    found = sorted((home / "objects" / step).rglob(f"{file}*.parquet"))
    return [row for path in found for row in pq.read_table(path).to_pylist()]


def test_the_quickstart_s_families_with_vllm(model: ModelConfig, tmp_path: Path) -> None:
    write_passages(tmp_path / "seeds/passages.jsonl", SEEDS)
    with nothing_left():
        releases, engine = run_recipe(vllm_recipe(tmp_path, model), tmp_path / "home")
    assert [release.number for release in releases] == [1]
    made = rows(tmp_path / "home", "generate", "documents")
    assert Counter(row["family"] for row in made).keys() == {"diverse_qa", "distill", "textbook"}
    kept = shard_rows(tmp_path / "home")
    assert kept and {row["doc_id"] for row in kept} <= {row["id"] for row in made}
    assert engine.stats.asks >= 3 * SEEDS
    attempts = rows(tmp_path / "home", "generate", "attempts")
    assert {row["status"] for row in attempts} == {"ok"}
    assert len(attempts) == engine.stats.asks
    # Exactly as reported: what we pay is what came.
    assert sum(row["usage_completion_tokens"] for row in attempts) == engine.stats.completion_tokens
    again, engine = run_recipe(tmp_path / "recipe.toml", tmp_path / "home")
    assert again == [] and engine.stats.attempts == 0
