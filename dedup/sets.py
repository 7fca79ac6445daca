"""One pass over the texts: their shingle sets, digests and bands, a block of rows at a time.

Sets lie in memory or, when they are many, in a file that the system maps and may evict.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.arrays import zeros
from dedup.columns import Workspace, digests_of, each_batch, exact_digests, tokens_of
from dedup.contents import Bools
from dedup.jobs import Jobs
from dedup.signatures import EMPTY, Int64s, MinHashConfig, Uint32s, Uint64s, band_hashes, permutations
from synth.errors import IntegrityError, fail

if TYPE_CHECKING:
    from dedup.pairs_kernels import Sets
    from synth.text.buffers import TextBytes

BLOCK_ROWS = 2048  # rows that a job reads at most,
_BLOCKS_IN_MEMORY = 64  # and so many blocks of the largest size are the memory that there is
_ROWS_TAKEN = 256  # rows whose texts are copied at once

_DIGESTS = pa.schema([("digest", pa.string())])
_SLOT_SEED = np.uint64(secrets.randbits(64) | 1)  # of hash tables, so that nobody can fill one place of them


@dataclass(frozen=True)
class Read:
    """What is known of R rows once their texts were read."""

    digests: pa.ChunkedArray  # of all rows
    bands: Uint64s  # (bands, R)
    signed: Bools  # (R,) whether it has bands: texts without shingles have none
    sets: Sets  # of all rows; an empty one where the text is null
    store: Store  # where the sets lie


class Block(NamedTuple):
    """The same of some rows, as a job gives it."""

    hashes: tuple[Uint64s, ...]  # one after the other; not joined, which would be another copy
    counts: Int64s
    digests: pa.Table  # _DIGESTS
    bands: Uint64s  # (rows, bands)
    signed: Bools


def read_texts(
    table: pa.Table, config: MinHashConfig, jobs: Jobs, before: Read | None = None, *, only_copies: bool = False
) -> Read:
    """Reads all texts. What the table has of digests and signatures is taken from it, what it lacks is made. `before` is what
    was read of rows that stand before these. `only_copies`: digests are wanted to tell which rows are equal, no more.

    IntegrityError: signatures of another configuration.
    """
    from dedup.pairs_kernels import Sets

    only_copies = only_copies and "exact_digest" not in table.column_names

    bands, signed = jobs.room((config.bands, len(table)), np.uint64), np.zeros(len(table), bool)
    counts, digests = np.zeros(len(table), np.int64), [_DIGESTS.empty_table()]
    sizes = np.asarray(pc.fill_null(pc.cast(pc.binary_length(table["text"]), pa.int64()), 0))
    store, first = before.store if before else Store(int(sizes.sum()), jobs), 0
    begin = store.used
    for made in jobs.each(
        read_block, _spans(sizes, jobs.memory_bytes // _BLOCKS_IN_MEMORY), table, config, only_copies
    ):
        rows = slice(first, first + len(made.counts))
        bands[:, rows], signed[rows], counts[rows] = made.bands.T, made.signed, made.counts
        digests.append(made.digests)
        for hashes in made.hashes:
            store.add(hashes)
        first = rows.stop
    ends = begin + np.cumsum(counts)
    sets = Sets(store.hashes(), ends - counts, ends)
    found = _digests_of_copies(table, bands, counts, jobs) if only_copies else pa.concat_tables(digests)["digest"]
    read = Read(found, bands, signed, sets, store)
    return _joined(before, read, jobs) if before else read


def _joined(one: Read, other: Read, jobs: Jobs) -> Read:
    bands = jobs.room((len(one.bands), one.bands.shape[1] + other.bands.shape[1]), np.uint64)
    bands[:, : one.bands.shape[1]], bands[:, one.bands.shape[1] :] = one.bands, other.bands
    starts = np.concatenate([one.sets.starts, other.sets.starts])
    ends = np.concatenate([one.sets.ends, other.sets.ends])
    digests = pa.chunked_array([*one.digests.chunks, *other.digests.chunks], pa.string())
    signed = np.concatenate([one.signed, other.signed])
    return Read(digests, bands, signed, other.sets._replace(starts=starts, ends=ends), other.store)


def _spans(sizes: Int64s, most_bytes: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows of BLOCK_ROWS at most and, unless a single text is longer, of so many bytes."""
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        before = ends[first] - sizes[first]
        last = int(np.searchsorted(ends, before + max(most_bytes, 1), "right"))
        last = min(max(last, first + 1), first + BLOCK_ROWS, len(sizes))
        yield first, last
        first = last


