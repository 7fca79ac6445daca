"""Score: every rule on every document. No thresholds here, so that moving one never scores again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from pydantic import Field

from flows.steps.scoring import (
    RuleConfig,
    RuleWork,
    finds_of,
    needed_columns,
    notes_of,
    scores_and_spans,
    span_rows,
    with_model,
)
from flows.steps.verdicts import findings, verified
from synth import rows
from synth.config import Config
from synth.step import Counts, Step

DEFAULT_RULES = tuple(
    RuleConfig(name=name) for name in ("statistics", "copy", "fidelity", "arithmetic", "leaks", "injection", "openings")
)
"""Everything that costs no model: texts are labelled widely, and gates decide."""


class ScoreConfig(Config):
    """Rules that score documents."""

    rules: tuple[RuleConfig, ...] = Field(DEFAULT_RULES, description="Rules that score every document.")
    more_rules: tuple[RuleConfig, ...] = Field((), description="Further rules, after those of `rules`.")


class ScoreWork(Config):
    """The rules as hashed."""

    rules: tuple[RuleWork, ...]


def run(inputs: Mapping[str, Path], config: ScoreWork, out: Path) -> Counts:
    """Inputs: documents, verdicts (of generate), seeds; model, where the recipe trains one. Out: scores (item_id, family, a
    column per score), verdicts, spans (where rules found something in `text`)."""
    documents = rows.read_table(
        inputs["documents"],
        ["id", "family", "seed_span", "seed_ids", "text", "parts", "license", "generation_depth", *_thoughts(config)],
    )
    seeds = rows.read_table(inputs["seeds"], ["id", "text", "language", "meta"])
    judged_by = with_model(config.rules, inputs["model"]) if "model" in inputs else config.rules
    scores, spans = scores_and_spans(_view(documents, seeds), judged_by)
    named = scores.add_column(0, "item_id", documents["id"]).add_column(1, "family", documents["family"])
    earlier = rows.read_table(inputs["verdicts"], ["item_id", "rung", "outcome"])
    verdicts = findings(named, config.rules)
    for name, column in verified(documents, earlier, verdicts).items():
        named = named.append_column(name, column)
    rows.write_table(named.drop_columns(finds_of(config.rules)), out / "scores.parquet")
    rows.write_table(verdicts, out / "verdicts.parquet")
    rows.write_table(span_rows(documents["id"], spans), out / "spans.parquet")
    return Counts(items=len(documents), kept=len(documents), notes=notes_of(config.rules))


def _thoughts(config: ScoreWork) -> list[str]:
    """The column of the reasoning where a rule reads it: it may be longer than all else."""
    return [name for name in ("reasoning",) if name in needed_columns(config.rules)]


def _view(documents: pa.Table, seeds: pa.Table) -> pa.Table:
    """Documents as the rules want to see texts, each beside the part of its first seed's text that it was made from."""
    position = {seed_id: at for at, seed_id in enumerate(seeds["id"].to_pylist())}
    taken = pa.array([position[ids[0]] for ids in documents["seed_ids"].to_pylist()], pa.int64())
    own = seeds.take(taken)
    meta = [orjson.loads(value) if value else {} for value in own["meta"].to_pylist()]
    columns = {
        "text": documents["text"],
        "generated": rows.generated_texts(documents),
        "seed_text": pa.array(
            map(_source, own["text"].to_pylist(), documents["seed_span"].to_pylist(), meta), pa.large_string()
        ),
        "family": documents["family"],
        "license": documents["license"],
        "language": own["language"],
        "canary": pa.array([one.get("canary") for one in meta], pa.string()),
        **{name: documents[name] for name in ("reasoning",) if name in documents.column_names},
    }
    return pa.table(columns)


def _source(text: str, span: Mapping[str, int] | None, meta: Mapping[str, Any]) -> str | None:
    """What the document was made from: a span of the seed. A bare topic is no text to be compared with."""
    if meta.get("topic_only"):
        return None
    if span is None or (span["start_byte"] == 0 and span["end_byte"] >= len(text.encode())):
        return text
    return text.encode()[span["start_byte"] : span["end_byte"]].decode()


STEP = Step("score", 3, ScoreWork, run)
