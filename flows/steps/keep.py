"""Keep: gates over scores. Gates are data, applied by one function, so a new threshold costs seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from filters.gates import Gate, apply_gates
from filters.presets import DEFAULT_DOCUMENT_GATES, PROSE_FAMILIES
from filters.published import PresetUse, preset_gates
from flows.steps.retraction import with_retracted, without_empty
from flows.steps.screen import count
from synth import rows
from synth.config import Config, nearest
from synth.errors import RecipeError, fail
from synth.step import Counts, Step


class KeepConfig(Config):
    """Bounds on the scores of documents."""

    gates: tuple[Gate, ...] = Field(DEFAULT_DOCUMENT_GATES, description="Bounds on scores; what fails one is dropped.")
    presets: tuple[PresetUse, ...] = Field(
        (), description="Published heuristics, after `gates`; their rules are added."
    )
    more_gates: tuple[Gate, ...] = Field((), description="Further bounds, after those of `gates` and `presets`.")
    without: tuple[str, ...] = Field(
        (), description="Reasons of `gates` that drop nothing: what they look at stays a label, such as invented_name."
    )

    def chosen(self) -> tuple[Gate, ...]:
        """The gates that drop. RecipeError when `without` names a reason that no gate has."""
        reasons = {gate.reason for gate in (*self.gates, *DEFAULT_DOCUMENT_GATES)}
        for reason in self.without:
            if reason not in reasons:
                raise fail(
                    RecipeError,
                    f"keep.without: no gate has the reason {reason!r}{nearest(reason, reasons)}",
                    given=reason,
                    allowed=", ".join(sorted(reasons)),
                )
        kept = (gate for gate in self.gates if gate.reason not in self.without)
        return (*kept, *preset_gates(self.presets, PROSE_FAMILIES), *self.more_gates)


class KeepWork(Config):
    """All gates, in their order; `retracted`: of these documents those that must not be released again, and why."""

    gates: tuple[Gate, ...]
    retracted: dict[str, str] = Field({}, description="Not of a recipe: by id, why.")

    def content(self) -> dict[str, Any]:
        """Without `retracted` where there are none: such an object keeps its key."""
        return without_empty(super().content(), "retracted")


def run(inputs: Mapping[str, Path], config: KeepWork, out: Path) -> Counts:
    """Inputs: scores, drops (of generate). Out: drops, of documents that had none before."""
    scores = rows.read_table(inputs["scores"])
    earlier = frozenset(rows.read_table(inputs["drops"], ["item_id"])["item_id"].to_pylist())
    drops = apply_gates(scores, config.gates, item_kind="document", step="keep", already_dropped=earlier)
    gone = {doc_id: why for doc_id, why in config.retracted.items() if doc_id not in earlier}
    drops = with_retracted(drops, gone, "document")
    rows.write_table(drops, out / "drops.parquet")
    return count(len(scores) - len(earlier), drops)


STEP = Step("keep", 2, KeepWork, run)
