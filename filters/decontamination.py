"""Decontamination: which items of evaluation sets, given as files, a text holds.

The n-grams and what counts as a hit: `filters.decontamination_index`. A paraphrase in other words is not found. Recall on
planted problems of GSM8K, false hits and speed: `python -m tests.benchmarks.decontamination`.
"""

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
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from filters.decontamination_index import RULES, Hit, Index, Item, words_of
from synth.config import Config, nearest
from synth.errors import RecipeError, fail

SCORES = pa.schema(
    [
        ("contamination_checked", pa.int64()),
        ("contaminated_items", pa.int64()),
        ("contamination_rule", pa.string()),
        ("contamination_coverage", pa.float64()),
        ("contamination_hits", pa.large_string()),
    ]
)
EVIDENCE_HITS = 20  # that are shown of one text; all of them are counted

_MARKS = re.compile(r"<<[^<>]*>>")  # GSM8K's calculator: texts made from its problems do not carry it


class Benchmark(Config):
    """An evaluation set: a file with a row per item."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Its name, as hits are reported.")
    path: str = Field(pattern=r"\.(jsonl|parquet)$", description="The file, .jsonl or .parquet, pinned by `sha256`.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file, lower-case hex: its identity.")
    prompt: str = Field("question", min_length=1, description="The column of what is asked, texts.")
    answer: str | None = Field(
        None, min_length=1, description="The column of the gold answer, texts or numbers, if any."
    )

    def content(self) -> dict[str, Any]:
        """Without the path: the file is known by its bytes."""
        return {name: value for name, value in super().content().items() if name != "path"}


class DecontaminationOptions(Config):
    """Which evaluation sets must not be in a text."""

    benchmarks: tuple[Benchmark, ...] = Field(min_length=1, description="The evaluation sets.")

    def check(self) -> None:
        """Names differ; the files are there, are the ones that their `sha256` name, and have the columns."""
        names = [one.name for one in self.benchmarks]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise fail(RecipeError, "benchmarks.name: given twice", given=", ".join(twice), allowed="each name once")
        for one in self.benchmarks:
            items_of(one)


def score(table: pa.Table, options: DecontaminationOptions) -> pa.Table:
    """Of each whole `text`, source parts included, what it holds of the evaluation sets.

    `contamination_checked`: items that were looked for, 0 where the text has no words. `contaminated_items`: those that
    were hit. `contamination_rule`: the strongest rule that hit one, A, B or C (see `decontamination_index.Index`), or null.
    `contamination_coverage`: the largest share of an item's prompt that the text covers (0 to 1), also where that is no hit.
    `contamination_hits`: item, rule, share and an n-gram with its place in the text, joined by "; ", or null.
    RecipeError when a file is not the one that was named or cannot be read.
    """
    if not table.num_rows:
        return SCORES.empty_table()
    index = _index(options.benchmarks)
    return pa.concat_tables([_scores(index, chunk) for chunk in table["text"].chunks if len(chunk)])


def _scores(index: Index, chunk: pa.Array) -> pa.Table:
    texts = pc.fill_null(chunk.cast(pa.large_string()), "")
    has_words, touched = index.look_up_all(texts)
    columns: dict[str, list[Any]] = {
        "contamination_checked": [index.findable if one else 0 for one in has_words],
        "contaminated_items": [0] * len(texts),
        "contamination_rule": [None] * len(texts),
        "contamination_coverage": [0.0] * len(texts),
        "contamination_hits": [None] * len(texts),
    }
    for row, hits in touched.items():
        for name, value in _row(index, hits).items():
            columns[name][row] = value
    return pa.table(columns, schema=SCORES)


def _row(index: Index, touched: Sequence[Hit]) -> dict[str, Any]:
    hits = [hit for hit in touched if hit.rule]
    return {
        "contaminated_items": len(hits),
        "contamination_rule": min((hit.rule for hit in hits if hit.rule), key=RULES.index, default=None),
        "contamination_coverage": max((hit.coverage for hit in touched), default=0.0),
        "contamination_hits": "; ".join(_said(index, hit) for hit in hits[:EVIDENCE_HITS]) or None,
    }


def _said(index: Index, hit: Hit) -> str:
    share = "prompt and answer" if hit.rule == "C" else f"{hit.coverage:.2f} of its prompt"
    return f"{index.items[hit.item].name} ({hit.rule}): {share}, at word {hit.at_word} '{' '.join(hit.ngram)}'"


@lru_cache(maxsize=2)
def _index(benchmarks: tuple[Benchmark, ...]) -> Index:
    return Index([item for one in benchmarks for item in items_of(one)])


def items_of(benchmark: Benchmark) -> list[Item]:
    """The items of an evaluation set, in the file's order. RecipeError: not the named file, or not such columns."""
    path = Path(benchmark.path)
    if not path.is_file():
        raise fail(RecipeError, f"no such file of benchmark {benchmark.name!r}: {path}", do="correct the path")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != benchmark.sha256:
        raise fail(
            RecipeError,
            f"{path} is not the file of benchmark {benchmark.name!r}, or it is damaged",
            given=f"sha256 {found}, {len(data)} bytes",
            allowed=f"sha256 {benchmark.sha256}",
            do="fetch the file again, or, if this is the one you mean, write its sha256",
        )
    rows = _parquet(benchmark, data) if benchmark.path.endswith(".parquet") else _jsonl(benchmark, data)
    return [_item(benchmark, number, row) for number, row in enumerate(rows)]


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
    return Item(f"{benchmark.name}/{number}", tuple(words_of(prompt)), tuple(words_of(_MARKS.sub("", answer))))


def _text(benchmark: Benchmark, number: int, row: dict[str, Any], column: str) -> str:
    where = f"{benchmark.path}, item {number}"
    if column not in row:
        raise fail(RecipeError, f"{where}: no column {column!r}{nearest(column, row)}", allowed=", ".join(row))
    value = row[column]
    if value is None or isinstance(value, bool) or not isinstance(value, str | int | float):
        raise fail(RecipeError, f"{where}: {column!r} is no text", given=repr(value)[:80], allowed="a text or a number")
    return str(value)
