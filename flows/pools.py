"""Pools: texts of anybody's, signed once, against which near-duplicates are looked for. A pool is a folder.

The texts stay where they are. The index says in which file, known by its digest, and in which row each of them stands; only
those that share a band with a new text are read again.
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
from numpy.typing import NDArray
from pydantic import Field

from dedup import NORMALISATION_VERSION, SHINGLE_VERSION, MinHashConfig, band_hashes, sketches
from synth import rows
from synth.config import Config, parse
from synth.digest import file_sha256, short
from synth.errors import HomeError, fail
from synth.rows import FORMAT_VERSION
from synth.text_files import read_texts

POOL, INDEX_FILE = "pool.json", "index.parquet"
CANDIDATES = pa.schema([*rows.INDEX, ("text", pa.large_string()), ("pool", pa.string())])

_ROWS = 8192  # of an index, looked at at once


class PoolFile(Config):
    """A file of texts as it was when it was signed."""

    path: str = Field(description="Absolute path.")
    sha256: str = Field(description="Digest of its bytes: another file under this path is not read.")


class PoolConfig(Config):
    """pool.json."""

    format_version: int = Field(FORMAT_VERSION, description="Of this file and the index.")
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
        for name in ("format_version", "normalisation_version", "shingle_version", "minhash"):
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
        return cls(name, index, parse(PoolConfig, value, str(config)))

    def candidates(self, bands: NDArray[np.uint64], digests: pa.Array) -> pa.Table:
        """CANDIDATES: what shares one of the band hashes `bands` (sorted) or of the exact `digests`, with its text; null where
        the file is gone or another one."""
        found = [self._near(batch, bands, digests) for batch in self._batches()]
        near = pa.concat_tables([rows.INDEX.empty_table(), *found])
        texts = dict(self._texts(near))
        places = list(zip(near["file_tag"].to_pylist(), near["row"].to_pylist(), strict=True))
        column = pa.array([texts.get(place) for place in places], pa.large_string())
        return near.append_column("text", column).append_column("pool", pa.array([self.name] * len(near), pa.string()))

    def _batches(self) -> Iterator[pa.Table]:
        with pq.ParquetFile(self.index, page_checksum_verification=True) as reader:
            for batch in reader.iter_batches(_ROWS):
                yield pa.Table.from_batches([batch]).select(rows.INDEX.names).cast(rows.INDEX)

    def _near(self, batch: pa.Table, bands: NDArray[np.uint64], digests: pa.Array) -> pa.Table:
        shared = np.asarray(pc.is_in(batch["exact_digest"].combine_chunks(), value_set=digests))
        flat = pc.list_flatten(batch["signature"]).to_numpy()
        signatures = flat.reshape(len(batch), self.config.minhash.permutations)
        signed = batch["shingle_count"].to_numpy() > 0
        mine = band_hashes(signatures, self.config.minhash)
        at = np.searchsorted(bands, mine) if len(bands) else np.zeros(mine.shape, np.int64)
        hit = bands[np.minimum(at, len(bands) - 1)] == mine if len(bands) else np.zeros(mine.shape, bool)
        return batch.filter(pa.array(shared | (signed & hit.any(axis=1))))

    def _texts(self, near: pa.Table) -> Iterator[tuple[tuple[str, int], str]]:
        """((file tag, row), text) of the rows of `near` that can be reached."""
        for tag in pc.unique(near["file_tag"]).to_pylist():
            file = self.config.files[tag]
            path = Path(file.path)
            if not path.is_file() or file_sha256(path) != file.sha256:
                continue
            wanted = set(near.filter(pc.equal(near["file_tag"], tag))["row"].to_pylist())
            first = 0
            for batch in read_texts(path, self.config.text, self.config.id):
                for row in sorted(wanted & set(range(first, first + len(batch)))):
                    yield (tag, row), batch["text"][row - first].as_py()
                first += len(batch)


def make_pool(files: Sequence[Path], text: str, id_column: str | None, out: Path, workers: int) -> Pool:
    """Sign all texts of `files` and write `out`/index.parquet, then `out`/pool.json, which makes it a pool."""
    out.mkdir(parents=True, exist_ok=True)
    (out / POOL).unlink(missing_ok=True)
    known: dict[str, PoolFile] = {}
    documents = 0
    scratch = out / f".{INDEX_FILE}"
    with pq.ParquetWriter(scratch, rows.INDEX, compression="zstd", write_page_checksum=True) as writer:
        for file in files:
            sha256 = file_sha256(file)
            if short(sha256) in known:
                continue  # the same bytes under another name
            known[short(sha256)] = PoolFile(path=str(file.absolute()), sha256=sha256)
            for first, batch in _numbered(read_texts(file, text, id_column)):
                writer.write_table(index_rows(batch, short(sha256), first, MinHashConfig(), workers))
                documents += len(batch)
    scratch.replace(out / INDEX_FILE)
    sha256 = file_sha256(out / INDEX_FILE)
    config = PoolConfig(text=text, id=id_column, files=known, documents=documents, index_sha256=sha256)
    _write(out / POOL, config)
    return Pool.open(out, config.minhash)


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
        "file_tag": pa.array([tag] * len(texts), pa.string()),
        "row": pa.array(np.arange(first, first + len(texts))),
    }
    return pa.table([columns[name] for name in rows.INDEX.names], schema=rows.INDEX)
