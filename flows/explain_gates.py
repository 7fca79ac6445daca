"""Scores beside the bounds that they were held against, and who set each bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from filters.decontamination import DecontaminationConfig
from filters.gates import KEYS, Gate, apply_gates
from filters.pii_policy import PiiConfig
from filters.presets import DEFAULT_DOCUMENT_GATES, DEFAULT_SEED_GATES, PROSE_FAMILIES
from filters.published import PresetUse, preset_gates
from synth.config import parse
from synth.digest import digest
from synth.errors import RecipeError
from synth.rows import ItemKind


def gate_table(
    scores: Mapping[str, Any], gates: list[dict[str, Any]], kind: ItemKind, step: str, set_by: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Every gate that holds for an item (its row of scores), in their order: what it looks at, its bounds, who set it, and
    whether the item passes. Judged by the code that judged it first."""
    made = []
    for content in gates:
        gate = parse(Gate, content)
        if gate.families and scores["family"] not in gate.families:
            continue
        one = pa.table({name: pa.array([scores[name]]) for name in (*KEYS, gate.column, *_evidence(gate))})
        failed = apply_gates(one, [gate], item_kind=kind, step=step, already_dropped=frozenset())
        bounds = {name: content[name] for name in ("min", "max", "one_of", "missing")}
        found = {"column": gate.column, "score": scores[gate.column], **bounds, "reason": gate.reason}
        made.append({**found, "set_by": set_by.get(digest(content)), "passes": not len(failed)})
    return made


def _evidence(gate: Gate) -> list[str]:
    return [gate.evidence] if gate.evidence and gate.evidence != gate.column else []


def who_set(merged: Mapping[str, Any] | None, kind: ItemKind) -> dict[str, str]:
    """Who set each gate, by the digest of its content; nothing when the recipe is not known, or of another version."""
    if merged is None:
        return {}
    try:
        origins = list(_seed_gates(merged) if kind == "seed" else _document_gates(merged))
    except (KeyError, RecipeError):
        return {}
    return {digest(gate.content()): origin for gate, origin in reversed(origins)}


def _document_gates(merged: Mapping[str, Any]) -> Iterator[tuple[Gate, str]]:
    from flows.steps.keep import KeepConfig  # it brings every rule

    keep = parse(KeepConfig, merged["keep"])
    for gate in keep.gates:
        yield gate, "default" if gate in DEFAULT_DOCUMENT_GATES else "keep.gates"
    yield from _of_presets(keep.presets, PROSE_FAMILIES)
    yield from ((gate, "keep.more_gates") for gate in keep.more_gates)
    yield from ((gate, table) for table, policy in _policies(merged) for gate in policy.gates())


def _seed_gates(merged: Mapping[str, Any]) -> Iterator[tuple[Gate, str]]:
    from flows.steps.screen import LICENSE_GATE, ScreenConfig

    screen = parse(ScreenConfig, merged["screen"])
    yield LICENSE_GATE, "screen.allow_unknown_license"
    for gate in screen.gates:
        yield gate, "default" if gate in DEFAULT_SEED_GATES else "screen.gates"
    yield from _of_presets(screen.presets, ())
    yield from ((gate, "screen.more_gates") for gate in screen.more_gates)
    yield from ((gate, table) for table, policy in _policies(merged) for gate in policy.seed_gates())


def _policies(merged: Mapping[str, Any]) -> Iterator[tuple[str, PiiConfig | DecontaminationConfig]]:
    """The recipe's tables that set gates of their own."""
    if merged["pii"]:
        yield "pii", parse(PiiConfig, merged["pii"])
    if merged["decontamination"]:
        yield "decontamination", parse(DecontaminationConfig, merged["decontamination"])


def _of_presets(uses: tuple[PresetUse, ...], families: tuple[str, ...]) -> Iterator[tuple[Gate, str]]:
    for use in uses:
        for gate in preset_gates([use], families):
            moved = ", moved" if gate.column in use.override else ""
            yield gate, f"preset {use.name}{moved}"
