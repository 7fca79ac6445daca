"""Pools: texts of anybody's, signed once, against which near-duplicates are looked for. A pool is a folder.

The texts stay where they are. The index says in which file, known by its digest, and in which row each of them stands; only
those that are near a new text are read again. A text whose file is gone or another one is out of reach: what is near it is
marked and stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from dedup import NORMALISATION_VERSION, SHINGLE_VERSION, MinHashConfig, sketches
from dedup.jobs import Jobs
from dedup.lookup import Query
from flows.near import Texts, near_texts, write_candidates
from synth import rows
from synth.config import Config, parse
from synth.digest import file_sha256, short
from synth.errors import HomeError, IntegrityError, fail
from synth.rows import FORMAT_VERSION
from synth.text_files import read_texts

POOL, INDEX_FILE = "pool.json", "index.parquet"
INDEX_VERSION = 2
"""Of what an index keeps of a text. 1 had no sampled shingles."""


class PoolFile(Config):
    """A file of texts as it was when it was signed."""

    path: str = Field(description="Absolute path.")
    sha256: str = Field(description="Digest of its bytes: another file under this path is not read.")
    size_bytes: int = Field(description="Its size,")
    modified_ns: int = Field(
        description="and when it was last written: while both are the same, it is not read to see."
    )

    def is_there(self) -> bool:
        """Whether the file can be read, and is the one that was signed."""
        path = Path(self.path)
        if not path.is_file() or path.stat().st_size != self.size_bytes:
            return False
        return path.stat().st_mtime_ns == self.modified_ns or file_sha256(path) == self.sha256


class PoolConfig(Config):
    """pool.json."""

    format_version: int = Field(FORMAT_VERSION, description="Of this file and the index.")
    index_version: int = Field(INDEX_VERSION, description="Of what the index keeps of a text.")
    normalisation_version: int = Field(NORMALISATION_VERSION, description="Of what texts are compared by.")
    shingle_version: int = Field(SHINGLE_VERSION, description="Of the hashes of shingles.")
    minhash: MinHashConfig = Field(MinHashConfig(), description="How the texts are signed.")
    text: str = Field("text", description="Column of the text.")
    id: str | None = Field(None, description="Column of the id, as it was named.")
    files: dict[str, PoolFile] = Field(description="By the tag that the index names them by.")
    documents: int = Field(ge=0, description="Texts in the index.")
    index_sha256: str = Field(description="Digest of the index: what the pool is.")


@dataclass(frozen=True)
class Pool:
    """A pool that is there. `name` is what verdicts call it."""

    name: str
    index: Path
    config: PoolConfig

    @classmethod
    def open(cls, folder: Path, minhash: MinHashConfig) -> Pool:
        """HomeError: no pool, or one whose signatures cannot be compared with those of `minhash`."""
        pool = cls.read(folder.absolute().name, folder / POOL, folder / INDEX_FILE)
        mine = PoolConfig(minhash=minhash, files={}, documents=0, index_sha256="")
        for name in ("format_version", "index_version", "normalisation_version", "shingle_version", "minhash"):
            if getattr(pool.config, name) != getattr(mine, name):
                given, allowed = getattr(pool.config, name), getattr(mine, name)
                what = f"the index {folder} was made with another {name}"
                raise fail(HomeError, what, given=given, allowed=str(allowed), do="make it again: synth index")
        return pool

    @classmethod
    def read(cls, name: str, config: Path, index: Path) -> Pool:
        """The pool of these two files. HomeError: they are none."""
        try:
            value = orjson.loads(config.read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            do = "make one: synth index TEXTS… --out FOLDER"
            raise fail(HomeError, f"{config.parent} is no index of texts: {error}", do=do) from None
        if isinstance(value, dict) and value.get("index_version", 1) < INDEX_VERSION:
            what = f"the index {config.parent} was made by an older synth, without samples of the texts"
            raise fail(HomeError, what, do="make it again: synth index TEXTS… --out FOLDER")
        return cls(name, index, parse(PoolConfig, value, str(config)))

    def out_of_reach(self) -> list[str]:
        """The tags of files that are gone, or that are other files now, sorted."""
        return sorted(tag for tag, file in self.config.files.items() if not file.is_there())

    def candidates(self, query: Query, jobs: Jobs, prefix: str, out_of_reach: Sequence[str]) -> pa.Table:
        """CANDIDATES: the texts that the query finds near, null where they are out of reach. `prefix` stands before their ids.
        IntegrityError: a file that was thought to be in reach is not."""
        columns = PoolColumns(text=self.config.text, id=self.config.id)
        lost = set(out_of_reach)
        files = {tag: Texts(None if tag in lost else file.path, file.sha256) for tag, file in self.config.files.items()}
        return near_texts([self.index], files, pool_texts, (columns,), prefix, query, jobs)


class PoolColumns(Config):
    """Which columns of a pool's files hold what."""

    text: str = Field(description="The text.")
    id: str | None = Field(description="The id.")


