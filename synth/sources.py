"""Readers of seed documents: what a recipe's [[sources]] describe becomes tables of rows.SEED.

A seed's id comes from its source's id and the row's own id, or the text where rows have none: never from a file's
name or a row's place. Reading streams, in tables of some thousands of rows. Whatever is not as the recipe says is
refused with the file and its line or row, the first being 1. What a text contains (nothing, NUL, 50 MB) is for the
step that ingests to judge.
"""

from __future__ import annotations

import difflib
import glob
import heapq
import importlib.resources
import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationInfo, field_validator

from synth.config import Config
from synth.digest import digest, hash_share
from synth.errors import SourceError, SynthError, fail
from synth.rows import SEED
from synth.sources_columns import Batch, Columns
from synth.sources_python_docs import topic_passages, topics_file
from synth.sources_readers import read_jsonl, read_parquet

LISTED_NAMES = 1000  # of a folder's, at most, when looking for one that the user may have meant

# What all rows of a built-in kind carry.
_BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "passages": {"license": "CC0-1.0", "language": "en"},
    "python_docs": {"license": "PSF-2.0", "language": "en", "url": "https://docs.python.org/3/"},
}


class Source(Config):
    """One [[sources]] table of a recipe: where seed documents come from."""

    id: str = Field(pattern=r"^[a-z0-9_-]+$", description="Names the source in the lineage; letters a-z, 0-9, _ and -.")
    kind: Literal["passages", "python_docs", "jsonl", "parquet"] = Field(
        description="Built in (`passages`, `python_docs`) or a file format; `jsonl` reads gzip too."
    )
    paths: tuple[str, ...] = Field(  # not strict: TOML has lists, and no tuples
        (), strict=False, description="Files or globs, relative to the recipe's folder; their names shape no row."
    )
    columns: Columns = Field(Columns(), description="Which columns of the files hold what.")
    license: str | None = Field(None, min_length=1, description="SPDX id of rows that carry none; None: unknown.")
    limit: int | None = Field(
        None, ge=1, description="At most so many passages of `python_docs`, chosen by a hash of their text; None: all."
    )

    @field_validator("paths")
    @classmethod
    def _paths_fit_kind(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        kind = info.data.get("kind")
        if kind in _BUILT_IN and value:
            raise ValueError(f"no paths: kind {kind!r} has a file of its own")
        if kind in ("jsonl", "parquet") and not (value and all(value)):
            raise ValueError(f"at least one file or glob for kind {kind!r}, none of them empty")
        return value

    @field_validator("columns", "license")
    @classmethod
    def _built_in_knows_its_own(cls, value: object, info: ValidationInfo) -> object:
        kind = info.data.get("kind")
        if kind in _BUILT_IN and value not in (None, Columns()):
            raise ValueError(f"nothing: kind {kind!r} knows its own")
        return value

    @field_validator("limit")
    @classmethod
    def _limit_fits_kind(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("kind", "python_docs") != "python_docs":
            raise ValueError("a limit for kind 'python_docs' only")
        return value

    def content(self) -> dict[str, Any]:
        """What shapes the rows: everything but `paths`, because files are identified by their bytes."""
        return {name: value for name, value in super().content().items() if name != "paths"}


def source_files(source: Source, base: Path) -> list[Path]:
    """The files of a source, sorted, each once. `base` is the recipe's folder. SourceError: a path that names none."""
    if source.kind == "python_docs":
        return [topics_file()]
    if source.kind == "passages":
        return [Path(str(importlib.resources.files("synth.data").joinpath("passages.jsonl")))]
    with _within_reach():
        return sorted({path for pattern in source.paths for path in _matches(pattern, base)})


def read_source(source: Source, file: Path) -> Iterator[pa.Table]:
    """The seeds in one file of a source, as tables of rows.SEED. SourceError names the file, and its line or row."""
    with _within_reach():
        for batch in _batches(source, file):
            yield _seeds(source, batch)


@contextmanager
def _within_reach() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        do = "check the source's paths, and that you may read them"
        raise fail(SourceError, f"{error.filename} cannot be read: {error.strerror}", do=do) from error


def _matches(pattern: str, base: Path) -> list[Path]:
    """The files that a path or a glob names. A file of exactly that name wins over its reading as a glob."""
    if (base / pattern).is_file():
        return [_absolute(base / pattern)]
    hits = glob.glob(pattern, root_dir=base, recursive=True)  # noqa: PTH207 (a Path does not take absolute patterns)
    files = [_absolute(base / hit) for hit in hits if (base / hit).is_file()]
    if not files:
        raise _no_match(pattern, base / pattern)
    return files


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve() would show where links lead, not what was written)


def _no_match(pattern: str, path: Path) -> SynthError:
    """The error for a path or glob that names no file: where it was looked for, and what lies there."""
    is_glob = glob.escape(pattern) != pattern
    folder = path if path.is_dir() else next(parent for parent in path.parents if parent.is_dir())
    names = sorted(entry.name + "/" * entry.is_dir() for entry in itertools.islice(folder.iterdir(), LISTED_NAMES))
    wanted = "" if folder == path else path.relative_to(folder).parts[0]
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5) or names[:3]
    problem = "is a folder" if folder == path else "matches no file" if is_glob else "does not exist"
    return fail(
        SourceError,
        f"the path {pattern!r} of a source {problem}",
        given=f"{pattern!r}, looked for in {_absolute(folder)}",
        allowed=f"a file or a glob; nearest there: {', '.join(near) or '(the folder is empty)'}",
        do="correct `paths`; they are relative to the recipe's folder",
    )


