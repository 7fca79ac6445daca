"""Documents as shards: Arrow IPC files whose bytes depend on the documents as a set and on the config, on nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from shards.schema import SHARD
from synth.config import Config
from synth.digest import digest, hash_share
from synth.errors import IntegrityError, RecipeError, fail
from synth.rows import ROW, write_table

CountTokens = Callable[[list[str]], list[int]]

IPC_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")

_GIVEN = [name for name in SHARD.names if name != "tokens"]
_NEVER_NULL = ("doc_id", "text", "family", "source_id", "seed_id", "root_id", "models", "generation_depth")


class ShardConfig(Config):
    """How released documents are cut into files, ordered and split. Every field shapes content."""

    shard_bytes: int = Field(
        64 * 2**20,
        ge=1,
        description="Target size of a shard: bytes of text and reasoning before compression. A document is never cut, "
        "so a shard may be larger or smaller by one document.",
    )
    batch_rows: int = Field(
        1024,
        ge=1,
        description="Rows per record batch, the unit a reader decompresses; the last of a shard may be shorter.",
    )
    validation_share: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="Share of root documents whose descendants all go to the validation split; 0 makes no such split.",
    )
    order_seed: str = Field("synth", description="Salts the hash that orders the rows; another one is another order.")
    tokenizer: str | None = Field(
        None,
        min_length=1,
        description="Name of the weights whose tokenizer counts the tokens of each text; null counts none.",
    )


def split_of(root_id: str, validation_share: float) -> str:
    """`train` or `validation`. Depends on the root document alone: siblings stay together, in every release and order."""
    return "validation" if hash_share("validation", root_id) < validation_share else "train"


def write_shards(
    documents: pa.Table, config: ShardConfig, out: Path, count_tokens: CountTokens | None = None
) -> pa.Table:
    """Write `train-<lot>-00000.arrow`, `validation-<lot>-00000.arrow`, … and `rows.parquet` into the empty folder `out`.

    <lot> is a digest of the documents' ids: the shards of many releases may lie in one folder of a trainer.
    `documents` has the columns of SHARD but `tokens`, in any order; other columns are ignored. `count_tokens` counts
    the tokens of a batch of texts, with the tokenizer that `config` names.
    Returns what `rows.parquet` holds: one row of ROW per document, in the order of the shards. A split without
    documents has no file. Beside `documents`, memory holds the ids and one shard.

    Raises IntegrityError for documents that cannot be released: a missing column, an id that stands twice, no text,
    no lineage. RecipeError when a tokenizer is named without a function that counts, or the other way round.
    """
    if (config.tokenizer is None) != (count_tokens is None):
        raise fail(
            RecipeError,
            "shards.tokenizer and the function that counts tokens must be given together",
            given=f"tokenizer={config.tokenizer!r}, count_tokens={'no' if count_tokens is None else 'a'} function",
            do="give both, or neither for shards without token counts",
        )
    _check(documents)
    documents = documents.select(_GIVEN)
    lot = digest(sorted(documents["doc_id"].to_pylist()))[:8]
    rows = [ROW.empty_table()]
    for split, chosen in _order(documents, config).items():
        for number, part in enumerate(_cut(documents, chosen, config.shard_bytes)):
            path = out / f"{split}-{lot}-{number:05}.arrow"
            rows.append(_write_shard(documents, part, path, split, config, count_tokens))
    table = pa.concat_tables(rows).combine_chunks()
    write_table(table, out / "rows.parquet")
    return table


def _check(documents: pa.Table) -> None:
    missing = [name for name in _GIVEN if name not in documents.column_names]
    if missing:
        raise fail(
            IntegrityError, f"documents lack columns: {', '.join(missing)}", given=", ".join(documents.column_names)
        )
    for name in _NEVER_NULL:
        if documents[name].null_count:
            raise fail(IntegrityError, f"{documents[name].null_count} documents have no {name}")
    counts = pc.value_counts(documents["doc_id"])
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(twice):
        raise fail(IntegrityError, f"{len(twice)} document ids stand more than once", given=pc.min(twice))


def _order(documents: pa.Table, config: ShardConfig) -> dict[str, NDArray[np.int64]]:
    """Row numbers of each split, ordered by a hash of the id. The digest is compared in full, so there are no ties."""
    keys = pa.array([digest([config.order_seed, one]) for one in documents["doc_id"].to_pylist()], pa.string())
    order = pc.sort_indices(keys).to_numpy().astype(np.int64)
    splits = [split_of(root, config.validation_share) for root in documents["root_id"].to_pylist()]
    validation = np.array([split == "validation" for split in splits], dtype=bool)[order]
    return {"train": order[~validation], "validation": order[validation]}


def _cut(documents: pa.Table, chosen: NDArray[np.int64], shard_bytes: int) -> list[NDArray[np.int64]]:
    """Cut row numbers where their running text size passes a multiple of `shard_bytes`."""
    if not len(chosen):
        return []
    sizes = sum(_byte_lengths(documents[name]) for name in ("text", "reasoning"))[chosen]
    shard = (np.cumsum(sizes) - sizes) // shard_bytes
    return np.split(chosen, np.flatnonzero(np.diff(shard)) + 1)


def _byte_lengths(column: pa.ChunkedArray) -> Any:
    return pc.fill_null(pc.binary_length(column), 0).to_numpy().astype(np.int64)


def _write_shard(
    documents: pa.Table,
    chosen: NDArray[np.int64],
    path: Path,
    split: str,
    config: ShardConfig,
    count_tokens: CountTokens | None,
) -> pa.Table:
    """Write one file and return its rows of ROW."""
    ids, tokens = [], []
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SHARD, options=IPC_OPTIONS) as writer:
        for batch in _batches(documents, chosen, config.batch_rows, count_tokens):
            writer.write_batch(batch)
            ids.append(batch["doc_id"])
            tokens.append(batch["tokens"])
    size = len(chosen)
    columns = [pa.chunked_array(ids), pa.repeat(path.name, size), np.arange(size), pa.repeat(split, size)]
    return pa.table([*columns, pa.chunked_array(tokens)], schema=ROW)


def _batches(
    documents: pa.Table, chosen: NDArray[np.int64], batch_rows: int, count_tokens: CountTokens | None
) -> Iterator[pa.RecordBatch]:
    """The chosen rows in the order given, in record batches that share no buffer with any other row.

    A slice would not do: Arrow writes the buffers behind it, and with them the rows beside it, even compressed.
    `take` copies. `filter` comes first because `take` on a table of many chunks copies the whole table.
    """
    mask = np.zeros(documents.num_rows, dtype=bool)
    mask[chosen] = True
    shard = _as_shard(documents.filter(pa.array(mask))).combine_chunks()
    places = np.searchsorted(np.flatnonzero(mask), chosen)
    tokens_at = SHARD.get_field_index("tokens")
    for start in range(0, len(places), batch_rows):
        batch = shard.take(pa.array(places[start : start + batch_rows])).combine_chunks()
        if count_tokens is not None:
            counts = pa.array(count_tokens(batch["text"].to_pylist()), pa.int64())
            batch = batch.set_column(tokens_at, SHARD.field("tokens"), counts)
        yield from batch.to_batches()


def _as_shard(documents: pa.Table) -> pa.Table:
    """The same rows with the schema SHARD, `tokens` null. The cast also decodes dictionaries."""
    uncounted = pa.nulls(documents.num_rows, pa.int64())
    return documents.append_column("tokens", uncounted).select(SHARD.names).cast(SHARD)
