"""Who yields to whom: exact comparison of candidates, then one pass over the pairs that are near enough.

Pairs are compared on all processors. What is left is cheap and in order: a content's fate depends only on those before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dedup.jobs import Jobs

if TYPE_CHECKING:
    from dedup.pairs_kernels import Bools, Edges, Groups, Int32s, Limits, Lists, Sets, Traits

Indices = npt.NDArray[np.int64]

NOBODY = -1
_RANGE = 1024  # contents
_ROUNDS = 8


@dataclass(frozen=True)
class Verdicts:
    """The fate of N contents."""

    partners: Int32s  # (N,) the survivor it yields to, or NOBODY
    via: Indices  # (N,) the edge for which it does, or NOBODY: it yields because its group is full
    spared: Indices  # (N,) of a survivor the strongest edge to a survivor with other facts, or NOBODY
    unverified: Int32s  # (N,) the first hidden candidate, or NOBODY
    edges: Edges


def cover(
    sets: Sets,
    traits: Traits,
    released: Bools,
    limits: Limits,
    lists: Lists,
    groups: Groups,
    agree: Callable[[Edges], Bools],
    jobs: Jobs,
) -> Verdicts:
    """The verdicts on all contents. `agree` says for each edge whether the facts of the one are the other's.

    Not all members of a long list are compared. So a content whose near neighbour yields to a survivor is compared with that
    one as well, and all are settled again, until nothing new is found.
    """
    edges, unverified = _compared(sets, traits, limits, lists, jobs)
    agreeing = agree(edges)
    tried = np.empty(0, np.int64)
    for _ in range(_ROUNDS):
        partners, via, spared = _settled(sets, released, edges, agreeing, groups)
        pairs = np.setdiff1d(
            _further(partners, edges), np.append(tried, _keys(edges.ones, edges.others, len(released)))
        )
        more = _compared_pairs(sets, traits, limits, pairs, len(released), jobs)
        if not len(more.ones):
            break
        tried = np.append(tried, pairs)
        edges, agreeing = _merged(edges, more, np.append(agreeing, agree(more)))
    return Verdicts(partners, via, spared, unverified, edges)


def jaccard(sets: Sets, edges: Edges) -> npt.NDArray[np.float64]:
    """The similarity of each edge's two sets."""
    sizes = sets.ends - sets.starts
    shared = edges.shared.astype(np.int64)
    return np.asarray(shared / np.maximum(sizes[edges.ones] + sizes[edges.others] - shared, 1))


def _compared(sets: Sets, traits: Traits, limits: Limits, lists: Lists, jobs: Jobs) -> tuple[Edges, Int32s]:
    from dedup.pairs_kernels import Edges

    count = len(traits.judged)
    parts = jobs.ranges(compared, count, _RANGE, sets, traits, limits, lists)
    if not parts:
        return _no_edges(), np.empty(0, np.int32)
    columns = zip(*(edges for edges, _ in parts), strict=True)
    return Edges(*(jobs.joined(column, np.int32) for column in columns)), np.concatenate([one for _, one in parts])


def compared(first: int, last: int, sets: Sets, traits: Traits, limits: Limits, lists: Lists) -> tuple[Edges, Int32s]:
    """The job: the edges of contents `first` to `last`, and of each of these the first hidden candidate, or NOBODY."""
    from dedup.pairs_kernels import ALL_OF, ENDS_OF, Edges, compare

    most = lists.of.shape[1] * max(ALL_OF, 2 * ENDS_OF)  # others that a content can meet
    room = most * (last - first)
    slots = np.full(1 << (2 * most).bit_length(), -1, np.int64)
    edges = Edges(np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32))
    unverified = np.full(last - first, NOBODY, np.int32)
    count = compare(first, last, sets, traits, limits, lists, slots, edges, unverified)
    return Edges(*(column[:count].copy() for column in edges)), unverified


def _settled(
    sets: Sets, released: Bools, edges: Edges, agreeing: Bools, groups: Groups
) -> tuple[Int32s, Indices, Indices]:
    from dedup.pairs_kernels import settle

    count = len(released)
    bounds = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(edges.ones, minlength=count), out=bounds[1:])
    partners, via, spared = np.empty(count, np.int32), np.empty(count, np.int64), np.empty(count, np.int64)
    groups.survivors[:] = 0
    settle(released, bounds, edges.others, jaccard(sets, edges), agreeing, groups, via, spared, partners)
    return partners, via, spared


def _further(partners: Int32s, edges: Edges) -> Indices:
    """Pairs, as keys: a survivor that is not released or compared yet, and the survivor that a near neighbour yields to."""
    ones, others = edges.ones.astype(np.int64), edges.others
    chained = (partners[ones] == NOBODY) & (partners[others] != NOBODY)
    return np.unique(_keys(ones[chained], partners[others[chained]], len(partners)))


def _keys(ones: npt.NDArray[np.integer], others: npt.NDArray[np.integer], count: int) -> Indices:
    return ones.astype(np.int64) * count + others


def _compared_pairs(sets: Sets, traits: Traits, limits: Limits, keys: Indices, count: int, jobs: Jobs) -> Edges:
    from dedup.pairs_kernels import Edges

    ones, others = (keys // count).astype(np.int32), (keys % count).astype(np.int32)
    parts = jobs.ranges(compared_pairs, len(keys), _RANGE, sets, traits, limits, ones, others)
    shared = np.concatenate([np.empty(0, np.int32), *parts])
    near = shared > 0
    return Edges(ones[near], others[near], shared[near])


def compared_pairs(
    first: int, last: int, sets: Sets, traits: Traits, limits: Limits, ones: Int32s, others: Int32s
) -> Int32s:
    """The job: how many shingles the pairs `first` to `last` share, 0 where it is not enough."""
    from dedup.pairs_kernels import compare_pairs

    shared = np.zeros(last - first, np.int32)
    compare_pairs(sets, traits, limits, ones[first:last], others[first:last], shared)
    return shared


def _merged(edges: Edges, more: Edges, agreeing: Bools) -> tuple[Edges, Bools]:
    """Both, by their `ones`."""
    from dedup.pairs_kernels import Edges

    both = [np.concatenate(pair) for pair in zip(edges, more, strict=True)]
    order = np.argsort(both[0], kind="stable")
    return Edges(*(column[order] for column in both)), agreeing[order]


def _no_edges() -> Edges:
    from dedup.pairs_kernels import Edges

    return Edges(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int32))
