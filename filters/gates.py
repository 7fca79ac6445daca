"""Gates: which scores drop an item. They are data, applied by one function, so that a new threshold needs no new scores."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from synth.config import Config, nearest
from synth.errors import RecipeError, SynthError, fail
from synth.rows import DROP, ItemKind

KEYS = ("item_id", "family")  # the columns of a score table that are no scores


class Gate(Config):
    """Bounds on one score. An item passes when min <= score <= max, or when the score is one of `one_of`."""

    column: str = Field(min_length=1, description="The score column that is looked at.")
    min: float | None = Field(None, description="The smallest score that passes, in the score's unit.")
    max: float | None = Field(None, description="The largest score that passes, in the score's unit.")
    one_of: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="The words that pass, for a score that is a word, such as language.",
    )
    families: tuple[str, ...] = Field((), description="The families it holds for; empty: all of them, and seeds.")
    missing: Literal["drop", "keep"] = Field(
        "drop",
        description="What happens to an item without this score (null or NaN). `drop`: what could not be scored does not "
        "slip through. `keep`: for a score that does not apply to every item, such as copying without a seed text.",
    )
    reason: str = Field(min_length=1, description="The word under which its drops are counted, such as too_short.")
    evidence: str | None = Field(
        None,
        description="A column of text that names the offenders, such as invented_numbers: it is kept with the drop.",
    )

    @model_validator(mode="after")
    def _one_kind_of_bound(self) -> Self:
        numeric = self.min is not None or self.max is not None
        if numeric == (self.one_of is not None):
            raise ValueError("either min, max or both (a numeric score), or one_of (a score that is a word)")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("a min that is not larger than max")
        return self


def check_gates(gates: Iterable[Gate], columns: Collection[str]) -> None:
    """RecipeError when a gate looks at a column that is not among `columns`; names the nearest one."""
    for gate, column in ((one, name) for one in gates for name in (one.column, one.evidence) if name):
        if column not in columns:
            raise fail(
                RecipeError,
                f"the gate {gate.reason!r} looks at {column!r}, which no rule writes{nearest(column, columns)}",
                given=column,
                allowed=", ".join(sorted(columns)),
                do="name one of these columns, or add the rule that writes it (more_rules adds to the default ones)",
            )


def apply_gates(
    scores: pa.Table, gates: Sequence[Gate], item_kind: ItemKind, step: str, already_dropped: Collection[str]
) -> pa.Table:
    """Rows of DROP: one per item and gate that it fails, sorted by item and the gate's place.

    `scores` has `item_id`, `family` (null for seeds) and one column per score. `rule` is the score column, `rule_order`
    the gate's position in `gates`, `threshold` the bound that was crossed (null for `one_of`), `score` null when it is
    missing or a word. Items in `already_dropped` get none. RecipeError when a column is unknown or of the wrong kind.
    """
    check_gates(gates, [name for name in scores.column_names if name not in KEYS])
    dropped = pa.array(list(already_dropped), scores["item_id"].type)
    open_scores = scores.filter(pc.invert(pc.is_in(scores["item_id"], dropped)))
    parts = [_failed(open_scores, gate, order, item_kind, step) for order, gate in enumerate(gates)]
    found = pa.concat_tables([DROP.empty_table(), *parts])
    return found.sort_by([("item_id", "ascending"), ("rule_order", "ascending")])


def first_reasons(drops: pa.Table) -> pa.Table:
    """One row of DROP per item, sorted by item: the one with the smallest `rule_order`. `drops` comes from one step."""
    ordered = drops.sort_by([("item_id", "ascending"), ("rule_order", "ascending"), ("rule", "ascending")])
    ids = ordered["item_id"].combine_chunks()
    new = pc.not_equal(ids[1:], ids[:-1])
    return ordered.filter(pa.concat_arrays([pa.array([True] * min(len(ids), 1), pa.bool_()), new]))


def _failed(scores: pa.Table, gate: Gate, order: int, item_kind: ItemKind, step: str) -> pa.Table:
    """The DROP rows of one gate."""
    if gate.families:
        scores = scores.filter(pc.is_in(scores["family"].cast(pa.string()), pa.array(gate.families, pa.string())))
    values = scores[gate.column].combine_chunks()
    failed, score, threshold = _outside(values, gate) if gate.one_of is None else _not_among(values, gate, gate.one_of)
    items = scores["item_id"].combine_chunks().cast(pa.string()).filter(failed)
    return pa.table(
        {
            "item_id": items,
            "item_kind": pa.repeat(item_kind, len(items)),
            "step": pa.repeat(step, len(items)),
            "rule": pa.repeat(gate.column, len(items)),
            "rule_order": pa.repeat(pa.scalar(order, pa.int32()), len(items)),
            "reason": pa.repeat(gate.reason, len(items)),
            "score": score.filter(failed),
            "threshold": threshold.filter(failed),
            "partner_id": pa.nulls(len(items), pa.string()),
            "evidence": _evidence(scores, gate, failed),
        },
        schema=DROP,
    )


def _evidence(scores: pa.Table, gate: Gate, failed: Any) -> Any:
    if gate.evidence is None:
        return pa.nulls(pc.sum(failed).as_py() or 0, pa.large_string())
    return scores[gate.evidence].combine_chunks().cast(pa.large_string()).filter(failed)


def _outside(values: Any, gate: Gate) -> tuple[Any, Any, Any]:
    """(whether it fails, its score, the bound it crossed), for a numeric gate."""
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    if not any(is_kind(values.type) for is_kind in kinds):
        raise _wrong_kind(gate, values.type, "one_of")
    score = values.cast(pa.float64())
    none = pa.scalar(None, pa.float64())
    score = pc.if_else(pc.fill_null(pc.is_nan(score), False), none, score)
    low = pc.fill_null(pc.less(score, gate.min), False) if gate.min is not None else _nowhere(score)
    high = pc.fill_null(pc.greater(score, gate.max), False) if gate.max is not None else _nowhere(score)
    missing = pc.is_null(score) if gate.missing == "drop" else _nowhere(score)
    lower = pa.scalar(gate.min if gate.min is not None else gate.max, pa.float64())  # the one bound, when there is one
    return pc.or_(pc.or_(low, high), missing), score, pc.if_else(high, pa.scalar(gate.max, pa.float64()), lower)


def _not_among(values: Any, gate: Gate, words: tuple[str, ...]) -> tuple[Any, Any, Any]:
    """As `_outside`, for a gate on words: it has neither a number to show nor a bound."""
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type) or pa.types.is_null(values.type)):
        raise _wrong_kind(gate, values.type, "min or max")
    values = values.cast(pa.large_string())
    failed = pc.invert(pc.is_in(values, pa.array(words, values.type)))
    if gate.missing == "keep":
        failed = pc.and_(failed, pc.is_valid(values))
    nothing = pa.nulls(len(values), pa.float64())
    return failed, nothing, nothing


def _nowhere(values: Any) -> Any:
    return pa.repeat(False, len(values))


def _wrong_kind(gate: Gate, found: pa.DataType, instead: str) -> SynthError:
    return fail(
        RecipeError,
        f"the gate {gate.reason!r} compares {gate.column!r} with the wrong kind of bound",
        given=f"{gate.column} is {found}",
        do=f"bound it by {instead}",
    )
