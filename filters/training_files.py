"""Examples for a quality model out of files: Parquet, JSON lines, or a text per line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from filters.training_rows import BAD, EXAMPLES, GOOD
from synth.digest import file_sha256
from synth.errors import SourceError, UserError, fail
from synth.sources_columns import Columns, not_utf8, utf8_fault
from synth.sources_readers import first_keys, read_jsonl, read_parquet

JSON_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".json")
SUFFIXES = (".parquet", *JSON_SUFFIXES, ".txt")
GOOD_WORDS = ("hq", "good", "positive", "kept", "1", "true", "yes")  # labels that need no explanation
_FLAGS = {"columns.text": "--text", "columns.root_id": "--root", "columns.label": "--label"}


class ExampleColumns(Columns):
    """Which columns of the files hold what."""

    label: str | None = Field(None, description="Column of the label, of files that hold both kinds.")
    family: str | None = Field(None, description="Column of who wrote the text, for the card.")


def read_labelled(
    paths: Sequence[Path], label: str, good: str | None, text: str, root: str | None
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """EXAMPLES of files in which a column says what is good, and what was read, for the card. `good` is the label of good
    texts; None: the one of the two labels that is among GOOD_WORDS. UserError when that is not clear."""
    table, files = _read_all(paths, text, root, label)
    found = sorted({value for value in table["label"].to_pylist() if value is not None})
    chosen = [one for one in found if one == good or (good is None and one.lower() in GOOD_WORDS)]
    if len(chosen) != 1 or len(found) < 2 or (good is None and len(found) != 2):
        raise fail(
            UserError,
            f"which label of the column {label!r} is the good one?",
            given=", ".join(found[:20]) or "no label",
            allowed=f"--good LABEL, or two labels of which one is {', '.join(GOOD_WORDS)}",
        )
    labels = [None if one is None else GOOD if one == chosen[0] else BAD for one in table["label"].to_pylist()]
    marked = table.set_column(1, "label", pa.array(labels, pa.string()))
    return marked.filter(marked["label"].is_valid()), files


def read_sides(
    positives: Sequence[Path], negatives: Sequence[Path], text: str, root: str | None
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """EXAMPLES of files of good texts and files of bad ones, and what was read, for the card."""
    tables, files = [], []
    for label, paths in ((GOOD, positives), (BAD, negatives)):
        table, read = _read_all(paths, text, root, None)
        tables.append(table.set_column(1, "label", pa.repeat(pa.scalar(label, pa.string()), len(table))))
        files += [{**one, "label": label} for one in read]
    return pa.concat_tables(tables), files


def _read_all(
    paths: Sequence[Path], text: str, root: str | None, label: str | None
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The rows of all files as EXAMPLES, the label as it stands there; each file's name, rows and digest."""
    tables, files = [EXAMPLES.empty_table()], []
    for path in paths:
        read = pa.concat_tables([EXAMPLES.empty_table(), *_read(path, text, root, label)])
        tables.append(read)
        files.append({"name": path.name, "rows": len(read), "sha256": file_sha256(path)})
    return pa.concat_tables(tables), files


def _read(path: Path, text: str, root: str | None, label: str | None) -> Iterator[pa.Table]:
    if not path.is_file():
        raise fail(SourceError, f"no such file: {path}", allowed=f"files ending in {', '.join(SUFFIXES)}")
    if path.name.endswith(".txt"):
        yield _lines(path)
        return
    is_parquet = path.suffix == ".parquet"
    if not (is_parquet or path.name.endswith(JSON_SUFFIXES)):
        raise fail(SourceError, f"{path}: unknown kind of file", allowed=f"files ending in {', '.join(SUFFIXES)}")
    names = _parquet_names(path) if is_parquet else first_keys(path)
    columns = ExampleColumns(text=text, root_id=root, label=label, family="family" if "family" in names else None)
    try:
        for batch in (read_parquet if is_parquet else read_jsonl)(columns, path):
            yield _table(batch.columns, path)
    except SourceError as error:
        raise SourceError(_in_flags(str(error))) from None


def _parquet_names(path: Path) -> list[str]:
    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise fail(SourceError, f"{path} is not a whole Parquet file: {error}", do="fetch or write it again") from error


def _table(found: dict[str, pa.Array], path: Path) -> pa.Table:
    size = len(found["text"])
    given = {"text": "text", "label": "label", "root": "root_id", "family": "family"}
    arrays = {name: found[role] for name, role in given.items() if role in found}
    arrays["source"] = pa.repeat(pa.scalar(path.name, pa.string()), size)
    columns = [arrays.get(field.name, pa.nulls(size, field.type)).cast(field.type) for field in EXAMPLES]
    return pa.table(columns, schema=EXAMPLES)


def _lines(path: Path) -> pa.Table:
    raw = path.read_bytes()
    if fault := utf8_fault(raw):
        raise not_utf8(str(path), fault)
    texts = [line for line in raw.decode().split("\n") if line.strip()]
    return _table({"text": pa.array(texts, pa.large_string())}, path)


def _in_flags(message: str) -> str:
    """A reader's message with the command's options in the place of a recipe's fields."""
    for field, flag in _FLAGS.items():
        message = message.replace(field, flag)
    return message


def read_pairs(path: Path, columns: tuple[str, str] = ("a", "b")) -> tuple[list[str], list[str]]:
    """Texts that tell the same in two styles: two columns of one file, row by row. SourceError when it has no such columns."""
    sides = [pa.concat_tables([EXAMPLES.empty_table(), *_read(path, column, None, None)]) for column in columns]
    first, second = (side["text"].to_pylist() for side in sides)
    if not first:
        raise fail(SourceError, f"{path} holds no pairs", allowed=f"rows with the columns {' and '.join(columns)}")
    return first, second
