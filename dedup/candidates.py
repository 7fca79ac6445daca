"""Candidates: which texts are worth comparing, as lists of those that share something. No pair is decided here.

Two ways lead into a list. A band of two signatures agrees: MinHash, for texts that are alike as wholes. Or two texts share a
rare shingle: each document looks at a few of its own shingles, those that the fewest others hold, and at everybody who holds
them. So half of a long document is found, which no signature shows.

Hashes are sorted or counted, never looked up in Python; a list of n members is n numbers, not n^2 pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dedup.arrays import zeros
from dedup.jobs import Jobs, spans_of
from dedup.signatures import Uint64s

if TYPE_CHECKING:
    from dedup.pairs_kernels import Bools, Int32s, Lists, Sets
    from synth.text.kernels_text import Bytes

Indices = npt.NDArray[np.int64]

RARE_SHINGLES = 4
"""Of each document, how many of its rarest shared shingles propose candidates."""

_RANGE = 4096  # contents
_ALL = 2**64 - 1
_MOST_COUNTED = 1 << 22  # shingles that are counted: with more in all, a half, a quarter or an eighth of their hashes
_HALVINGS = 3
_MOST_CELLS = 1 << 27
_MOST_PARTS = 1 << 12


def candidate_lists(bands: Uint64s, wanted: Bools, sets: Sets, judged: Bools, jobs: Jobs) -> Lists:
    """The lists by band (`bands`, shape (bands, N), of the `wanted` contents) and by rare shingle (of the `judged` ones), and
    for each content in which of them it stands. They depend on the set of contents alone."""
    from dedup.pairs_kernels import Lists

    parts = _hash_ranges(bands.shape[1], jobs.memory_bytes // (2 * jobs.workers))
    spans = [(band, part, parts) for band in range(len(bands)) for part in range(parts)]
    made = jobs.each(band_lists, spans, bands, wanted)
    by_band = [_one_band([next(made) for _ in range(parts)], bands.shape[1]) for _ in range(len(bands))]
    every = [*by_band, *_rare_lists(sets, judged, jobs)]
    of = jobs.room((bands.shape[1], sum(one.shape[1] for one, _, _ in every)), np.int32)
    bounds, lists, places, column = [np.zeros(1, np.int64)], 0, 0, 0
    for own, own_bounds, own_members in every:
        columns = slice(column, column + own.shape[1])
        np.add(own, np.int32(lists), out=of[:, columns])
        of[:, columns][own < 0] = -1
        bounds.append(own_bounds[1:] + places)
        lists, places, column = lists + len(own_bounds) - 1, places + len(own_members), columns.stop
    members = jobs.joined([one for _, _, one in every], np.int32)
    return Lists(of, jobs.joined(bounds, np.int64), members)


def candidate_groups(band_hashes: Uint64s) -> Indices:
    """For each row of `band_hashes` (N, bands) the smallest row of its group, shape (N,).

    Rows that share any band's hash are in one group, and so are the groups they connect: a template's documents, and
    whatever is like them. Leave out the rows of texts without shingles: their signatures all agree.
    """
    roots = np.arange(len(band_hashes), dtype=np.int64)
    for band in range(band_hashes.shape[1]):
        first, other = _edges(band_hashes[:, band])
        roots = join(roots, first, other)
    return roots


def join(roots: Indices, left: Indices, right: Indices) -> Indices:
    """The groups of `roots` after joining those of `left[i]` and `right[i]` for all i, again each under its smallest row.

    `roots` must be flat: `roots[roots] == roots`. Each round hooks the larger root of every edge under the smallest one
    it meets and flattens the paths: a handful of rounds, without recursion or a loop over edges.
    """
    roots = roots.copy()
    while True:
        low, high = np.minimum(roots[left], roots[right]), np.maximum(roots[left], roots[right])
        apart = low != high
        if not apart.any():
            return roots
        np.minimum.at(roots, high[apart], low[apart])
        roots = _flatten(roots)


_ROW_BYTES = 64  # that finding the lists of one band takes, for each of its rows


def _hash_ranges(rows: int, memory_bytes: int) -> int:
    """Into how many ranges the hashes of a band are cut so that a job has room, a power of two."""
    parts = 1
    while rows * _ROW_BYTES > memory_bytes * parts and parts < _MOST_PARTS:
        parts *= 2
    return parts


def band_lists(band: int, part: int, parts: int, bands: Uint64s, wanted: Bools) -> tuple[Indices, Indices, Int32s]:
    """The job: those that agree in one band, of the hashes in one of so many ranges: rows, by their hash, as list numbers of
    each row, bounds of the lists, and the rows."""
    from dedup.pairs_kernels import find_repeated

    rows = np.flatnonzero(wanted)
    if parts > 1:
        width = np.uint64(65 - parts.bit_length())
        rows = rows[bands[band][rows] >> width == np.uint64(part)]
    hashes = bands[band][rows]
    cells = 1 << int(8 * len(hashes)).bit_length()
    repeated = np.empty(len(hashes), bool)
    find_repeated(hashes, zeros(cells, np.uint8), zeros(cells, np.uint8), repeated)
    rows, hashes = rows[repeated], hashes[repeated]
    order = np.argsort(hashes, kind="stable")
    rows, ordered = rows[order], hashes[order]
    starts = np.ones(len(rows), bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    shared = ~starts | ~np.append(starts, True)[1:]  # alone is who starts a run that the next one does not go on with
    rows, starts = rows[shared], starts[shared]
    return np.cumsum(starts) - 1, np.append(np.flatnonzero(starts), len(rows)).astype(np.int64), rows.astype(np.int32)


def _one_band(parts: Sequence[tuple[Indices, Indices, Int32s]], count: int) -> tuple[Int32s, Indices, Int32s]:
    """Of each content its list in this band, or -1, shape (N, 1); the lists' bounds; their members."""
    of = np.full((count, 1), -1, np.int32)
    bounds, lists, places = [np.zeros(1, np.int64)], 0, 0
    for numbers, own_bounds, rows in parts:
        of[rows, 0] = numbers + lists
        bounds.append(own_bounds[1:] + places)
        lists, places = lists + len(own_bounds) - 1, places + len(rows)
    return of, np.concatenate(bounds), np.concatenate([rows for _, _, rows in parts])


