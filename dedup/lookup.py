"""Looking up new texts in an index of older ones: which of these are worth reading again and comparing. It decides nothing.

An index keeps of each text its signature, its exact digest, and a **sample**: the SAMPLE_SHINGLES smallest of its shingles, which
are as good as drawn by lot. Of the new texts all shingles are at hand. So of a text's half each shingle of the sample is one with
a probability of a half; of twelve none is in one of 4,000 halves. How many of them must be there follows from the sizes of the
two texts, so that those which only share a phrase are not read.

Shingles above SAMPLE_HIGHEST are neither kept nor looked up: an eighth of those of the new texts is enough. A text of fewer
than 8 x SAMPLE_SHINGLES shingles has a smaller sample; of its half, n shingles, none is in it with a probability of (7/8)^n.
Boilerplate is not looked up, nor are more than _MOST_OWNERS of the new texts that share a shingle, the first ones.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.contents import NO_WORDS, Int32s
from dedup.jobs import Jobs
from dedup.signatures import EMPTY, SAMPLE_HIGHEST, SAMPLE_SHINGLES, Int64s, MinHashConfig, Uint64s, band_hashes
from synth.text.buffers import text_bytes

if TYPE_CHECKING:
    from dedup.lookup_kernels import Asked, Known, Sorted
    from dedup.pairs_kernels import Sets

_MOST_OWNERS = 32
_POSTING_BYTES = 64  # that collecting and sorting one shingle of one text takes
_PER_BUCKET = 4


class Query(NamedTuple):
    """What new contents ask of an index."""

    asked: Asked
    containment: float
    minhash: MinHashConfig


def query_of(
    bands: Uint64s, digests: pa.ChunkedArray, sets: Sets, containment: float, minhash: MinHashConfig, jobs: Jobs
) -> Query:
    """The query of texts with these band hashes and digests; `sets` are their different contents', boilerplate taken out."""
    from dedup.lookup_kernels import Asked

    found = np.unique(bands)
    sizes = sets.ends - sets.starts
    shared = int(sizes.sum()) // (2**64 // (int(SAMPLE_HIGHEST) + 1))
    parts = max(1, -(-shared * _POSTING_BYTES * 2 * jobs.workers // jobs.memory_bytes))
    edges = [int(SAMPLE_HIGHEST) * part // parts for part in range(parts + 1)]
    spans = [(low + (low > 0), high) for low, high in pairwise(edges)]
    made = list(jobs.each(shingle_postings, spans, sets.hashes, sets.starts, sets.ends))
    values, counts, owners = (jobs.joined(one, kind) for one, kind in zip(zip(*made, strict=True), _KINDS, strict=True))
    bounds = jobs.room(len(values) + 1, np.int64)
    np.cumsum(counts, out=bounds[1:])
    hashes = np.unique(hashes_of(digests.filter(pc.not_equal(digests, NO_WORDS))))
    shingles = _sorted(values, int(SAMPLE_HIGHEST).bit_length())
    asked = Asked(_sorted(found, 64), _sorted(hashes, 64), shingles, bounds, owners, sizes)
    return Query(asked, containment, minhash)


_KINDS = (np.uint64, np.int32, np.int32)


def shingle_postings(
    low: int, high: int, hashes: Uint64s, starts: Int64s, ends: Int64s
) -> tuple[Uint64s, Int32s, Int32s]:
    """The job: the shingles from `low` to `high`, how many owners of each are kept, and these."""
    from dedup import lookup_kernels as kernels

    room = int((ends - starts).sum() * ((high - low) / 2**64) * 1.1) + 1024
    while True:
        values, owners = np.empty(room, np.uint64), np.empty(room, np.int32)
        count = kernels.postings_between(hashes, starts, ends, np.uint64(low), np.uint64(high), values, owners)
        if count <= room:
            break
        room = count
    order = np.argsort(values[:count], kind="stable")  # owners stay in their order
    values, owners = values[:count][order], owners[:count][order]
    distinct, counts = np.empty(count, np.uint64), np.zeros(count + 1, np.int64)
    found = kernels.first_owners(values, owners, _MOST_OWNERS, distinct, counts)
    return distinct[:found].copy(), counts[:found].astype(np.int32), owners[: counts[found]].copy()


def near(index: pa.Table, query: Query) -> tuple[Int64s, pa.Array]:
    """Which rows of `index` (columns exact_digest, shingle_count, signature, shingle_sample) to read again; and of each of these
    the new contents that it may contain, as list<int32>."""
    from dedup import lookup_kernels as kernels

    known = _known(index, query.minhash)
    is_near, room = np.empty(len(index), bool), 4 * len(index) + 64
    found = np.empty(SAMPLE_SHINGLES * _MOST_OWNERS, np.int32)
    while True:
        rows, owners = np.empty(room, np.int32), np.empty(room, np.int32)
        count = kernels.find_near(known, query.asked, query.containment, found, is_near, rows, owners)
        if count <= room:
            break
        room = count
    chosen = np.flatnonzero(is_near)
    edges = np.searchsorted(rows[:count], np.append(chosen, len(index)))  # the pairs are in the order of the rows
    return chosen, pa.ListArray.from_arrays(pa.array(edges.astype(np.int32)), pa.array(owners[:count]))


def hashes_of(digests: pa.Array | pa.ChunkedArray) -> Uint64s:
    """A number for each digest, to look it up by; the digests are compared in full later."""
    from dedup import lookup_kernels as kernels

    found = [np.empty(0, np.uint64)]
    for data, starts, ends in text_bytes(digests):
        found.append(np.empty(len(starts), np.uint64))
        kernels.hash_texts(data, starts, ends, found[-1])
    return np.concatenate(found)


def _known(index: pa.Table, minhash: MinHashConfig) -> Known:
    from dedup.lookup_kernels import Known

    flat = pc.list_flatten(index["signature"]).to_numpy()
    signatures = flat.reshape(len(index), minhash.permutations)
    samples = pc.list_flatten(index["shingle_sample"]).to_numpy()
    lengths = pc.list_value_length(index["shingle_sample"]).to_numpy()
    return Known(
        np.ascontiguousarray(band_hashes(signatures, minhash)),
        (signatures != EMPTY).any(axis=1),
        hashes_of(index["exact_digest"]),
        samples.astype(np.uint64),
        np.append(0, np.cumsum(lengths)).astype(np.int64),
        index["shingle_count"].to_numpy().astype(np.int64),
    )


def _sorted(values: Uint64s, bits: int) -> Sorted:
    from dedup.lookup_kernels import Sorted

    buckets = max(1, len(values) // _PER_BUCKET).bit_length() - 1
    edges = np.arange(1 << buckets, dtype=np.uint64) << np.uint64(bits - buckets) if buckets else np.zeros(1, np.uint64)
    starts = np.append(np.searchsorted(values, edges), len(values)).astype(np.int64)
    return Sorted(values, starts, bits)
