"""Compiled loops that read a fastText model file once, when it is loaded. Importing this imports numba.

A table is open-addressing: a power of two of slots (int64), 0 where empty, else a key in the upper 32 bits and a number, plus
one, in the lower.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
# No kernel allocates: without `_nrt`, arrays are not counted at every call and every byte, which is slower than the rest.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}
compiled = cast(Callable[[FunctionT], FunctionT], njit(**_OPTIONS))
inlined = cast(Callable[[FunctionT], FunctionT], njit(inline="always", **_OPTIONS))

_ENTRY_TAIL = 9  # bytes after a word and its NUL: how often it was seen (int64), what it is (int8)
OFFSET, _PRIME = np.uint32(2166136261), np.uint32(16777619)
_SPREAD = 0x9E3779B1  # 2**32 / golden ratio
_FINITE_BITS = np.uint32(0x7FFFFFFF)


@inlined
def hashed(value: Any, byte: Any) -> Any:
    """FNV-1a (uint32) with one more byte, which fastText reads as signed."""
    return np.uint32((value ^ np.uint32(np.int8(byte))) * _PRIME)


@compiled
def word_hash(data: Any, start: int, end: int) -> Any:
    """The hash (uint32) of the bytes from `start` to `end`."""
    value = OFFSET
    for at in range(start, end):
        value = hashed(value, data[at])
    return value


@compiled
def read_entries(data: Any, at: int, spans: Any, counts: Any, kinds: Any) -> int:
    """Fill the arrays with the dictionary's entries, which begin at byte `at`; where they end, -1 when the bytes do before."""
    for entry in range(len(counts)):
        first = at
        while at < len(data) and data[at] != 0:
            at += 1
        if at + 1 + _ENTRY_TAIL > len(data):
            return -1
        count = np.int64(0)
        for byte in range(8):
            count |= np.int64(data[at + 1 + byte]) << (8 * byte)
        spans[entry, 0], spans[entry, 1], counts[entry], kinds[entry] = first, at - first, count, data[at + 9]
        at += 1 + _ENTRY_TAIL
    return at


@inlined
def same_bytes(one: Any, start: int, other: Any, begin: int, length: int) -> bool:
    """Whether the `length` bytes at `start` of `one` and at `begin` of `other` are the same."""
    for at in range(length):  # noqa: SIM110  (a generator does not compile)
        if one[start + at] != other[begin + at]:
            return False
    return True


@inlined
def find_word(table: Any, data: Any, spans: Any, text: Any, start: int, end: int, value: Any) -> Any:
    """The number of the entry that is the word of `text` from `start` to `end`, whose hash is `value`; -1 when none is."""
    mask, key = len(table) - 1, np.int64(np.int32(value))
    slot = np.int64(value) & mask
    while table[slot] != 0:
        if table[slot] >> 32 == key:
            entry = (table[slot] & 0xFFFFFFFF) - 1
            if spans[entry, 1] == end - start and same_bytes(data, spans[entry, 0], text, start, end - start):
                return entry
        slot = (slot + 1) & mask
    return -1


@compiled
def fill_words(table: Any, data: Any, spans: Any) -> int:
    """Enter all words into an empty table; the number of the first that was there already, -1 when none was."""
    mask = len(table) - 1
    for entry in range(len(spans)):
        start, end = spans[entry, 0], spans[entry, 0] + spans[entry, 1]
        value = word_hash(data, start, end)
        if find_word(table, data, spans, data, start, end, value) >= 0:
            return entry
        slot = np.int64(value) & mask
        while table[slot] != 0:
            slot = (slot + 1) & mask
        table[slot] = np.int64(np.int32(value)) << 32 | (entry + 1)
    return -1


@inlined
def find_number(table: Any, key: int) -> Any:
    """The number entered for `key`, -1 when none was."""
    mask = len(table) - 1
    slot = (key * _SPREAD >> 16) & mask
    while table[slot] != 0:
        if table[slot] >> 32 == key:
            return (table[slot] & 0xFFFFFFFF) - 1
        slot = (slot + 1) & mask
    return -1


@compiled
def fill_numbers(table: Any, pairs: Any) -> None:
    """Enter the rows (key, number) of `pairs`, whose keys differ, into an empty table."""
    mask = len(table) - 1
    for row in range(len(pairs)):
        key = np.int64(pairs[row, 0])
        slot = (key * _SPREAD >> 16) & mask
        while table[slot] != 0:
            slot = (slot + 1) & mask
        table[slot] = key << 32 | (np.int64(pairs[row, 1]) + 1)


@compiled
def largest_bits(bits: Any) -> Any:
    """Of float32 numbers given as uint32: the bits of the largest magnitude, among which infinity and NaN are the largest."""
    largest = np.uint32(0)
    for value in bits:
        largest = max(largest, np.uint32(value & _FINITE_BITS))
    return largest


@compiled
def fill_tree(weights: Any, labels: int, children: Any, parents: Any) -> None:
    """The Huffman tree of a hierarchical softmax over `labels` labels, which are the first nodes, the most frequent first;
    the root is the last. `weights` has the labels' counts and is scratch for the rest; each node gets its two children and its
    parent, where it has them."""
    leaf, node = labels - 1, labels
    for made in range(labels, len(parents)):
        weights[made] = 0
        for side in range(2):
            # A node that is not made yet weighs more than any label, so that it is never taken.
            if leaf >= 0 and (node >= made or weights[leaf] < weights[node]):
                taken, leaf = leaf, leaf - 1
            else:
                taken, node = node, node + 1
            children[made, side], parents[taken] = taken, made
            weights[made] += weights[taken]
