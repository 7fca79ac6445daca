"""Shards: what is left is copied once, into Arrow files for a trainer, with the lineage of every row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flows.steps.resolve import tags, undropped
from shards import SHARD, ShardConfig, write_shards
from synth import rows
from synth.step import Counts, Step
from synth.tokens import count_tokens, load_tokenizer
from synth.weights import locate


class ShardWork(ShardConfig):
    """The layout, and the digest of the tokenizer's file when tokens are counted."""

    tokenizer_identity: dict[str, Any] | None = None


def run(inputs: Mapping[str, Path], config: ShardWork, out: Path) -> Counts:
    """Inputs as for resolve, `seeds/<tag>`, and `resolve_drops/all`. Out: train-*.arrow, validation-*.arrow, rows."""
    seeds = rows.read_tables(
        [path for _, path in tags(inputs, "seeds")], rows.SEED, ["id", "source_id", "url", "language"]
    )
    resolved = rows.read_table(inputs["resolve_drops/all"], ["item_id"])["item_id"].combine_chunks()
    tables = [_kept(inputs, tag, path, resolved) for tag, path in tags(inputs, "documents")]
    documents = pa.concat_tables([rows.DOCUMENT.empty_table(), *tables])
    written = write_shards(_with_lineage(documents, seeds), config, out, _counter(config))
    return Counts(items=len(documents), kept=len(written))


def _kept(inputs: Mapping[str, Path], tag: str, path: Path, resolved: pa.Array) -> pa.Table:
    documents = rows.read_table(path)
    mask = undropped(inputs, tag, ("generate_drops", "keep_drops"), documents["id"])
    return documents.filter(pc.and_not(mask, pc.is_in(documents["id"], value_set=resolved)))


def _with_lineage(documents: pa.Table, seeds: pa.Table) -> pa.Table:
    """The documents' columns that a shard holds, and those of each one's first seed."""
    position = {seed_id: at for at, seed_id in enumerate(seeds["id"].to_pylist())}
    seed_ids = [ids[0] for ids in documents["seed_ids"].to_pylist()]
    mine = seeds.take(pa.array([position[seed_id] for seed_id in seed_ids], pa.int64()))
    columns = {name: documents[name] for name in documents.column_names}
    columns |= {"doc_id": documents["id"], "seed_id": pa.array(seed_ids, pa.string())}
    columns |= {name: mine[name] for name in ("source_id", "url", "language")}
    return pa.table({name: column for name, column in columns.items() if name in SHARD.names})


def _counter(config: ShardWork) -> Callable[[list[str]], list[int]] | None:
    if config.tokenizer is None:
        return None
    tokenizer = load_tokenizer(locate(config.tokenizer))
    return lambda texts: count_tokens(tokenizer, texts)


STEP = Step("shards", 1, ShardWork, run)
