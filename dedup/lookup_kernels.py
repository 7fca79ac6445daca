"""Compiled loops over an index of texts: which of them may be what a new text was copied from, or is half of.

Importing this imports numba: import it where it is used. Nothing here holds the GIL.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synth.text.kernels_text import Bytes, Integers, cached, compiled

Uint64s = NDArray[np.uint64]
Int32s = NDArray[np.int32]
Bools = NDArray[np.bool_]

NOBODY = -1
_PRIME, _START = np.uint64(0x100000001B3), np.uint64(0xCBF29CE484222325)
_MISSED = 0.03  # of the texts that are contained, so many hold fewer sampled shingles than are asked for


class Sorted(NamedTuple):
    """Sorted values that are spread evenly below 2^bits. `starts[p]` is where those begin whose upper bits are p; their number is
    a power of two and one."""

    values: Uint64s
    starts: Integers
    bits: int


class Asked(NamedTuple):
    """New contents, by what an index knows of texts. Shingle s (a place in `shingles`) stands in the contents
    `owners[bounds[s] : bounds[s + 1]]`, which are not all of them."""

    bands: Sorted
    digests: Sorted  # hashes of them
    shingles: Sorted
    bounds: Integers
    owners: Int32s
    sizes: Integers  # shingles of each content, boilerplate taken out


class Known(NamedTuple):
    """Rows of an index."""

    bands: Uint64s  # two dimensions; of rows that are not `signed` they mean nothing
    signed: Bools
    digests: Uint64s  # hashes of them
    samples: Uint64s  # those of row r are `samples[edges[r] : edges[r + 1]]`
    edges: Integers
    sizes: Integers  # shingles of each text


@compiled
def _place(values: Sorted, value: np.uint64) -> int:
    """Where a value stands, or -1."""
    buckets = values.starts.size - 1
    shift = values.bits
    while buckets > 1:
        buckets >>= 1
        shift -= 1
    bucket = np.int64(value >> np.uint64(shift)) if shift < 64 else 0
    low, end = values.starts[bucket], values.starts[bucket + 1]
    high = end
    while low < high:
        middle = (low + high) >> 1
        if values.values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < end and values.values[low] == value else -1


@compiled
def _needed(held: int, own: int, others: int, containment: float) -> int:
    """How many of the `held` sampled shingles of a text of `others` stand in a text of `own` that it contains, but for few of
    them (_MISSED); 0 when it cannot contain it. What a sample holds is binomial."""
    share = containment * own / others
    if share > 1.0:
        return 0
    needed, below, term = 0, 0.0, (1.0 - share) ** held
    while needed < held and share < 1.0:
        below += term
        if below > _MISSED:
            break
        needed += 1
        term *= (held - needed + 1) / needed * share / (1.0 - share)
    return max(1, needed if share < 1.0 else held)


@compiled
def _owners(first: int, last: int, known: Known, asked: Asked, found: Int32s) -> int:
    """The owners of these sampled shingles, ascending, each as often as it has one; how many there are."""
    count = 0
    for at in range(first, last):
        place = _place(asked.shingles, known.samples[at])
        if place < 0:
            continue
        for number in range(asked.bounds[place], asked.bounds[place + 1]):
            owner, to = asked.owners[number], count
            while to > 0 and found[to - 1] > owner:
                found[to] = found[to - 1]
                to -= 1
            found[to] = owner
            count += 1
    return count


@cached
def find_near(
    known: Known, asked: Asked, containment: float, found: Int32s, near: Bools, rows: Int32s, owners: Int32s
) -> int:
    """Marks the rows that share a band or a digest with a new content, or may contain one. Of the last, fills `rows` and `owners`
    with the pairs; returns how many there are, some of which were not written when there is no room. `found` is room for
    the owners that a row's sample has at most."""
    count = 0
    for row in range(known.signed.size):
        near[row] = _place(asked.digests, known.digests[row]) >= 0
        if known.signed[row]:
            for band in range(known.bands.shape[1]):
                near[row] |= _place(asked.bands, known.bands[row, band]) >= 0
        first, last = known.edges[row], known.edges[row + 1]
        held = _owners(first, last, known, asked, found)
        at = 0
        while at < held:
            end = at + 1
            while end < held and found[end] == found[at]:
                end += 1
            needed = _needed(last - first, asked.sizes[found[at]], known.sizes[row], containment)
            if 0 < needed <= end - at:
                near[row] = True
                if count < rows.size:
                    rows[count], owners[count] = row, found[at]
                count += 1
            at = end
    return count


@cached
def hash_texts(data: Bytes, starts: Integers, ends: Integers, hashes: Uint64s) -> None:
    """FNV-1a of each text."""
    for text in range(starts.size):
        value = _START
        for at in range(starts[text], ends[text]):
            value = (value ^ np.uint64(data[at])) * _PRIME
        hashes[text] = value


@cached
def postings_between(
    hashes: Uint64s, starts: Integers, ends: Integers, low: np.uint64, high: np.uint64, values: Uint64s, owners: Int32s
) -> int:
    """Fills `values` and `owners` with the shingles from `low` up to `high` (inclusive) of each set and the set's number, as far
    as there is room; returns how many there are."""
    count = 0
    for one in range(starts.size):
        at, end = starts[one], ends[one]
        while at < end:  # the first that is not below
            middle = (at + end) >> 1
            if hashes[middle] < low:
                at = middle + 1
            else:
                end = middle
        while at < ends[one] and hashes[at] <= high:
            if count < values.size:
                values[count], owners[count] = hashes[at], one
            count += 1
            at += 1
    return count


@cached
def first_owners(values: Uint64s, owners: Int32s, most: int, distinct: Uint64s, counts: Integers) -> int:
    """Of each run of equal values keeps the first `most` owners, moved together in place; writes the values, each once, and how
    many owners are kept; returns how many values there are. `counts` has a place more, for how many owners are kept in all."""
    found, to = 0, 0
    for at in range(values.size):
        if at == 0 or values[at] != values[at - 1]:
            distinct[found], counts[found] = values[at], 0
            found += 1
        if counts[found - 1] < most:
            owners[to] = owners[at]
            counts[found - 1] += 1
            to += 1
    counts[found] = to
    return found


# Of the files whose parts are compiled into these kernels, see tests/test_kernel_caches.py: 58b9638f
