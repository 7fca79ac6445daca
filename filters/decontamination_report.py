"""What verdicts say of evaluation sets: a row per set and kind of text. The catalogue's view `contamination` counts alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from filters.decontamination import RENDERED, RULE
from filters.decontamination_index import RULES

REPORT = pa.schema(
    [
        ("benchmark", pa.string()),
        ("kind", pa.string()),  # seed, document, or rendered: as a trainer gets it
        ("items", pa.int64()),  # of the set
        ("items_hit", pa.int64()),
        ("texts_hit", pa.int64()),
        *((f"hits_{rule.lower()}", pa.int64()) for rule in RULES),  # pairs of a text and an item, by rule
        ("longest_coverage", pa.float64()),  # share of an item's prompt; null without a hit
        ("longest_words", pa.int64()),  # of a stretch of text that an item covers without a gap
    ]
)
"""What `report` returns."""


def report(verdicts: pa.Table, sizes: Mapping[str, int]) -> pa.Table:
    """REPORT, by set and kind. `verdicts` are rows of VERDICT, others than ours among them; `sizes` the number of items of
    each set (`DecontaminationOptions.sizes`): each has a row for every kind of text that was looked at, hit or not."""
    ours = verdicts.filter(pc.is_in(verdicts["rung"], value_set=pa.array([RULE, RENDERED], pa.string())))
    found: dict[tuple[str, str], list[dict[str, Any]]] = {
        (name, kind): [] for name in sizes for kind in set(_kinds(ours)) or {"document"}
    }
    failed = pc.equal(ours["outcome"], "failed")
    for row, kind in zip(ours.filter(failed).to_pylist(), _kinds(ours.filter(failed)), strict=True):
        hit = {**orjson.loads(row["evidence"]), "text": row["item_id"], "score": row["score"]}
        found.setdefault((hit["benchmark"], kind), []).append(hit)
    rows = [_row(*which, hits, sizes) for which, hits in sorted(found.items())]
    return pa.Table.from_pylist(rows, schema=REPORT)


def _kinds(verdicts: pa.Table) -> list[str]:
    rendered = pc.equal(verdicts["rung"], RENDERED)
    kinds: list[str] = pc.if_else(rendered, "rendered", verdicts["item_kind"]).to_pylist()
    return kinds


def _row(benchmark: str, kind: str, hits: list[dict[str, Any]], sizes: Mapping[str, int]) -> dict[str, Any]:
    rules = [hit["rule"] for hit in hits]
    return {
        "benchmark": benchmark,
        "kind": kind,
        "items": sizes.get(benchmark),
        "items_hit": len({hit["item"] for hit in hits}),
        "texts_hit": len({hit["text"] for hit in hits}),
        **{f"hits_{rule.lower()}": rules.count(rule) for rule in RULES},
        "longest_coverage": max((hit["score"] for hit in hits), default=None),
        "longest_words": max((hit["words"] for hit in hits), default=None),
    }
