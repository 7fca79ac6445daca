"""Readers of JSON lines (plain, gzip, zstd) and Parquet: bounded batches of checked values, a column per role.

A batch holds at most BATCH_ROWS rows and about BATCH_BYTES bytes, unless one row alone is larger.
"""

from __future__ import annotations

import gzip
import io
import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from synth.errors import SourceError, SynthError, fail
from synth.sources_columns import (
    REQUIRED_ROLES,
    ROLES,
    Batch,
    Columns,
    is_text_type,
    no_column,
    no_value,
    not_utf8,
    utf8_fault,
    wrong_type,
)

BATCH_ROWS = 4096
BATCH_BYTES = 32 * 2**20
MAX_LINE_BYTES = 256 * 2**20  # a longer line is no document, but a file that is not JSON lines
READ_BYTES = 2**20  # read-ahead per file or Parquet column, so that a row group of gigabytes is not read at once

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # Windows programs put it before UTF-8

_GZIP_MAGIC, _ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def read_jsonl(columns: Columns, file: Path) -> Iterator[Batch]:
    """The rows of a JSON lines file, gzip or not. Blank lines are skipped; a key may be absent from some rows."""
    names = columns.named()
    missing = set(names.values())
    keys: list[str] = []
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    size_bytes = 0
    for number, line in _lines(file):
        row = _json_object(line, f"{file}:{number}")
        keys = list(row)
        missing -= row.keys()
        rows.append({role: _json_value(role, name, row, f"{file}:{number}") for role, name in names.items()})
        lines.append(number)
        size_bytes += len(line)
        if len(rows) == BATCH_ROWS or size_bytes >= BATCH_BYTES:
            yield _json_batch(names, rows, lines, file)
            rows, lines, size_bytes = [], [], 0
    if rows:
        yield _json_batch(names, rows, lines, file)
    for role, name in names.items():
        if keys and name in missing:
            raise no_column(file, role, name, keys)


def first_keys(file: Path) -> list[str]:
    """The keys of a JSON lines file's first object; none where the file has no rows."""
    for number, line in _lines(file):
        return list(_json_object(line, f"{file}:{number}"))
    return []


def _json_batch(names: Mapping[str, str], rows: list[dict[str, Any]], lines: list[int], file: Path) -> Batch:
    columns = {role: pa.array([row[role] for row in rows], ROLES[role].kept_as) for role in names}
    return Batch(columns, lambda row: f"{file}:{lines[row]}")


def check_jsonl(columns: Columns, file: Path) -> None:
    """SourceError when the first row lacks what every row must have. Other columns may come in later rows."""
    for number, line in _lines(file):
        row = _json_object(line, f"{file}:{number}")
        for role, name in columns.named().items():
            if role in REQUIRED_ROLES or name in row:
                _json_value(role, name, row, f"{file}:{number}")
        return


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers."""
    with decompressed(file), opened(file) as stream:
        for number in itertools.count(1):
            line = stream.readline(MAX_LINE_BYTES + 1)
            if len(line) > MAX_LINE_BYTES:
                raise _line_too_long(f"{file}:{number}")
            if not line:
                return
            if number == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)
            if line.strip():
                yield number, line


@contextmanager
def decompressed(file: Path) -> Iterator[None]:
    """What is wrong with a compressed file that is read here becomes a SourceError."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise fail(SourceError, f"{file} is not a whole gzip file: {error}", do="fetch or write it again") from error
    except OSError as error:
        if error.errno is not None:  # the machine's fault, not the file's
            raise
        raise fail(SourceError, f"{file} is not a whole zstd file: {error}", do="fetch or write it again") from error


def opened(file: Path) -> IO[bytes]:
    """A file's bytes, decompressed when its name or its first bytes say that it is gzip or zstd."""
    stream = file.open("rb")
    magic = stream.peek(4)[:4]
    if file.suffix == ".gz" or magic.startswith(_GZIP_MAGIC):
        stream.close()
        return cast(IO[bytes], gzip.open(file))
    if file.suffix == ".zst" or magic == _ZSTD_MAGIC:
        stream.close()
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(file)), "zstd"), READ_BYTES)
    return stream


def _line_too_long(where: str) -> SynthError:
    return fail(
        SourceError,
        f"{where}: the line is too long for one document",
        given=f"more than {MAX_LINE_BYTES} bytes without a line break",
        allowed=f"one JSON object per line, at most {MAX_LINE_BYTES} bytes each",
        do="write the file as JSON lines; one JSON array is not that",
    )


