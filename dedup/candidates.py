"""Candidates: which texts are worth comparing. Band hashes are sorted; equal neighbours belong together.

No pair is decided here. A group is what chains of shared bands connect, and may hold texts that are nothing alike.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dedup.signatures import Uint64s

Indices = npt.NDArray[np.int64]


def candidate_groups(band_hashes: Uint64s) -> Indices:
    """For each row of `band_hashes` (N, bands) the smallest row of its group, shape (N,).

    Rows that share any band's hash are in one group, and so are the groups they connect. Leave out the rows of texts
    without shingles: their signatures all agree.
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
