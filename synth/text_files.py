"""Texts in files of anybody's, Parquet or JSON lines: for the commands that work without a recipe and a home."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from synth.config import nearest
from synth.errors import SourceError, fail
from synth.sources_columns import Columns
from synth.sources_readers import first_keys, read_jsonl, read_parquet

TEXTS = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("family", pa.string()),  # null: not said
        ("seed_text", pa.large_string()),  # what the text was made from; null: nothing, or not said
        ("license", pa.string()),
        ("language", pa.string()),
    ]
)
FOLDER_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")  # what is taken from a folder

_OPTIONAL = ("family", "seed_text", "license", "language")  # read where a file has a column of this name


class TextColumns(Columns):
    """Which columns of the files hold what; those of _OPTIONAL are found by their names."""

    family: str | None = Field(None, description="Column of the family that wrote the text.")
    seed_text: str | None = Field(None, description="Column of what the text was made from.")


def text_files(paths: Sequence[Path]) -> list[Path]:
    """The files that are named, and those in the folders that are named, each once. SourceError: there is none."""
    found: dict[Path, None] = {}
    for path in paths:
        below = sorted(path.rglob("*")) if path.is_dir() else []
        inside = [one for one in below if one.name.endswith(FOLDER_SUFFIXES) and one.is_file()]
        if not path.exists() or (path.is_dir() and not inside):
            what = f"{path} holds no text files" if path.is_dir() else f"no such file: {path}"
            raise fail(SourceError, what, allowed=f"files, or folders of {', '.join(FOLDER_SUFFIXES)}")
        found.update(dict.fromkeys(inside or [path]))
    return list(found)


def read_texts(file: Path, text: str = "text", id_column: str | None = None) -> Iterator[pa.Table]:
    """A file as tables of TEXTS, some thousands of rows each. The id is that of `id_column`, or of a column `id` where there
    is one; else `<file>:<row>`, the first row being 1. SourceError names file and row of what cannot be read.
    """
    is_parquet = file.suffix == ".parquet"
    known = _parquet_columns(file) if is_parquet else first_keys(file)
    for name, option in ((text, "--text"), (id_column, "--id")):
        if name is not None and name not in known and known:
            what = f"{file}: no column {name!r}{nearest(name, known)}"
            raise fail(SourceError, what, allowed=", ".join(known), do=f"name it with {option} COLUMN")
    chosen = id_column or ("id" if "id" in known else None)
    optional = {name: name for name in _OPTIONAL if name in known and name != text}
    columns = TextColumns(text=text, id=chosen, **optional)
    rows = 0
    for batch in (read_parquet if is_parquet else read_jsonl)(columns, file):
        size = len(batch.columns["text"])
        ids = [f"{file}:{rows + row + 1}" for row in range(size)] if chosen is None else None
        arrays = {**batch.columns, **({"id": pa.array(ids, pa.string())} if ids else {})}
        rows += size
        yield pa.table([arrays.get(field.name, pa.nulls(size, field.type)) for field in TEXTS], schema=TEXTS)


def has_column(files: Sequence[Path], name: str) -> bool:
    """Whether every file has a column of this name."""
    return all(name in (_parquet_columns(file) if file.suffix == ".parquet" else first_keys(file)) for file in files)


def _parquet_columns(file: Path) -> list[str]:
    try:
        return list(pq.read_schema(file).names)
    except (pa.ArrowException, OSError) as error:
        what = f"{file} is not a whole Parquet file: {error}"
        raise fail(SourceError, what, do="fetch or write it again") from error
