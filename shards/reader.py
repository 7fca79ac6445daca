"""Read shards back, memory-mapped. What cannot be read as it was written raises IntegrityError with the file's name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from shards.schema import SHARD
from synth.digest import file_sha256
from synth.errors import IntegrityError, SynthError, UserError, fail

_RESTORE = "restore the file from a copy, or delete the object it belongs to and run again"


def read_shards(paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    """The record batches of each file, in the order given, one in memory at a time.

    A file cut short has lost its footer and is refused, as is one with other columns than SHARD. Each batch is checked
    (offsets, UTF-8), because Arrow's format has no checksum and damaged offsets would crash whoever reads the texts.
    Damage that leaves a valid batch is found by `verify_shard` only.
    """
    for path in paths:
        with _opened(path) as reader:
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                batch.validate(full=True)
                yield batch


def verify_shard(path: Path, rows: int, sha256: str) -> None:
    """Raise IntegrityError, with what differs, unless the file has exactly these bytes and this number of rows."""
    try:
        found = file_sha256(path)
    except OSError as error:
        raise _damaged(path, error) from error
    if found != sha256:
        raise fail(IntegrityError, f"{path}: its sha256 differs", given=found, allowed=sha256, do=_RESTORE)
    counted = _count_rows(path)
    if counted != rows:
        raise fail(IntegrityError, f"{path}: its number of rows differs", given=counted, allowed=str(rows), do=_RESTORE)


def find_row(path: Path, row: int) -> dict[str, Any]:
    """Row number `row` (from 0) of a shard, as `rows.parquet` points to it."""
    first = 0
    for batch in read_shards([path]):
        if first <= row < first + batch.num_rows:
            found: dict[str, Any] = batch.slice(row - first, 1).to_pylist()[0]
            return found
        first += batch.num_rows
    raise fail(UserError, f"{path} has no such row", given=row, allowed=f"0 to {first - 1}")


def _count_rows(path: Path) -> int:
    """Rows as the batches say."""
    with _opened(path) as reader:
        return int(sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches)))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Arrow's reader of a shard, its footer and columns checked; errors while it is open name the file."""
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            if not reader.schema.equals(SHARD, check_metadata=True):
                raise fail(
                    IntegrityError, f"{path} does not have the columns and format version of a shard", do=_RESTORE
                )
            yield reader
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> SynthError:
    return fail(IntegrityError, f"{path} cannot be read as a shard: {error}", do=_RESTORE)