def _batches(source: Source, file: Path) -> Iterator[Batch]:
    match source.kind:
        case "jsonl":
            return read_jsonl(source.columns, file)
        case "parquet":
            return read_parquet(source.columns, file)
        case "passages":
            return read_jsonl(Columns(id="id", source="title"), file)
        case "python_docs":
            return iter([_python_docs(source.limit, file)])


def _python_docs(limit: int | None, file: Path) -> Batch:
    pairs = topic_passages(file)
    if limit is not None:
        pairs = heapq.nsmallest(limit, pairs, key=lambda pair: (hash_share("python_docs", pair[1]), pair[1]))
    topics, texts = [topic for topic, _ in pairs], [text for _, text in pairs]
    columns = {"text": pa.array(texts, pa.large_string()), "source": pa.array(topics, pa.string())}
    return Batch(columns, lambda row: f"{file}, topic {topics[row]!r}")


def _seeds(source: Source, batch: Batch) -> pa.Table:
    """A batch as rows of SEED. What neither the rows nor the source say is null."""
    columns, size = dict(batch.columns), len(batch.columns["text"])
    constants = {"source_id": source.id, "generation_depth": 0, **_BUILT_IN.get(source.kind, {})}
    if source.license is not None:
        constants["license"] = source.license
    for role in columns.keys() & {"license", "root_id"}:
        columns[role] = _blank_as_null(columns[role])
    columns.update(meta=_meta(columns, size), id=_ids(source, columns))
    columns["root_id"] = pc.coalesce(columns.get("root_id", pa.nulls(size, pa.string())), columns["id"])
    arrays = []
    for field in SEED:
        column = columns.get(field.name, pa.nulls(size, field.type))
        if field.name in constants:
            column = pc.coalesce(column, pa.scalar(constants[field.name], field.type))
        arrays.append(column)
    return pa.Table.from_arrays(arrays, schema=SEED)


def _ids(source: Source, columns: Mapping[str, pa.Array]) -> pa.Array:
    """A digest of the source's id and the row's own id, or its text where the recipe names no column of ids."""
    key = "key" if source.columns.id is not None else "text"
    values = columns["id" if key == "key" else "text"].to_pylist()
    return pa.array([digest({"source": source.id, key: value}) for value in values], pa.string())


def _meta(columns: Mapping[str, pa.Array], size: int) -> pa.Array:
    """What has no column of its own in SEED, as JSON: the row's id in its source, a problem's answer."""
    named = {role: columns[role].to_pylist() for role in ("id", "answer") if role in columns}
    if not named:
        return pa.nulls(size, pa.string())
    rows = (dict(zip(named, values, strict=True)) for values in zip(*named.values(), strict=True))
    known = ({role: value for role, value in row.items() if value is not None} for row in rows)
    return pa.array([orjson.dumps(row).decode() for row in known], pa.string())


def _blank_as_null(column: pa.Array) -> pa.Array:
    """An empty licence must not pass for a known one."""
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), pa.scalar(None, column.type), column)