def _rare_lists(sets: Sets, judged: Bools, jobs: Jobs) -> list[tuple[Int32s, Indices, Int32s]]:
    """Those that hold a rare shingle of a judged content, in the same form."""
    from dedup import pairs_kernels as kernels

    highest = _highest(sets)
    rare = _rarest(sets, judged, highest, jobs)
    values = np.unique(rare[rare != 0])
    if not len(values):
        return []
    table = np.full(1 << int(2 * len(values)).bit_length(), -1, np.int32)
    kernels.fill_table(values, table)
    parts = jobs.ranges(held, len(sets.starts), _RANGE, sets, highest, values, table)
    numbers, owners = (jobs.joined(column, np.int32) for column in zip(*parts, strict=True))
    bounds = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.bincount(numbers, minlength=len(values)), out=bounds[1:])
    members = jobs.room(len(owners), np.int32)
    kernels.sort_postings(numbers, owners, bounds[:-1].copy(), members)
    of = np.empty(rare.shape, np.int32)
    kernels.places_of(values, table, rare, of)
    return [(of, bounds, members)]


def held(
    first: int, last: int, sets: Sets, highest: np.uint64, values: Uint64s, table: Int32s
) -> tuple[Int32s, Int32s]:
    """The job: which of `values` contents `first` to `last` hold, as places in it, and the contents."""
    from dedup import pairs_kernels as kernels

    room, top = 8 * _RANGE, np.uint64(highest)
    while True:
        numbers, owners = np.empty(room, np.int32), np.empty(room, np.int32)
        found = kernels.postings(first, last, sets, top, values, table, numbers, owners)
        if found <= room:
            return numbers[:found].copy(), owners[:found].copy()
        room = found


def _highest(sets: Sets) -> np.uint64:
    """Up to which hash shingles are counted: all of them, or a part so that the work stays within bounds, but an eighth at
    least. Then a text of n shingles has none of its own to propose it with a probability of (7/8)^n: 0.5 % for 40."""
    total, halvings = int((sets.ends - sets.starts).sum()), 0
    while total >> halvings > _MOST_COUNTED and halvings < _HALVINGS:
        halvings += 1
    return np.uint64(_ALL >> halvings)


def _rarest(sets: Sets, judged: Bools, highest: np.uint64, jobs: Jobs) -> Uint64s:
    """For each content its rarest shingles that others hold too, shape (N, RARE_SHINGLES), 0 for none."""
    counted = int((sets.ends - sets.starts).sum()) * ((int(highest) >> 32) + 1) >> 32
    cells = min(1 << max(10, (2 * counted).bit_length()), _MOST_CELLS)
    # Each job counts in its own part of the cells: no count is lost, and their order does not matter.
    spans = list(spans_of(cells, -(-cells // jobs.workers)))
    parts = list(jobs.each(times_held, spans, cells, sets, highest))
    times = parts[0] if len(parts) == 1 else np.concatenate(parts)
    found = jobs.ranges(rarest, len(sets.starts), _RANGE, sets, judged, highest, times)
    return np.concatenate([np.empty((0, RARE_SHINGLES), np.uint64), *found])


def times_held(low: int, high: int, cells: int, sets: Sets, highest: np.uint64) -> Bytes:
    """The job: the counts of the cells `low` to `high` of so many."""
    from dedup import pairs_kernels as kernels

    times: Bytes = zeros(high - low, np.uint8)
    kernels.count_times(sets, np.uint64(highest), np.uint64(cells - 1), low, high, times)
    return times


def rarest(first: int, last: int, sets: Sets, judged: Bools, highest: np.uint64, times: Bytes) -> Uint64s:
    """The job: the rarest shingles of contents `first` to `last`, a row for each."""
    from dedup import pairs_kernels as kernels

    found = np.zeros((last - first, RARE_SHINGLES), np.uint64)
    room = np.empty(RARE_SHINGLES, np.int64)
    kernels.rarest(first, last, sets, judged, np.uint64(highest), times, room, found)
    return found


def _edges(hashes: Uint64s) -> tuple[Indices, Indices]:
    """In each run of n equal hashes, ordered by row, the n - 1 edges from its first row to the others."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts_run = np.ones(len(hashes), bool)
    starts_run[1:] = ordered[1:] != ordered[:-1]
    first = order[np.flatnonzero(starts_run)][np.cumsum(starts_run) - 1]
    return first[~starts_run], order[~starts_run]


def _flatten(roots: Indices) -> Indices:
    """Follow every root to the end."""
    while True:
        further = roots[roots]
        if np.array_equal(further, roots):
            return roots
        roots = further
