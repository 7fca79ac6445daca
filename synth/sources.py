"""Readers of seed documents: what a recipe's [[sources]] describe becomes tables of rows.SEED.

A seed's id comes from its source's id and the row's own id, or the text where rows have none: never from a file's
name or a row's place. Reading streams, in tables of some thousands of rows. Whatever is not as the recipe says is
refused with the file and its line or row, the first being 1. What a text contains (nothing, NUL, 50 MB) is for the
step that ingests to judge.

A file is read once, and known by its bytes from then on. A query (`sql`) is no function of one file: it is asked of all
files together, again when one is new, and what it gave before is recognised row by row.
"""

from __future__ import annotations

import heapq
import importlib.resources
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationInfo, field_validator

from synth.config import Config
from synth.digest import digest, hash_share
from synth.rows import SEED
from synth.sources_columns import Batch, Columns
from synth.sources_files import matches, within_reach
from synth.sources_hf import check_arrow, dataset_files, is_dataset, read_arrow
from synth.sources_python_docs import topic_passages, topics_file
from synth.sources_readers import (
    BATCH_ROWS,
    check_jsonl,
    check_parquet,
    check_schema,
    checked_array,
    read_jsonl,
    read_parquet,
    rows_after,
)
from synth.sources_remote import fetched, is_address, waiting
from synth.sources_text import read_text

Kind = Literal["passages", "python_docs", "jsonl", "parquet", "text", "hf", "sql"]

# What all rows of a built-in kind carry.
_BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "passages": {"license": "CC0-1.0", "language": "en"},
    "python_docs": {"license": "PSF-2.0", "language": "en", "url": "https://docs.python.org/3/"},
}


