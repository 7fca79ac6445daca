"""One pass over the texts: their shingle sets, digests and bands, a block of rows at a time.

Sets lie in memory or, when they are many, in a file that the system maps and may evict.
"""

from __future__ import annotations

import mmap
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.columns import Workspace, digests_of, each_batch, tokens_of
from dedup.contents import Bools
from dedup.signatures import EMPTY, Int64s, MinHashConfig, Uint32s, Uint64s, band_hashes, permutations
from dedup.threads import in_order
from synth.errors import IntegrityError, fail

if TYPE_CHECKING:
    from dedup.pairs_kernels import Sets
    from synth.text.buffers import TextBytes

IN_MEMORY_BYTES = 1 << 29
"""Bytes of text up to which the hashes of their shingles (about 4/3 of that) are held in memory. No verdict depends on it."""

BLOCK_ROWS = 2048  # rows that a thread reads at once

_HASH_BYTES = 8
_SLOT_SEED = np.uint64(secrets.randbits(64) | 1)  # of hash tables, so that nobody can fill one place of them


@dataclass(frozen=True)
class Read:
    """What is known of R rows once their texts were read."""

    digests: pa.ChunkedArray  # of all rows
    bands: Uint64s  # (bands, R)
    signed: Bools  # (R,) whether it has bands: texts without shingles have none
    sets: Sets  # of all rows; an empty one where the text is null


class _Block(NamedTuple):
    hashes: Uint64s
    counts: Int64s
    digests: list[pa.Array]
    bands: Uint64s  # (rows, bands)
    signed: Bools


def read_texts(table: pa.Table, config: MinHashConfig, folder: Path | None, workers: int) -> Read:
    """Reads all texts. What the table has of digests and signatures is taken from it, what it lacks is made.

    `folder` is where a file of sets goes that has no name and ends with the process; None: the system's folder for such
    files. IntegrityError: signatures of another configuration.
    """
    from dedup.pairs_kernels import Sets

    bands, signed = np.zeros((config.bands, len(table)), np.uint64), np.zeros(len(table), bool)
    counts, digests = np.zeros(len(table), np.int64), []
    size_bytes = pc.sum(pc.cast(pc.binary_length(table["text"]), pa.int64())).as_py() or 0
    blocks = (table.slice(first, BLOCK_ROWS) for first in range(0, len(table), BLOCK_ROWS))
    with tempfile.TemporaryFile(dir=folder) as file:
        store = _Store(size_bytes // 2 if size_bytes <= IN_MEMORY_BYTES else None, file)
        first = 0
        for made in in_order(lambda block: _read_block(block, config), blocks, workers):
            rows = slice(first, first + len(made.counts))
            bands[:, rows], signed[rows], counts[rows] = made.bands.T, made.signed, made.counts
            digests += made.digests
            store.add(made.hashes)
            first = rows.stop
        ends = np.cumsum(counts)
        return Read(pa.chunked_array(digests, pa.string()), bands, signed, Sets(store.hashes(), ends - counts, ends))


class _Store:
    """Hashes one after the other."""

    def __init__(self, expected: int | None, file: BinaryIO) -> None:
        """`expected`: how many in memory, more if need be; None: in the file."""
        self._expected = expected
        self._file = file
        self._room = np.empty(expected or 0, np.uint64)  # pages that are not written to take no memory
        self._used = 0

    def add(self, hashes: Uint64s) -> None:
        used = self._used + len(hashes)
        if self._expected is None:
            hashes.tofile(self._file)
        else:
            if used > len(self._room):  # characters that become several tokens
                self._room = np.concatenate([self._room[: self._used], np.empty(used, np.uint64)])
            self._room[self._used : used] = hashes
        self._used = used

    def hashes(self) -> Uint64s:
        """All of them; those in the file are mapped, for writing too."""
        if self._expected is not None or self._used == 0:
            return self._room[: self._used]
        self._file.flush()
        os.truncate(self._file.fileno(), self._used * _HASH_BYTES)
        return np.frombuffer(mmap.mmap(self._file.fileno(), self._used * _HASH_BYTES), np.uint64)


def _read_block(block: pa.Table, config: MinHashConfig) -> _Block:
    counts = np.zeros(len(block), np.int64)
    has_digests, has_signatures = ("exact_digest" in block.column_names, "signature" in block.column_names)
    signatures = np.full((0 if has_signatures else len(block), config.permutations), EMPTY, np.uint32)

    def work(first: int, batch: TextBytes, space: Workspace) -> tuple[Uint64s, list[str]]:
        rows = slice(first, first + len(batch.starts))
        return _read_batch(batch, space, config, counts[rows], signatures[rows], not has_digests)

    made = each_batch(block["text"], work)
    hashes = np.concatenate([np.empty(0, np.uint64), *(one for one, _ in made)])
    if has_signatures:
        signatures = _given_signatures(block["signature"], config)
    if has_digests:
        digests = pc.cast(block["exact_digest"], pa.string()).chunks
    else:
        digests = [pa.array([digest for _, some in made for digest in some], pa.string())]
    return _Block(hashes, counts, digests, band_hashes(signatures, config), (signatures != EMPTY).any(axis=1))


def _read_batch(
    batch: TextBytes, space: Workspace, config: MinHashConfig, counts: Int64s, signatures: Uint32s, wants_digests: bool
) -> tuple[Uint64s, list[str]]:
    """The sets of a batch, one after the other, and its digests; fills `counts` and, if there are any, `signatures`."""
    from dedup.kernels import shingle_all, sign_sets

    tokens = tokens_of(batch, space)
    scratch = space.scratch(tokens)
    hashes = np.empty(int(tokens.counts.sum()), np.uint64)
    used = shingle_all(tokens, config.shingle_words, scratch, _SLOT_SEED, hashes, counts)
    if len(signatures):
        sign_sets(hashes, counts, *permutations(config), scratch.lanes, signatures)
    return hashes[:used].copy(), digests_of(tokens) if wants_digests else []


def _given_signatures(column: pa.ChunkedArray, config: MinHashConfig) -> Uint32s:
    """A `signature` column as (N, permutations)."""
    lengths = pc.list_value_length(column).to_numpy()
    wrong = sorted(set(np.unique(lengths).tolist()) - {0, config.permutations})
    if wrong:
        raise fail(
            IntegrityError,
            "signatures were made with another configuration",
            given=f"lengths {', '.join(map(str, wrong[:3]))}",
            allowed=f"{config.permutations} values, or none for a text without shingles",
            do="sign the documents again",
        )
    signatures = np.full((len(lengths), config.permutations), EMPTY, np.uint32)
    signatures[lengths > 0] = pc.list_flatten(column).to_numpy().reshape(-1, config.permutations)
    return signatures
