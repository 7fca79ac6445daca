"""Retract: of what a release lists, the files that hold retracted documents are written anew without them; the rest stays.

Inputs: `tombstones/all` (the ids), and of shards, rows and index only the files that hold one of them: `shards/<file name>`,
`rows/<tag>`, `index/<tag>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from flows.retracted import sentence
from flows.steps.resolve import tags
from flows.steps.retraction import REASON, retracted_rows
from shards.rewrite import rewrite_shard
from synth import rows
from synth.config import Config
from synth.step import Counts, Step


class RetractWork(Config):
    """What is retracted and why, which listed files the object replaces, and how its shards are written."""

    kind: str
    values: tuple[str, ...]
    because: str
    replaces: tuple[str, ...]  # paths in the home
    batch_rows: int
    masks: tuple[str, ...]  # of the shards that it replaces: what had been masked there is masked here


def run(inputs: Mapping[str, Path], config: RetractWork, out: Path) -> Counts:
    """Out: the shards without the documents; rows of these shards; rows_elsewhere: what stays of the replaced tables of rows;
    index without them; drops, one for each document that was released; tombstones, every document that was named."""
    named = rows.read_table(inputs["tombstones/all"])
    gone = named["doc_id"].combine_chunks()
    written = [rewrite_shard(path, gone, config.batch_rows, out) for _, path in tags(inputs, "shards")]
    placed = pa.concat_tables([rows.ROW.empty_table(), *written])
    held = rows.read_tables([path for _, path in tags(inputs, "rows")], rows.ROW)
    replaced = pc.is_in(held["shard"], value_set=pa.array([name for name, _ in tags(inputs, "shards")], pa.string()))
    index = rows.read_tables([path for _, path in tags(inputs, "index")], rows.INDEX)
    left = index.filter(pc.invert(pc.is_in(index["doc_id"], value_set=gone)))
    released = held["doc_id"].filter(pc.is_in(held["doc_id"], value_set=gone)).to_pylist()
    why = sentence({"kind": config.kind, "values": config.values, "because": config.because})
    rows.write_table(placed, out / "rows.parquet")
    rows.write_table(held.filter(pc.invert(replaced)), out / "rows_elsewhere.parquet")
    rows.write_table(left.sort_by("doc_id"), out / "index.parquet")
    rows.write_table(retracted_rows(dict.fromkeys(released, why), "document"), out / "drops.parquet")
    rows.write_table(named.sort_by("doc_id"), out / "tombstones.parquet")
    stood = pc.sum(replaced).as_py() or 0
    dropped = {REASON: len(released)} if released else {}
    return Counts(items=stood, kept=len(placed), dropped=dropped, notes={"named": len(named)})


STEP = Step("retract", 1, RetractWork, run)
