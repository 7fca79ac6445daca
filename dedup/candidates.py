"""Candidates: which texts are worth comparing, as lists of those that share something. No pair is decided here.

Two ways lead into a list. A band of two signatures agrees: MinHash, for texts that are alike as wholes. Or two texts share a
rare shingle: each document looks at a few of its own shingles, those that the fewest others hold, and at everybody who holds
them. So half of a long document is found, which no signature shows.

Hashes are sorted or counted, never looked up in Python; a list of n members is n numbers, not n^2 pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dedup.signatures import Uint64s
from dedup.threads import in_ranges

if TYPE_CHECKING:
    from dedup.pairs_kernels import Bools, Int32s, Lists, Sets

Indices = npt.NDArray[np.int64]

RARE_SHINGLES = 4
"""Of each document, how many of its rarest shared shingles propose candidates."""

_RANGE = 4096  # contents
_ALL = 2**64 - 1
_MOST_COUNTED = 1 << 22  # shingles that are counted: with more in all, a half, a quarter or an eighth of their hashes
_HALVINGS = 3
_MOST_CELLS = 1 << 27


def candidate_lists(bands: Uint64s, wanted: Bools, sets: Sets, judged: Bools, workers: int) -> Lists:
    """The lists by band (`bands`, shape (bands, N), of the `wanted` contents) and by rare shingle (of the `judged` ones), and
    for each content in which of them it stands. They depend on the set of contents alone."""
    from dedup.pairs_kernels import Lists

    by_band = in_ranges(lambda first, _: _band_lists(bands[first], wanted), len(bands), 1, workers)
    every = [*by_band, *_rare_lists(sets, judged, workers)]
    columns, bounds, members, lists, places = [], [np.zeros(1, np.int64)], [], 0, 0
    for of, own_bounds, own_members in every:
        columns.append(np.where(of < 0, of, of + np.int32(lists)))
        bounds.append(own_bounds[1:] + places)
        members.append(own_members)
        lists, places = lists + len(own_bounds) - 1, places + len(own_members)
    return Lists(np.ascontiguousarray(np.hstack(columns)), np.concatenate(bounds), np.concatenate(members))


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


def _band_lists(hashes: Uint64s, wanted: Bools) -> tuple[Int32s, Indices, Int32s]:
    """Those that agree in one band: of each content its list, or -1, shape (N, 1); the lists' bounds; their members."""
    from dedup.pairs_kernels import find_repeated

    cells = 1 << int(8 * len(hashes)).bit_length()
    repeated = np.empty(len(hashes), bool)
    find_repeated(hashes, wanted, np.zeros(cells, np.uint8), np.zeros(cells, np.uint8), repeated)
    rows = np.flatnonzero(repeated)
    rows = rows[np.argsort(hashes[rows], kind="stable")]
    ordered = hashes[rows]
    starts = np.ones(len(rows), bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    shared = ~starts | ~np.append(starts, True)[1:]  # alone is who starts a run that the next one does not go on with
    rows, starts = rows[shared], starts[shared]
    of = np.full(len(hashes), -1, np.int32)
    of[rows] = np.cumsum(starts) - 1
    return of[:, None], np.append(np.flatnonzero(starts), len(rows)).astype(np.int64), rows.astype(np.int32)


def _rare_lists(sets: Sets, judged: Bools, workers: int) -> list[tuple[Int32s, Indices, Int32s]]:
    """Those that hold a rare shingle of a judged content, in the same form."""
    from dedup import pairs_kernels as kernels

    count = len(sets.starts)
    highest = _highest(sets)
    rare = _rarest(sets, judged, highest, workers)
    values = np.unique(rare[rare != 0])
    if not len(values):
        return []
    table = np.full(1 << int(2 * len(values)).bit_length(), -1, np.int32)
    kernels.fill_table(values, table)

    def held(first: int, last: int) -> tuple[Int32s, Int32s]:
        room = 8 * _RANGE
        while True:
            numbers, owners = np.empty(room, np.int32), np.empty(room, np.int32)
            found = kernels.postings(first, last, sets, highest, values, table, numbers, owners)
            if found <= room:
                return numbers[:found].copy(), owners[:found].copy()
            room = found

    parts = in_ranges(held, count, _RANGE, workers)
    numbers, owners = (np.concatenate(column) for column in zip(*parts, strict=True))
    bounds = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.bincount(numbers, minlength=len(values)), out=bounds[1:])
    members = np.empty(len(owners), np.int32)
    kernels.sort_postings(numbers, owners, bounds[:-1].copy(), members)
    of = np.empty(rare.shape, np.int32)
    kernels.places_of(values, table, rare, of)
    return [(of, bounds, members)]


def _highest(sets: Sets) -> np.uint64:
    """Up to which hash shingles are counted: all of them, or a part so that the work stays within bounds, but an eighth at
    least. Then a text of n shingles has none of its own to propose it with a probability of (7/8)^n: 0.5 % for 40."""
    total, halvings = int((sets.ends - sets.starts).sum()), 0
    while total >> halvings > _MOST_COUNTED and halvings < _HALVINGS:
        halvings += 1
    return np.uint64(_ALL >> halvings)


def _rarest(sets: Sets, judged: Bools, highest: np.uint64, workers: int) -> Uint64s:
    """For each content its rarest shingles that others hold too, shape (N, RARE_SHINGLES), 0 for none."""
    from dedup import pairs_kernels as kernels

    counted = int((sets.ends - sets.starts).sum()) * ((int(highest) >> 32) + 1) >> 32
    cells = np.zeros(min(1 << max(10, (2 * counted).bit_length()), _MOST_CELLS), np.uint8)
    # Each thread counts in its own part of the cells: no count is lost, and their order does not matter.
    in_ranges(
        lambda low, high: kernels.count_times(sets, highest, cells, low, high),
        len(cells),
        -(-len(cells) // workers),
        workers,
    )
    found = np.zeros((len(sets.starts), RARE_SHINGLES), np.uint64)

    def work(first: int, last: int) -> None:
        times = np.empty(RARE_SHINGLES, np.int64)
        kernels.rarest(first, last, sets, judged, highest, cells, times, found)

    in_ranges(work, len(sets.starts), _RANGE, workers)
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
