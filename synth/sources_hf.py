"""Datasets on disk as `datasets.Dataset.save_to_disk` writes them: Arrow files, and JSON that names them.

The package `datasets` is not needed: the files are Arrow streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from synth.config import nearest
from synth.errors import SourceError, SynthError, fail
from synth.sources_columns import Batch, Columns
from synth.sources_readers import BATCH_BYTES, BATCH_ROWS, check_schema, checked_array, rows_after

_SPLITS, _STATE = "dataset_dict.json", "state.json"
_FILE_MAGIC = b"ARROW1"


def is_dataset(folder: Path) -> bool:
    """Whether a folder is one that `save_to_disk` wrote: a dataset, or a dict of them."""
    return (folder / _SPLITS).is_file() or (folder / _STATE).is_file()


def dataset_files(folder: Path, split: str | None) -> list[Path]:
    """The Arrow files that the dataset consists of; files of an older one that lie beside them are not its own."""
    state = folder / _STATE
    if (folder / _SPLITS).is_file():
        splits = [str(name) for name in _json(folder / _SPLITS, "splits")]
        chosen = splits[0] if split is None and len(splits) == 1 else split
        if chosen is None or chosen not in splits:
            raise _no_split(folder, split, splits)
        state = folder / chosen / _STATE
    elif split is not None and _value(state, "_split") != split:
        what = f"{folder} is one dataset without splits"
        raise fail(SourceError, what, given=f"split = {split!r}", do="leave out `split`")
    names = [str(entry.get("filename")) for entry in _json(state, "_data_files")]
    files = [state.parent / name for name in names]
    for file in files:
        if file.parent != state.parent or not file.is_file():
            what = f"{state} names a file that is not there: {file.name}"
            raise fail(SourceError, what, do="copy the whole folder, or save the dataset again")
    return files


def _no_split(folder: Path, split: str | None, splits: list[str]) -> SynthError:
    what = (
        f"{folder} has several splits" if split is None else f"{folder} has no split {split!r}{nearest(split, splits)}"
    )
    return fail(SourceError, what, allowed=", ".join(splits), do="name one of them as `split`")


def _json(file: Path, key: str) -> list[Any]:
    value = _value(file, key)
    if not isinstance(value, list):
        raise fail(
            SourceError, f"{file} is not what save_to_disk writes: {key} is no list", do="save the dataset again"
        )
    return value


def _value(file: Path, key: str) -> Any:
    try:
        return orjson.loads(file.read_bytes()).get(key)
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise fail(
            SourceError, f"{file} is not what save_to_disk writes: {error}", do="save the dataset again"
        ) from None


def read_arrow(columns: Columns, file: Path) -> Iterator[Batch]:
    """The rows of an Arrow file or stream, mapped into memory, not read into it."""
    names = columns.named()
    rows_before = 0
    try:
        with pa.memory_map(str(file)) as source:
            schema, batches = _opened(source)
            check_schema(names, schema, file)
            for batch in batches:
                for rows in _cut(batch.select(sorted(set(names.values())))):
                    _validate(rows)
                    where = rows_after(rows_before, file)
                    yield Batch(
                        {role: checked_array(role, name, rows[name], where) for role, name in names.items()}, where
                    )
                    rows_before += rows.num_rows
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the machine's fault, not the file's
            raise
        raise fail(SourceError, f"{file} is not a whole Arrow file: {error}", do="fetch or write it again") from error


def check_arrow(columns: Columns, file: Path) -> None:
    """SourceError when the file lacks a named column, or has it in a type that does not fit."""
    try:
        with pa.memory_map(str(file)) as source:
            check_schema(columns.named(), _opened(source)[0], file)
    except pa.ArrowException as error:
        raise fail(SourceError, f"{file} is not a whole Arrow file: {error}", do="fetch or write it again") from error


def _opened(source: Any) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    magic = source.read(len(_FILE_MAGIC))
    source.seek(0)
    if magic != _FILE_MAGIC:
        stream = pa.ipc.open_stream(source)
        return stream.schema, stream
    file = pa.ipc.open_file(source)
    return file.schema, (file.get_batch(number) for number in range(file.num_record_batches))


def _cut(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Pieces within the bounds of a batch, by average rows."""
    row_bytes = batch.nbytes // max(batch.num_rows, 1)
    size = int(min(BATCH_ROWS, max(1, BATCH_BYTES // max(row_bytes, 1))))
    for start in range(0, batch.num_rows, size):
        yield batch.slice(start, size)


def _validate(rows: pa.RecordBatch) -> None:
    """Offsets that point out of the file must not be followed. Bytes that are not UTF-8 are reported with their row later."""
    for column in rows.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            if "UTF8" not in str(error):
                raise
