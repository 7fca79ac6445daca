"""Items of an evaluation set for the home of `audit_home`, and the fault to plant with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from synth import rows

if TYPE_CHECKING:
    from audit_home import Wave

SIZES = {"gsm8k": 1319, "trivia": 40}


def hit(item_id: str, item_kind: rows.ItemKind = "document", number: int = 17, **changes: Any) -> dict[str, Any]:
    """A verdict: the text holds most of an item's prompt."""
    said = {
        "benchmark": "gsm8k",
        "item": f"gsm8k/{number}",
        "rule": "A",
        "words": 30 + number,
        "ngram": "how many eggs do",
    }
    said |= {name: value for name, value in changes.items() if name in said}
    rung = changes.get("rung", "decontamination")
    return rows.verdict_row(item_id, item_kind, rung, "rule", "failed", score=changes.get("score", 0.75), evidence=said)


def contaminate(wave: Wave) -> None:
    """Two sets were looked for everywhere. A seed that is dropped and one that stays hold an item, and so does, with two of
    them, a document that is dropped; nothing of them is in the shards."""
    first = wave.partitions[0]
    for label, one in wave.objects.items():
        if one.step in ("screen", "score", "shards"):
            one.tables.setdefault("verdicts.parquet", [])
            one.counts["notes"] |= {f"benchmark_items/{name}": size for name, size in SIZES.items()}
        if label == f"screen/{first}":
            seeds = [row["item_id"] for row in wave.table(label, "seed_scores")]
            wave.table(label, "verdicts").extend(hit(seed, "seed") for seed in seeds[:2])
    gone = wave.document(first, "qa", 1)["id"]
    wave.table(f"score/{first}/qa", "verdicts").extend([hit(gone), hit(gone, number=4, rule="B", score=0.2)])
    wave.objects["shards"].config["contaminated"] = "drop"


def left_in_shard(wave: Wave) -> None:
    """A row still holds an item."""
    contaminate(wave)
    doc_id = wave.table("shards", "rows")[0]["doc_id"]
    wave.table("shards", "verdicts").append(hit(doc_id, rung="decontamination_rendered"))


PLANTED_CONTAMINATION = [
    pytest.param(
        "rendered_contamination",
        left_in_shard,
        None,
        {"item": "gsm8k/17", "rule": "A", "coverage": 0.75, "row": 0},
        id="an item in a shard",
    ),
]
