"""Candidates: lists of those that share a band or a rare shingle; groups are the connected components over shared bands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dedup.candidates import RARE_SHINGLES, candidate_groups, candidate_lists, join
from dedup.jobs import Jobs


def slow_components(size: int, edges: list[tuple[int, int]]) -> list[int]:
    """Relax until nothing changes."""
    label = list(range(size))
    changed = True
    while changed:
        changed = False
        for left, right in edges:
            low = min(label[left], label[right])
            if label[left] != low or label[right] != low:
                label[left] = label[right] = low
                changed = True
    return label


@given(hnp.arrays(np.uint64, st.tuples(st.integers(0, 14), st.integers(1, 3)), elements=st.integers(0, 11)))
def test_groups_are_the_components_of_shared_bands(hashes: np.ndarray) -> None:
    rows = range(len(hashes))
    edges = [(left, right) for left in rows for right in rows if (hashes[left] == hashes[right]).any()]
    assert candidate_groups(hashes).tolist() == slow_components(len(hashes), edges)


@given(st.data(), st.integers(1, 20))
def test_join_is_the_closure_of_its_edges(data: st.DataObject, size: int) -> None:
    edges = data.draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1))))
    left, right = (np.array([edge[side] for edge in edges], np.int64) for side in (0, 1))
    assert join(np.arange(size), left, right).tolist() == slow_components(size, edges)


def test_the_same_value_in_two_bands_is_no_match() -> None:
    assert candidate_groups(np.array([[1, 2], [2, 1]], np.uint64)).tolist() == [0, 1]


@pytest.mark.parametrize("order", ["forward", "backward", "shuffled"])
def test_long_chains_need_no_recursion(order: str) -> None:
    """Row i shares one band with row i + 1 and the other with row i - 1: one component of 100,000 rows."""
    count = 100_000
    numbers = np.arange(count, dtype=np.uint64)
    chain = np.stack([numbers // 2, (numbers + 1) // 2 + count], axis=1)
    if order == "backward":
        chain = chain[::-1]
    if order == "shuffled":
        chain = chain[np.random.default_rng(0).permutation(count)]
    assert (candidate_groups(chain) == 0).all()


def sets_of(*sets: list[int]) -> Any:
    from dedup.pairs_kernels import Sets

    ends = np.cumsum([len(one) for one in sets])
    starts = ends - [len(one) for one in sets]
    return Sets(np.array([hash_ for one in sets for hash_ in sorted(one)], np.uint64), starts, ends)


def members_of(lists: Any, row: int) -> list[list[int]]:
    """The members of each list that a row stands in."""
    return [lists.members[lists.bounds[at] : lists.bounds[at + 1]].tolist() for at in lists.of[row] if at >= 0]


def lists_of(bands: np.ndarray, sets: Any, judged: list[bool] | None = None) -> Any:
    wanted = np.ones(bands.shape[1], bool)
    with Jobs(workers=2) as jobs:
        return candidate_lists(bands, wanted, sets, np.array(judged or [True] * bands.shape[1]), jobs)


@given(hnp.arrays(np.uint64, st.tuples(st.integers(1, 3), st.integers(1, 14)), elements=st.integers(0, 11)))
def test_lists_by_band_hold_those_that_agree(bands: np.ndarray) -> None:
    """Each list is ascending, holds everybody with the same hash in one band, and nobody is alone in one."""
    lists = lists_of(bands, sets_of(*[[] for _ in range(bands.shape[1])]))
    for row in range(bands.shape[1]):
        same = [np.flatnonzero(one == one[row]).tolist() for one in bands]
        assert members_of(lists, row) == [one for one in same if len(one) > 1]


def test_who_is_not_wanted_stands_in_no_list() -> None:
    bands = np.zeros((1, 3), np.uint64)
    with Jobs(workers=1) as jobs:
        lists = candidate_lists(bands, np.array([True, False, True]), sets_of([], [], []), np.ones(3, bool), jobs)
    assert [members_of(lists, row) for row in range(3)] == [[[0, 2]], [], [[0, 2]]]


def test_rare_shingles_find_part_of_a_whole() -> None:
    """Content 3 is a part of 0. What it shares with 0 alone comes before what everybody has."""
    common = [*range(1, 20)]
    whole = [*common, *range(1000, 1100)]
    sets = sets_of(whole, [*common, 7], [*common, 8], [*common[:5], *range(1000, 1010)])
    lists = lists_of(np.arange(4, dtype=np.uint64)[None], sets)
    assert members_of(lists, 3) == [[0, 3]] * RARE_SHINGLES


def test_a_shingle_of_one_content_alone_proposes_nothing() -> None:
    lists = lists_of(np.arange(2, dtype=np.uint64)[None], sets_of([*range(1, 50)], [*range(100, 150)]))
    assert [members_of(lists, row) for row in range(2)] == [[], []]


def test_who_is_not_judged_asks_nobody_but_is_found() -> None:
    sets = sets_of([*range(1, 50)], [*range(1, 20)])
    lists = lists_of(np.arange(2, dtype=np.uint64)[None], sets, [False, True])
    assert members_of(lists, 0) == []
    assert members_of(lists, 1) == [[0, 1]] * RARE_SHINGLES


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sets(st.integers(1, 60), max_size=20), min_size=1, max_size=12))
def test_rare_lists_hold_everybody_with_the_shingle(sets: list[set[int]]) -> None:
    """In so few sets no two shingles share a cell: the rarest are known exactly."""
    count = len(sets)
    lists = lists_of(np.arange(count, dtype=np.uint64)[None], sets_of(*map(sorted, sets)))
    holders = {value: [row for row in range(count) if value in sets[row]] for value in range(1, 61)}
    for row in range(count):
        shared = sorted((len(holders[value]), value) for value in sets[row] if len(holders[value]) > 1)
        assert members_of(lists, row) == [holders[value] for _, value in shared[:RARE_SHINGLES]]


def test_a_list_of_identical_rows_is_as_long_as_they_are_many() -> None:
    """All pairs of 200,000 rows would be 2e10."""
    count = 200_000
    lists = lists_of(np.zeros((3, count), np.uint64), sets_of(*[[] for _ in range(count)]))
    assert len(lists.members) == 3 * count
    assert len(lists.bounds) == 4
