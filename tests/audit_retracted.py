"""A retraction for the home of `audit_home`, and the faults to plant in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flows.steps.retraction import retracted_rows

if TYPE_CHECKING:
    from audit_home import Object, Wave

OLD, NEW = "train-00000.arrow", "train-0a0a0a0a-00000.arrow"


def retract(wave: Wave) -> str:
    """Take the first document of the first shard out, as `synth retract` does; its id."""
    shards = wave.objects["shards"]
    gone, *left = shards.shards[OLD]
    rows = [row for row in wave.table("shards", "rows") if row["shard"] == OLD]
    placed = [{**row, "shard": NEW, "row": at} for at, row in enumerate(rows[1:])]
    elsewhere = [row for row in wave.table("shards", "rows") if row["shard"] != OLD]
    tables = {
        "rows.parquet": placed,
        "rows_elsewhere.parquet": elsewhere,
        "index.parquet": [{"doc_id": row["doc_id"]} for row in [*placed, *elsewhere]],
        "drops.parquet": retracted_rows({gone["doc_id"]: "seed x: they asked"}, "document").to_pylist(),
        "tombstones.parquet": [{"doc_id": gone["doc_id"]}],
    }
    counts = {"items": len(rows), "kept": len(left), "dropped": {"retracted": 1}, "notes": {"named": 1}}
    made = wave._add("retract", "retract", "", tables, counts, replaces=[f"{shards.place}/{OLD}"])
    made.shards = {NEW: left}
    return str(gone["doc_id"])


def _object(wave: Wave) -> Object:
    retract(wave)
    return wave.objects["retract"]


def _named(wave: Wave) -> dict[str, Any]:
    """Retract one document and let the tombstones name another, which is still everywhere."""
    made = _object(wave)
    left = made.shards[NEW][0]["doc_id"]
    made.tables["tombstones.parquet"][0]["doc_id"] = left
    return {"doc_id": left}


def _still_in_index(wave: Wave) -> None:
    gone = retract(wave)
    wave.table("retract", "index").append({"doc_id": gone})


def _still_in_rows(wave: Wave) -> None:
    gone = retract(wave)
    wave.table("retract", "rows_elsewhere").append({"doc_id": gone, "shard": OLD, "row": 0, "split": "train"})


def _still_in_a_shard(wave: Wave) -> None:
    _named(wave)


PLANTED_RETRACTIONS = [
    pytest.param("tombstones_gone", _still_in_a_shard, None, {"place": "shard"}, id="retracted, in a shard"),
    pytest.param("tombstones_gone", _still_in_rows, None, {"place": "rows"}, id="retracted, in a table of rows"),
    pytest.param("tombstones_gone", _still_in_index, None, {"place": "index"}, id="retracted, in the index"),
]
