"""A shard without some of its documents: the same rows in the same order, and no byte of those that went."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shards.reader import read_shards
from shards.schema import SHARD
from shards.writer import IPC_OPTIONS
from synth.digest import digest
from synth.errors import IntegrityError, fail
from synth.rows import ROW


def rewrite_shard(source: Path, gone: pa.Array, batch_rows: int, out: Path) -> pa.Table:
    """Write a shard's documents but for those whose ids are in `gone` into the folder `out`; its rows of ROW.

    The new file's name keeps split and number and gets a digest of the ids that are left, as the old one's had. A shard of
    which nothing is left has no file. One shard is in memory at a time, as when it was written.
    """
    table = pa.Table.from_batches(read_shards([source]), SHARD)
    left = np.flatnonzero(np.asarray(pc.invert(pc.is_in(table["doc_id"], value_set=gone))))
    if not len(left):
        return ROW.empty_table()
    split, _, number = source.stem.split("-")
    ids = table["doc_id"].take(pa.array(left))
    path = out / f"{split}-{digest(sorted(ids.to_pylist()))[:8]}-{number}.arrow"
    if path.exists():
        raise fail(IntegrityError, f"two shards would get the name {path.name}", do="please report it")
    tokens = _write(table.combine_chunks(), left, batch_rows, path)
    size = len(left)
    columns = [ids.combine_chunks(), pa.repeat(path.name, size), pa.array(np.arange(size)), pa.repeat(split, size)]
    return pa.table([*columns, tokens], schema=ROW)


def _write(table: pa.Table, left: np.ndarray, batch_rows: int, path: Path) -> pa.ChunkedArray:
    """Write the chosen rows in batches; their tokens. `take` copies: a slice would carry its neighbours along."""
    tokens = []
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SHARD, options=IPC_OPTIONS) as writer:
        for start in range(0, len(left), batch_rows):
            batch = table.take(pa.array(left[start : start + batch_rows])).combine_chunks()
            writer.write_table(batch)
            tokens += batch["tokens"].chunks
    return pa.chunked_array(tokens, pa.int64())
