"""Evaluation sets as files: a row per item, known by the bytes of the file."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from filters.decontamination_grams import Item
from filters.decontamination_words import words_of
from synth.config import Config, nearest
from synth.errors import RecipeError, fail

_MARKS = re.compile(r"<<[^<>]*>>")  # GSM8K's calculator: texts made from its problems do not carry it


class Benchmark(Config):
    """An evaluation set: a file with a row per item."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Its name, as hits are reported.")
    path: str = Field(pattern=r"\.(jsonl|parquet)$", description="The file, .jsonl or .parquet, pinned by `sha256`.")
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the file, lower-case hex: its identity. Without it nothing runs, and the error shows it.",
    )
    prompt: str = Field("question", min_length=1, description="The column of what is asked, texts.")
    answer: str | None = Field(
        None, min_length=1, description="The column of the gold answer, texts or numbers, if any."
    )

    def content(self) -> dict[str, Any]:
        """Without the path: the file is known by its bytes."""
        return {name: value for name, value in super().content().items() if name != "path"}


def check_sets(benchmarks: Sequence[Benchmark]) -> None:
    """RecipeError: two have one name, a file is not there or not the one that its `sha256` names, or lacks a column."""
    names = [one.name for one in benchmarks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise fail(RecipeError, "benchmarks.name: given twice", given=", ".join(twice), allowed="each name once")
    for one in benchmarks:
        size_of(one)


@lru_cache(maxsize=256)
def size_of(benchmark: Benchmark) -> int:
    """How many items it has. Each file is read once for this; RecipeError as for `items_of`."""
    return len(items_of(benchmark))


def items_of(benchmark: Benchmark) -> list[Item]:
    """The items of an evaluation set, in the file's order. RecipeError: not the named file, or not such columns."""
    path = Path(benchmark.path)
    if not path.is_file():
        raise fail(RecipeError, f"no such file of benchmark {benchmark.name!r}: {path}", do="correct the path")
    data = path.read_bytes()
    _check_digest(benchmark, data)
    rows = _parquet(benchmark, data) if benchmark.path.endswith(".parquet") else _jsonl(benchmark, data)
    return [_item(benchmark, number, row) for number, row in enumerate(rows)]


def _check_digest(benchmark: Benchmark, data: bytes) -> None:
    found = hashlib.sha256(data).hexdigest()
    if benchmark.sha256 is None:
        raise fail(
            RecipeError,
            f"benchmark {benchmark.name!r} has no sha256: a set is known by the bytes of its file, not by where it lies",
            do=f'if {benchmark.path} ({len(data):,} bytes) is the file you mean, write sha256 = "{found}"',
        )
    if found != benchmark.sha256:
        raise fail(
            RecipeError,
            f"{benchmark.path} is not the file of benchmark {benchmark.name!r}, or it is damaged",
            given=f"sha256 {found}, {len(data):,} bytes",
            allowed=f"sha256 {benchmark.sha256}",
            do=f'fetch the file again, or, if this is the one you mean, write sha256 = "{found}"',
        )


def _jsonl(benchmark: Benchmark, data: bytes) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise fail(RecipeError, f"{benchmark.path}, line {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise fail(RecipeError, f"{benchmark.path}, line {number}: not an object", allowed="an object per line")
        yield row


def _parquet(benchmark: Benchmark, data: bytes) -> list[dict[str, Any]]:
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        wanted = [name for name in (benchmark.prompt, benchmark.answer) if name in file.schema_arrow.names]
        return list(file.read(columns=wanted).to_pylist())
    except (pa.ArrowException, OSError) as error:
        raise fail(RecipeError, f"{benchmark.path} cannot be read as Parquet: {error}") from None


def _item(benchmark: Benchmark, number: int, row: dict[str, Any]) -> Item:
    prompt = _text(benchmark, number, row, benchmark.prompt)
    answer = _text(benchmark, number, row, benchmark.answer) if benchmark.answer else ""
    name = f"{benchmark.name}/{number}"
    return Item(benchmark.name, name, tuple(words_of(prompt)), tuple(words_of(_MARKS.sub("", answer))))


def _text(benchmark: Benchmark, number: int, row: dict[str, Any], column: str) -> str:
    where = f"{benchmark.path}, item {number}"
    if column not in row:
        raise fail(RecipeError, f"{where}: no column {column!r}{nearest(column, row)}", allowed=", ".join(row))
    value = row[column]
    if value is None or isinstance(value, bool) or not isinstance(value, str | int | float):
        raise fail(RecipeError, f"{where}: {column!r} is no text", given=repr(value)[:80], allowed="a text or a number")
    return str(value)