def pool_texts(
    tag: str, path: str | None, sha256: str, prefix: str, out: str, near: pa.Table, columns: PoolColumns
) -> int:
    """The job: writes the texts of one file that are in `near` to an Arrow file; how many they are."""
    mine = near.filter(pc.equal(near["file_tag"], tag)).sort_by("row")
    texts: list[str | None] = [None] * len(mine)
    if path is not None:
        if not Path(path).is_file() or file_sha256(Path(path)) != sha256:
            what = f"{path} is not the file that was signed: it was changed under its old time, or went away meanwhile"
            raise fail(IntegrityError, what, do="restore it, or make the index again: synth index")
        wanted, first = mine["row"].to_numpy(), 0
        for batch in read_texts(Path(path), columns.text, columns.id):
            begin, end = np.searchsorted(wanted, [first, first + len(batch)]).tolist()
            texts[begin:end] = batch["text"].take(pa.array(wanted[begin:end] - first)).to_pylist()
            first += len(batch)
    nothing = pa.nulls(len(mine), pa.string())
    return write_candidates(mine, pa.array(texts, pa.large_string()), nothing, nothing, prefix, Path(out))


def make_pool(files: Sequence[Path], text: str, id_column: str | None, out: Path, workers: int) -> Pool:
    """Sign all texts of `files` and write `out`/index.parquet, then `out`/pool.json, which makes it a pool."""
    out.mkdir(parents=True, exist_ok=True)
    (out / POOL).unlink(missing_ok=True)
    known: dict[str, PoolFile] = {}
    documents = 0
    scratch = out / f".{INDEX_FILE}"
    dictionary = rows.with_dictionary(rows.INDEX)
    how = {"compression": "zstd", "write_page_checksum": True, "use_dictionary": dictionary}
    with pq.ParquetWriter(scratch, rows.INDEX, **how) as writer:
        for file in files:
            sha256 = file_sha256(file)
            if short(sha256) in known:
                continue  # the same bytes under another name
            known[short(sha256)] = _pool_file(file, sha256)
            for first, batch in _numbered(read_texts(file, text, id_column)):
                writer.write_table(index_rows(batch, short(sha256), first, MinHashConfig(), workers))
                documents += len(batch)
    scratch.replace(out / INDEX_FILE)
    sha256 = file_sha256(out / INDEX_FILE)
    config = PoolConfig(text=text, id=id_column, files=known, documents=documents, index_sha256=sha256)
    _write(out / POOL, config)
    return Pool.open(out, config.minhash)


def _pool_file(file: Path, sha256: str) -> PoolFile:
    status = file.stat()
    path = str(file.absolute())
    return PoolFile(path=path, sha256=sha256, size_bytes=status.st_size, modified_ns=status.st_mtime_ns)


def _write(path: Path, config: PoolConfig) -> None:
    scratch = path.with_name(f".{path.name}")
    with scratch.open("wb") as stream:
        stream.write(orjson.dumps(config.content(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        stream.flush()
        os.fsync(stream.fileno())
    scratch.replace(path)


def _numbered(batches: Iterator[pa.Table]) -> Iterator[tuple[int, pa.Table]]:
    first = 0
    for batch in batches:
        yield first, batch
        first += len(batch)


def index_rows(texts: pa.Table, tag: str, first: int, minhash: MinHashConfig, workers: int) -> pa.Table:
    """Rows of INDEX of a table of texts (`id`, `text`), the first of which is row `first` of the file `tag`."""
    made = sketches(texts["text"], minhash, workers)
    offsets = np.arange(len(texts) + 1, dtype=np.int32) * minhash.permutations
    columns: dict[str, Any] = {
        "doc_id": texts["id"],
        "exact_digest": made.digests,
        "shingle_count": pa.array(made.shingle_counts),
        "text_bytes": pc.cast(pc.binary_length(texts["text"]), pa.int64()),
        "signature": pa.ListArray.from_arrays(pa.array(offsets), pa.array(made.signatures.ravel())),
        "shingle_sample": made.samples,
        "file_tag": pa.array([tag] * len(texts), pa.string()),
        "row": pa.array(np.arange(first, first + len(texts))),
    }
    return pa.table([columns[name] for name in rows.INDEX.names], schema=rows.INDEX)
