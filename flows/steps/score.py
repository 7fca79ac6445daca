"""Score: every rule on every document. No thresholds here, so that moving one never scores again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from pydantic import Field

from flows.steps.scoring import RuleConfig, RuleWork, score_table
from synth import rows
from synth.config import Config
from synth.step import Counts, Step


class ScoreConfig(Config):
    """Rules that score documents."""

    rules: tuple[RuleConfig, ...] = Field(
        (RuleConfig(name="statistics"), RuleConfig(name="copy")), description="Rules that score every document."
    )


class ScoreWork(Config):
    """The rules as hashed."""

    rules: tuple[RuleWork, ...]


def run(inputs: Mapping[str, Path], config: ScoreWork, out: Path) -> Counts:
    """Inputs: documents, seeds. Out: scores (item_id, family, a column per score)."""
    documents = rows.read_table(inputs["documents"], ["id", "family", "seed_ids", "text", "parts", "license"])
    seeds = rows.read_table(inputs["seeds"], ["id", "text", "language"])
    scores = score_table(_view(documents, seeds), config.rules)
    named = scores.add_column(0, "item_id", documents["id"]).add_column(1, "family", documents["family"])
    rows.write_table(named, out / "scores.parquet")
    return Counts(items=len(documents), kept=len(documents))


def _view(documents: pa.Table, seeds: pa.Table) -> pa.Table:
    """Documents as the rules want to see texts, each beside its first seed's text."""
    position = {seed_id: at for at, seed_id in enumerate(seeds["id"].to_pylist())}
    taken = pa.array([position[ids[0]] for ids in documents["seed_ids"].to_pylist()], pa.int64())
    columns = {
        "text": documents["text"],
        "generated": rows.generated_texts(documents),
        "seed_text": seeds["text"].take(taken),
        "family": documents["family"],
        "license": documents["license"],
        "language": seeds["language"].take(taken),
    }
    return pa.table(columns)


STEP = Step("score", 1, ScoreWork, run)
