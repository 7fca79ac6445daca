"""Drops of what was retracted: the same rows wherever it is left out, in a retraction itself, in screen and in keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from synth import rows
from synth.rows import ItemKind

REASON = "retracted"
_LAST = 2**30  # after every gate: what fails one is counted under it, as the order of the steps has it


def retracted_rows(retracted: Mapping[str, str], kind: ItemKind) -> pa.Table:
    """Rows of DROP for these items, by item; the evidence is the rule and why."""
    made = [
        rows.drop_row(item_id, kind, "retract", REASON, REASON, rule_order=_LAST, evidence=why)
        for item_id, why in sorted(retracted.items())
    ]
    return rows.table(made, rows.DROP)


def with_retracted(drops: pa.Table, retracted: Mapping[str, str], kind: ItemKind) -> pa.Table:
    """The drops of a step's gates, and those of what is retracted."""
    if not retracted:
        return drops
    every = pa.concat_tables([drops, retracted_rows(retracted, kind)])
    return every.sort_by([("item_id", "ascending"), ("rule_order", "ascending")])


def without_empty(content: dict[str, Any], name: str) -> dict[str, Any]:
    """A config's content without a field that is empty."""
    return {field: value for field, value in content.items() if field != name or value}
