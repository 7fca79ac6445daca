"""Screen: seeds are judged before money is spent on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from filters.gates import Gate, apply_gates, first_reasons
from filters.presets import DEFAULT_SEED_GATES
from filters.published import PresetUse, preset_gates
from flows.steps.retraction import with_retracted, without_empty
from flows.steps.scoring import RuleConfig, RuleWork, finds_of, notes_of, score_table
from flows.steps.verdicts import findings
from synth import rows
from synth.config import Config
from synth.step import Counts, Step

LICENSE_GATE = Gate(column="license_known", min=1.0, reason="unknown_license")


class ScreenConfig(Config):
    """Rules that score seeds, and the gates that drop them."""

    rules: tuple[RuleConfig, ...] = Field(
        (RuleConfig(name="statistics"), RuleConfig(name="license")), description="Rules that score every seed."
    )
    more_rules: tuple[RuleConfig, ...] = Field((), description="Further rules, after those of `rules`.")
    gates: tuple[Gate, ...] = Field(DEFAULT_SEED_GATES, description="Bounds on scores; what fails one is dropped.")
    presets: tuple[PresetUse, ...] = Field(
        (), description="Published heuristics, after `gates`; their rules are added."
    )
    more_gates: tuple[Gate, ...] = Field((), description="Further bounds, after those of `gates` and `presets`.")
    allow_unknown_license: bool = Field(False, description="Work on seeds whose licence is unknown, and release them.")

    def chosen(self) -> tuple[Gate, ...]:
        """The gates that drop, but for that of the licence. RecipeError: an unknown preset."""
        return (*self.gates, *preset_gates(self.presets), *self.more_gates)


class ScreenWork(Config):
    """The rules as hashed, and all gates; `retracted`: seeds of this partition that must not be used again, and why."""

    rules: tuple[RuleWork, ...]
    gates: tuple[Gate, ...]
    retracted: dict[str, str] = Field({}, description="Not of a recipe: by id, why.")

    def content(self) -> dict[str, Any]:
        """Without `retracted` where there are none: such a partition keeps its key."""
        return without_empty(super().content(), "retracted")


def run(inputs: Mapping[str, Path], config: ScreenWork, out: Path) -> Counts:
    """Input: seeds. Out: seed_scores (a column per score), verdicts (what rules found), drops."""
    seeds = rows.read_table(inputs["seeds"])
    scores = score_table(_view(seeds), config.rules)
    named = scores.add_column(0, "item_id", seeds["id"]).add_column(1, "family", pa.nulls(len(seeds), pa.string()))
    drops = apply_gates(named, config.gates, item_kind="seed", step="screen", already_dropped=frozenset())
    drops = with_retracted(drops, config.retracted, "seed")
    rows.write_table(named.drop_columns(finds_of(config.rules)), out / "seed_scores.parquet")
    rows.write_table(findings(named, config.rules, "seed"), out / "verdicts.parquet")
    rows.write_table(drops, out / "drops.parquet")
    return count(len(seeds), drops, notes_of(config.rules))


def _view(seeds: pa.Table) -> pa.Table:
    """Seeds as the rules want to see texts."""
    nothing = pa.nulls(len(seeds), pa.large_string())
    columns = {
        "text": seeds["text"],
        "generated": seeds["text"],
        "seed_text": nothing,
        "family": pa.nulls(len(seeds), pa.string()),
        "license": seeds["license"],
        "language": seeds["language"],
        "canary": pa.nulls(len(seeds), pa.string()),
        "reasoning": nothing,
    }
    return pa.table(columns)


def count(items: int, drops: pa.Table, notes: Mapping[str, int] | None = None) -> Counts:
    """Each dropped item under its first reason."""
    first = first_reasons(drops)
    dropped: dict[str, int] = {}
    for reason in first["reason"].to_pylist():
        dropped[reason] = dropped.get(reason, 0) + 1
    return Counts(items=items, kept=items - len(first), dropped=dropped, notes=notes or {})


STEP = Step("screen", 3, ScreenWork, run)