class Store:
    """Hashes one after the other: in memory, or in a file where there are many of them."""

    def __init__(self, text_bytes: int, jobs: Jobs) -> None:
        self._jobs = jobs
        self._path: Path | None = jobs.path() if jobs.spills(text_bytes) else None
        # Pages that are not written to take no memory.
        self._room = zeros(0 if self._path else text_bytes // 2, np.uint64)
        self.used = 0

    def add(self, hashes: Uint64s) -> None:
        used = self.used + len(hashes)
        if self._path:
            with self._path.open("ab") as file:
                hashes.tofile(file)
        else:
            if used > len(self._room):  # characters that become several tokens
                room = zeros(2 * used, np.uint64)
                room[: self.used], self._room = self._room[: self.used], room
            self._room[self.used : used] = hashes
        self.used = used

    def hashes(self) -> Uint64s:
        """All of them; those in the file are mapped, for writing too."""
        if self._path:
            return self._jobs.mapped(self._path, np.uint64, (self.used,))
        return self._room[: self.used]


def _digests_of_copies(table: pa.Table, bands: Uint64s, counts: Int64s, jobs: Jobs) -> pa.ChunkedArray:
    """Digests of the texts that may be copies: copies have equal bands and as many shingles. Of any other text its row's number,
    which is no text's digest."""
    sums, empty = bands.sum(axis=0) + counts.astype(np.uint64), counts == 0
    order = np.argsort(sums, kind="stable")
    ordered = sums[order]
    equal = np.zeros(len(sums), bool)
    equal[order[1:]] = ordered[1:] == ordered[:-1]
    equal[order[:-1]] |= ordered[1:] == ordered[:-1]
    rows = np.flatnonzero(equal | empty)
    made = jobs.ranges(digests_of_rows, len(rows), _ROWS_TAKEN, rows, table)
    numbers = pa.array(np.arange(len(sums))).cast(pa.string())
    found = pa.concat_tables([_DIGESTS.empty_table(), *made])["digest"].combine_chunks()
    return pa.chunked_array([pc.replace_with_mask(numbers, pa.array(equal | empty), found)])


def digests_of_rows(first: int, last: int, rows: Int64s, table: pa.Table) -> pa.Table:
    """The job: the digests of the texts in these rows."""
    return pa.table([exact_digests(table["text"].take(pa.array(rows[first:last])))], schema=_DIGESTS)


def read_block(first: int, last: int, table: pa.Table, config: MinHashConfig, only_copies: bool) -> Block:
    """The job: rows `first` to `last`."""
    block = table.slice(first, last - first)
    counts = np.zeros(len(block), np.int64)
    has_digests, has_signatures = ("exact_digest" in block.column_names, "signature" in block.column_names)
    signatures = np.full((0 if has_signatures else len(block), config.permutations), EMPTY, np.uint32)
    wants_digests = not has_digests and not only_copies

    def work(first: int, batch: TextBytes, space: Workspace) -> tuple[Uint64s, list[str]]:
        rows = slice(first, first + len(batch.starts))
        return _read_batch(batch, space, config, counts[rows], signatures[rows], wants_digests)

    made = each_batch(block["text"], work)
    hashes = tuple(one for one, _ in made)
    if has_signatures:
        signatures = _given_signatures(block["signature"], config)
    if has_digests:
        digests = pc.cast(block["exact_digest"], pa.string())
    else:
        digests = pa.array([digest for _, some in made for digest in some], pa.string())
    signed = (signatures != EMPTY).any(axis=1)
    return Block(hashes, counts, pa.table([digests], schema=_DIGESTS), band_hashes(signatures, config), signed)


def _read_batch(
    batch: TextBytes, space: Workspace, config: MinHashConfig, counts: Int64s, signatures: Uint32s, wants_digests: bool
) -> tuple[Uint64s, list[str]]:
    """The sets of a batch, one after the other, and its digests; fills `counts` and, if there are any, `signatures`."""
    from dedup.kernels import shingle_all, sign_sets

    tokens = tokens_of(batch, space)
    scratch = space.scratch(tokens)
    hashes = space.hashes(tokens)
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