class Source(Config):
    """One [[sources]] table of a recipe: where seed documents come from."""

    id: str = Field(pattern=r"^[a-z0-9_-]+$", description="Names the source in the lineage; letters a-z, 0-9, _ and -.")
    kind: Kind = Field(
        description="Built in (`passages`, `python_docs`), a file format (`jsonl` and `text` read gzip and zstd too; `hf` is a "
        "folder that `save_to_disk` of `datasets` wrote), or `sql`: a query over Parquet files."
    )
    paths: tuple[str, ...] = Field(  # not strict: TOML has lists, and no tuples
        (),
        strict=False,
        description="Files, globs or addresses (https://, s3:// …), relative to the recipe's folder; their names shape no row.",
    )
    columns: Columns = Field(Columns(), description="Which columns of the files hold what.")
    license: str | None = Field(None, min_length=1, description="SPDX id of rows that carry none; None: unknown.")
    limit: int | None = Field(
        None, ge=1, description="At most so many passages of `python_docs`, chosen by a hash of their text; None: all."
    )
    separator: str | None = Field(
        None, min_length=1, description="What stands between two texts of a `text` file; None: a file is one text."
    )
    split: str | None = Field(None, min_length=1, description="The split of `hf` folders that have several.")
    query: str | None = Field(
        None,
        min_length=1,
        description="The SELECT of kind `sql` (DuckDB's SQL) over the view `files`: all rows of `paths`.",
    )

    @field_validator("paths")
    @classmethod
    def _paths_fit_kind(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        kind = info.data.get("kind")
        if kind in _BUILT_IN and value:
            raise ValueError(f"no paths: kind {kind!r} has a file of its own")
        if kind is not None and kind not in _BUILT_IN and not (value and all(value)):
            raise ValueError(f"at least one file or glob for kind {kind!r}, none of them empty")
        if kind == "hf" and any(map(is_address, value)):
            raise ValueError("folders on this machine for kind 'hf'; of a dataset elsewhere read its Parquet files")
        return value

    @field_validator("columns", "license")
    @classmethod
    def _built_in_knows_its_own(cls, value: object, info: ValidationInfo) -> object:
        kind = info.data.get("kind")
        if kind in _BUILT_IN and value not in (None, Columns()):
            raise ValueError(f"nothing: kind {kind!r} knows its own")
        if kind == "text" and info.field_name == "columns" and value != Columns():
            raise ValueError("nothing: kind 'text' has no columns")
        return value

    @field_validator("limit", "separator", "split", "query")
    @classmethod
    def _options_fit_kind(cls, value: object, info: ValidationInfo) -> object:
        name, kind = str(info.field_name), info.data.get("kind")
        if value is not None and kind not in (_KIND_OF[name], None):
            raise ValueError(f"a {name} for kind {_KIND_OF[name]!r} only")
        if value is None and name == "query" and kind == "sql":
            raise ValueError("a SELECT for kind 'sql', such as SELECT text, url FROM files WHERE score > 3")
        return value

    def content(self) -> dict[str, Any]:
        """What shapes the rows: everything but where they lie (`paths`, `split`), because files are identified by their bytes.

        What only some kinds have is left out where it is not given: keys of homes that were made before it existed stay.
        """
        late = {name for name in ("separator", "query") if getattr(self, name) is None}
        return {name: value for name, value in super().content().items() if name not in {"paths", "split", *late}}


_CHECKS: Mapping[str, Callable[[Columns, Path], None]] = {
    "jsonl": check_jsonl,
    "parquet": check_parquet,
    "hf": check_arrow,
}
_KIND_OF = {"limit": "python_docs", "separator": "text", "split": "hf", "query": "sql"}


def source_files(
    source: Source, base: Path, fetch: bool = True, say: Callable[[str], None] = lambda text: None
) -> list[Path]:
    """The files of a source, sorted, each once. `base` is the recipe's folder. SourceError: a path that names none.

    Files at an address are fetched, unless they are here already, as they are there now; without `fetch` those that are not
    here are left out (`files_waiting` names them). `say` hears of what takes long. WorldError: the network's fault.
    """
    if source.kind == "python_docs":
        return [topics_file()]
    if source.kind == "passages":
        return [Path(str(importlib.resources.files("synth.data").joinpath("passages.jsonl")))]
    found: set[Path] = set()
    with within_reach():
        for pattern in source.paths:
            found.update(fetched(pattern, fetch, say) if is_address(pattern) else _local(source, pattern, base))
    return sorted(found)


def files_waiting(source: Source) -> list[str]:
    """The addresses of files that are not fetched yet, or have changed since."""
    return [address for pattern in source.paths if is_address(pattern) for address in waiting(pattern)]


def _local(source: Source, pattern: str, base: Path) -> list[Path]:
    if source.kind != "hf":
        return matches(pattern, base)
    folders = matches(pattern, base, is_dataset, "folder that `save_to_disk` wrote")
    return [file for folder in folders for file in dataset_files(folder, source.split)]


def check_files(source: Source, files: Sequence[Path]) -> None:
    """SourceError when the head of a file says already that it cannot be read as the recipe says. Costs little."""
    with within_reach():
        if source.kind == "sql" and files:
            for _ in _query_batches(source, files, head=True):
                pass
        for file in files:
            if source.kind in _CHECKS:
                _CHECKS[source.kind](source.columns, file)


def read_source(source: Source, *files: Path) -> Iterator[pa.Table]:
    """The seeds in one file of a source (of `sql`: in all of them), as tables of rows.SEED. SourceError names the file, and its
    line or row."""
    with within_reach():
        for batch in _batches(source, files):
            yield _seeds(source, batch)


def _batches(source: Source, files: Sequence[Path]) -> Iterator[Batch]:
    match source.kind:
        case "jsonl":
            return read_jsonl(source.columns, *files)
        case "parquet":
            return read_parquet(source.columns, *files)
        case "text":
            return read_text(source.separator, *files)
        case "hf":
            return read_arrow(source.columns, *files)
        case "sql":
            return _query_batches(source, files)
        case "passages":
            return read_jsonl(Columns(id="id", source="title"), *files)
        case "python_docs":
            return iter([_python_docs(source.limit, *files)])


def _query_batches(source: Source, files: Sequence[Path], head: bool = False) -> Iterator[Batch]:
    """What the query of a `sql` source gives; with `head` nothing, only its columns are checked."""
    from synth.audit.files_query import files_query  # DuckDB is loaded where it is used

    names, told, rows_before = source.columns.named(), f"the query of source {source.id!r}", 0
    with files_query(source.query or "", files, BATCH_ROWS, told) as reader:
        check_schema(names, reader.schema, told)
        for rows in reader if not head else ():
            where = rows_after(rows_before, told)
            yield Batch({role: checked_array(role, name, rows[name], where) for role, name in names.items()}, where)
            rows_before += rows.num_rows


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
