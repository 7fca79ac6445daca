"""Candidate groups are the connected components over shared bands, each under its smallest row."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dedup.candidates import candidate_groups, join


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


def test_identical_rows_cost_no_more_than_distinct_ones() -> None:
    """All pairs of 200,000 identical rows would be 2e10; one group is found about as fast as 200,000 groups."""
    same = np.tile(np.arange(14, dtype=np.uint64), (200_000, 1))
    distinct = np.random.default_rng(0).integers(0, 2**63, same.shape).astype(np.uint64)
    seconds = []
    for hashes, groups in ((distinct, 200_000), (same, 1)):
        start = time.process_time()
        found = candidate_groups(hashes)
        seconds.append(time.process_time() - start)
        assert len(np.unique(found)) == groups
    assert seconds[1] < 3 * seconds[0]