def _json_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if fault := utf8_fault(line):
            raise not_utf8(where, fault) from None
        what = f"{where}: malformed JSON: {error.msg} (character {error.pos + 1})"
        raise fail(SourceError, what, do="correct the line, or remove it") from None
    if not isinstance(value, dict):
        given = f"a JSON value of type {type(value).__name__}"
        raise fail(
            SourceError,
            f"{where}: not a JSON object",
            given=given,
            allowed='one JSON object per line, such as {"text": "…"}',
            do="correct the line, or remove it",
        )
    return value


def _json_value(role: str, name: str, row: Mapping[str, Any], where: str) -> Any:
    """The value of a role in a row, checked; None where an optional one is absent."""
    value = row.get(name)
    if value is None:
        if role not in REQUIRED_ROLES:
            return None
        raise no_value(where, role, name) if name in row else no_column(where, role, name, row)
    if not ROLES[role].accepts(value):
        raise wrong_type(where, role, name, f"{type(value).__name__} {str(value)[:80]}")
    return str(value) if role in ("id", "answer", "label") else float(value) if role == "quality" else value


def check_parquet(columns: Columns, file: Path) -> None:
    """SourceError when the file lacks a named column, or has it in a type that does not fit; only its footer is read."""
    with _whole_parquet(file), pq.ParquetFile(file) as reader:
        check_schema(columns.named(), reader.schema_arrow, file)


def read_parquet(columns: Columns, file: Path) -> Iterator[Batch]:
    """The rows of a Parquet file. Only named columns are read; page checksums are verified where there are any."""
    names = columns.named()
    rows_before = 0
    with (
        _whole_parquet(file),
        pq.ParquetFile(file, buffer_size=READ_BYTES, page_checksum_verification=True) as reader,
    ):
        check_schema(names, reader.schema_arrow, file)
        wanted = sorted(set(names.values()))
        for rows in reader.iter_batches(_rows_per_batch(reader.metadata), columns=wanted):
            where = rows_after(rows_before, file)
            yield Batch({role: checked_array(role, name, rows[name], where) for role, name in names.items()}, where)
            rows_before += rows.num_rows


@contextmanager
def _whole_parquet(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the machine's fault, not the file's
            raise
        raise fail(SourceError, f"{file} is not a whole Parquet file: {error}", do="fetch or write it again") from error


def rows_after(before: int, file: object) -> Callable[[int], str]:
    """How to name row i of a batch that has so many rows before it."""
    return lambda row: f"{file}, row {before + row + 1}"


def _rows_per_batch(metadata: Any) -> int:
    """So many rows that a batch of average ones stays within BATCH_BYTES."""
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    row_bytes = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return int(min(BATCH_ROWS, max(1, BATCH_BYTES // max(row_bytes, 1))))


def check_schema(names: Mapping[str, str], schema: pa.Schema, file: object) -> None:
    """SourceError when a named column is not there, there twice, or of a type that does not fit. `file`: for messages."""
    for role, name in names.items():
        if name not in schema.names:
            raise no_column(file, role, name, schema.names)
        if schema.names.count(name) > 1:
            raise fail(SourceError, f"{file}: several columns are named {name!r}", do="rename all but one of them")
        kind = schema.field(name).type
        if not (ROLES[role].accepts_type(kind) or pa.types.is_null(kind)):
            raise wrong_type(file, role, name, kind)


def checked_array(role: str, name: str, column: pa.Array, where: Callable[[int], str]) -> pa.Array:
    """A column's values, checked, in the type they are kept in."""
    if is_text_type(column.type):
        column = _valid_text(name, column.cast(pa.large_string()), where)
    if role in REQUIRED_ROLES and column.null_count:
        row = next(row for row, value in enumerate(column) if not value.is_valid)
        raise no_value(where(row), role, name)
    if role == "generation_depth":
        for row, value in enumerate(column.to_pylist()):
            if value is not None and not ROLES[role].accepts(value):
                raise wrong_type(where(row), role, name, value)
    return column.cast(ROLES[role].kept_as)


def _valid_text(name: str, column: pa.Array, where: Callable[[int], str]) -> pa.Array:
    """The column, its UTF-8 checked: reading Parquet does not."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        for row, raw in enumerate(column.cast(pa.large_binary()).to_pylist()):
            if raw is not None and (fault := utf8_fault(raw)):
                raise not_utf8(f"{where(row)}: {name!r}", fault) from None
        raise
    return column
