"""Copies of open journals: their rows in small files that never change, and journals made of such files on another machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from synth.engine.journal import FORMAT, TABLES, WIDTH, insert_rows
from synth.errors import HomeError, fail

Row = tuple[str, tuple[Any, ...]]
"""A table's name, and the values of one of its rows: the first one is its key."""

Keys = dict[str, set[str]]
"""Keys of rows by table."""

_ROWS_AT_ONCE = 500


def new_rows(journal: Path, known: Mapping[str, set[str]]) -> Iterator[Row]:
    """Rows of a journal whose keys are not known. It may be open, and be written to, elsewhere.

    sqlite3.OperationalError when it is gone, or has no tables yet.
    """
    with closing(sqlite3.connect(f"file:{journal}?mode=rw", uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")  # one point of time for all tables
        for table in WIDTH:
            key = connection.execute(f"SELECT name FROM pragma_table_info('{table}') WHERE cid = 0").fetchone()
            if key is None:
                return
            here = [value for (value,) in connection.execute(f"SELECT {key[0]} FROM {table}")]
            new = [value for value in here if value not in known.get(table, ())]
            for start in range(0, len(new), _ROWS_AT_ONCE):
                some = new[start : start + _ROWS_AT_ONCE]
                marks = ", ".join("?" * len(some))
                for row in connection.execute(f"SELECT * FROM {table} WHERE {key[0]} IN ({marks})", some):
                    yield table, tuple(row)


def remember(known: Keys, rows: Iterable[Row]) -> None:
    """Add the keys of these rows."""
    for table, values in rows:
        known.setdefault(table, set()).add(values[0])


def pack(rows: Sequence[Row]) -> bytes:
    """Rows as a file: zstd over lines of JSON, the first of which names the format."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as packed:
        packed.write(orjson.dumps({"format": FORMAT}) + b"\n")
        for table, values in rows:
            packed.write(orjson.dumps([table, *values]) + b"\n")
    return bytes(sink.getvalue())


def unpack(data: bytes, name: str) -> list[Row]:
    """The rows of a file. HomeError when another version of synth wrote it, or it cannot be read."""
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as packed:
            head, *lines = packed.read().splitlines()
        found = orjson.loads(head).get("format")
        rows = [(table, tuple(values)) for table, *values in map(orjson.loads, lines)]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise fail(
            HomeError,
            f"the copied journal {name} cannot be read: {error}",
            do="remove it: what it holds and no other copy does would be paid for again",
        ) from error
    if found != FORMAT:
        raise fail(
            HomeError,
            f"the copied journal {name} was written by another version of synth",
            given=f"format {found}",
            allowed=f"format {FORMAT}",
            do="finish its run with that version, or remove it: its answers would be paid for again",
        )
    return rows


def restore(journal: Path, rows: Iterable[Row]) -> None:
    """Put rows into a journal that nobody has open; it is made when it is not there."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[Sequence[Any]]] = {}
    for table, values in rows:
        tables.setdefault(table, []).append(values)
    with closing(sqlite3.connect(journal)) as connection:
        connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version={FORMAT}; COMMIT;")
        with connection:
            for table, many in tables.items():
                insert_rows(connection, table, many)
