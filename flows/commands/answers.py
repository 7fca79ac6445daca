"""The answer to a query in the forms that people and programs read: a table, JSON, CSV, Parquet.

Of values that a form does not know: lists, structs and maps are JSON in CSV; bytes are lower-case hex; a number too large
for JSON's readers is a string; an interval is a string.
"""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.cells import cell_len, set_cell_size

from synth.errors import UserError, fail

JSON_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
TERMINAL_ROWS = 40  # a screen; the whole answer goes into a file or a pipe
NARROW_CHARACTERS = 12  # a terminal with less room for each column leaves out the last ones
PADDED_CHARACTERS = 60  # in a pipe a column is no wider than this for the sake of a few long cells

_GAP = "  "
_EXACT = 2**53  # larger whole numbers lose digits in many readers of JSON


def as_json(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as JSON values, each column under its name; a repeated name gets a number."""
    names = _unique(table.column_names)
    rows = table.rename_columns(names).to_pylist(maps_as_pydicts="lossy")
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _unique(names: list[str]) -> list[str]:
    seen: set[str] = set()
    for position, name in enumerate(names):
        unique, number = name, 1
        while unique in seen:
            unique, number = f"{name}_{number}", number + 1
        seen.add(unique)
        names[position] = unique
    return names


def _plain(value: Any) -> Any:
    """A value as JSON knows it."""
    match value:
        case Decimal():
            whole = value == value.to_integral_value()
            return (int(value) if abs(value) < _EXACT else str(value)) if whole else float(value)
        case bytes():
            return value.hex()
        case dict():
            return {str(_plain(key)): _plain(inner) for key, inner in value.items()}
        case pa.MonthDayNano():
            return f"{value.months} months {value.days} days {value.nanoseconds / 1e9:g} seconds"
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case str() | int() | float() | bool() | None:
            return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def print_csv(reader: pa.RecordBatchReader) -> None:
    """Comma-separated values as they come, with a header. NULL is nothing, an empty text is ""."""
    with pyarrow.csv.CSVWriter(sys.stdout.buffer, _csv_schema(reader.schema)) as writer:
        for batch in reader:
            columns = [_csv_column(column) for column in batch.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=_csv_schema(reader.schema)))
    sys.stdout.buffer.flush()


def _csv_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(field.name, field.type if _is_csv(field.type) else pa.large_string()) for field in schema])


def _is_csv(kind: pa.DataType) -> bool:
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(is_text or pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _csv_column(column: pa.Array) -> pa.Array:
    if _is_csv(column.type):
        return column
    values = [_csv_text(value) for value in column.to_pylist(maps_as_pydicts="lossy")]
    return pa.array(values, pa.large_string())


def _csv_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    plain = _plain(value)
    return plain if isinstance(plain, str) else orjson.dumps(plain, option=orjson.OPT_NON_STR_KEYS).decode()


def write_parquet(reader: pa.RecordBatchReader, path: Path) -> int:
    """Write the rows to `path`, whole or not at all; how many. UserError: a type that Parquet does not have."""
    if not path.parent.is_dir() or path.is_dir():
        what = f"{path} cannot be written: " + ("it is a folder" if path.is_dir() else f"no folder {path.parent}")
        raise fail(UserError, what, do="give the name of a file in a folder that is there")
    temporary, rows = path.parent / f".{path.name}.{secrets.token_hex(4)}", 0
    try:
        with pq.ParquetWriter(temporary, reader.schema, compression="zstd", write_page_checksum=True) as writer:
            for batch in _large(reader):
                writer.write_batch(batch)
                rows += batch.num_rows
        temporary.replace(path)
    except pa.ArrowNotImplementedError as error:
        raise fail(UserError, f"not a column for Parquet: {error}", do="cast it to VARCHAR in the query") from None
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def _large(reader: pa.RecordBatchReader, rows: int = 100_000) -> Iterator[pa.RecordBatch]:
    """Batches worth a row group."""
    held: list[pa.RecordBatch] = []
    for batch in reader:
        held.append(batch)
        if sum(one.num_rows for one in held) >= rows:
            yield from pa.Table.from_batches(held).combine_chunks().to_batches()
            held = []
    if held:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()


def print_table(table: pa.Table, all_rows: bool = False) -> None:
    """For people, a line per row. A terminal gets a screen of rows and its width; a pipe gets everything, nothing cut."""
    terminal = sys.stdout.isatty()
    shown = table.slice(0, TERMINAL_ROWS) if terminal and not all_rows else table
    columns = [_column(name, column) for name, column in zip(_unique(table.column_names), shown.columns, strict=True)]
    if not terminal:
        _print_rows(columns, PADDED_CHARACTERS)
        return
    room, fitting = shutil.get_terminal_size().columns, columns
    while len(fitting) > 1 and _room(fitting, NARROW_CHARACTERS) > room:
        fitting = fitting[:-1]
    widest = max((width for width in range(NARROW_CHARACTERS, room + 1) if _room(fitting, width) <= room), default=room)
    _print_rows(fitting, widest, cut=True)
    if left := [column.cells[0] for column in columns[len(fitting) :]]:
        print(f"… {len(left):,} more columns: {', '.join(left)}", file=sys.stderr)
    if len(table) > len(shown):
        print(f"… {len(table) - len(shown):,} more rows; --csv for all", file=sys.stderr)


class _Column(NamedTuple):
    cells: list[str]  # the name first
    width: int
    right: bool


def _column(name: str, values: pa.ChunkedArray) -> _Column:
    cells = [_cell(name), *map(_cell, values.to_pylist(maps_as_pydicts="lossy"))]
    return _Column(cells, max(map(cell_len, cells)), _is_number(values.type))


def _room(columns: list[_Column], widest: int) -> int:
    """How wide a table is when no column is wider than this."""
    return sum(min(widest, column.width) for column in columns) + len(_GAP) * (len(columns) - 1)


def _print_rows(columns: list[_Column], widest: int, cut: bool = False) -> None:
    for row in zip(*(column.cells for column in columns), strict=True):
        cells = []
        for cell, column in zip(row, columns, strict=True):
            width = min(widest, column.width)
            fitted = set_cell_size(cell, width - 1) + "…" if cut and cell_len(cell) > width else cell
            fill = " " * (width - cell_len(fitted))
            cells.append(fill + fitted if column.right else fitted + fill)
        print(_GAP.join(cells).rstrip())


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _cell(value: Any) -> str:
    """One line of printable characters: the text of a stranger must not steer the terminal."""
    text = f"{value:.6g}" if isinstance(value, float) else _csv_text(value) or ""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return {"\n": "⏎", "\t": " ", "\r": ""}.get(character, "�")
