"""Keep: gates over scores. Gates are data, applied by one function, so a new threshold costs seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from filters.gates import Gate, apply_gates
from filters.presets import DEFAULT_DOCUMENT_GATES
from flows.steps.screen import count
from synth import rows
from synth.config import Config
from synth.step import Counts, Step


class KeepConfig(Config):
    """Bounds on the scores of documents."""

    gates: tuple[Gate, ...] = Field(DEFAULT_DOCUMENT_GATES, description="Bounds on scores; what fails one is dropped.")
    more_gates: tuple[Gate, ...] = Field((), description="Further bounds, after those of `gates`.")


class KeepWork(Config):
    """All gates, in their order."""

    gates: tuple[Gate, ...]


def run(inputs: Mapping[str, Path], config: KeepWork, out: Path) -> Counts:
    """Inputs: scores, drops (of generate). Out: drops, of documents that had none before."""
    scores = rows.read_table(inputs["scores"])
    earlier = frozenset(rows.read_table(inputs["drops"], ["item_id"])["item_id"].to_pylist())
    drops = apply_gates(scores, config.gates, item_kind="document", step="keep", already_dropped=earlier)
    rows.write_table(drops, out / "drops.parquet")
    return count(len(scores) - len(earlier), drops)


STEP = Step("keep", 1, KeepWork, run)
