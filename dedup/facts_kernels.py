"""Compiled: the numbers and names of texts as streams of hashes, and whether one text says what another one says.

Importing this imports numba: import it where it is used. `dedup.facts` says what a fact is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synth.text.kernels_text import Bytes, Integers, cached, compiled, decode

Uint64s = NDArray[np.uint64]
Int32s = NDArray[np.int32]
Bools = NDArray[np.bool_]

OTHER, SPACE, BREAK, LOWER, UPPER, NUMERAL, MARK, END, UNCASED = range(9)  # kinds of code points; see facts.code_points
_JOINS = (0x2E, 0x2C, 0x3A, 0x2F, 0x2D, 0x27, 0x2019)  # . , : / - ' ’ between two numerals
_SIGNS = (0x2D, 0x2212, 0x2E)  # - − . before a numeral, after a space
_SHORT = 3  # letters of a capitalised word whose full stop ends no sentence: Dr., St., J.
_PRIME, _START = np.uint64(0x100000001B3), np.uint64(0xCBF29CE484222325)
_GOLDEN, _32 = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
_TOP, _63, _ONE, _NONE = np.uint64(2**63), np.uint64(63), np.uint64(1), np.uint64(0)


class CodePoints(NamedTuple):
    """The kind of each code point, and the code point it is compared as."""

    kinds: Bytes
    folded: Int32s


class Facts(NamedTuple):
    """Capitalised words and numbers, one text after the other. The upper bit of a hash says that it is a fact; without it,
    it is a word that is capitalised because it begins a sentence: another text's name may be that word."""

    hashes: Uint64s
    starts: Int32s  # bytes, in the text
    ends: Int32s


@compiled
def _is_one_of(code: int, codes: tuple[int, ...]) -> bool:
    for one in codes:  # noqa: SIM110 - numba has no any()
        if code == one:
            return True
    return False


@compiled
def _kind_at(data: Bytes, at: int, end: int, points: CodePoints) -> int:
    if at >= end:
        return SPACE
    code, _ = decode(data, at)
    kind: int = points.kinds[code] & 0xFF
    return kind


@compiled
def _read_word(data: Bytes, at: int, end: int, points: CodePoints) -> tuple[int, np.uint64, bool, int]:
    """Reads a word that begins at `at`: where it ends, its hash, whether a numeral is in it, and its characters."""
    value, has_numeral, length, before = _START, False, 0, OTHER
    while at < end:
        code, width = decode(data, at)
        kind = points.kinds[code] & 0xFF
        if kind == MARK:
            at += width
            continue
        if not LOWER <= kind <= NUMERAL:
            is_joined = before == NUMERAL and _is_one_of(code, _JOINS)
            if not is_joined or _kind_at(data, at + width, end, points) != NUMERAL:
                break
        has_numeral |= kind == NUMERAL
        value = (value ^ np.uint64(points.folded[code])) * _PRIME
        before, length = kind, length + 1
        at += width
    return at, value, has_numeral, length


@compiled
def _skip_plain(data: Bytes, at: int, end: int, points: CodePoints) -> int:
    """Where the letters from `at` on end, when these are ASCII and a whole word; or else `at`."""
    stop = at
    while stop < end and data[stop] < 0x80 and (points.kinds[data[stop]] == LOWER or points.kinds[data[stop]] == UPPER):
        stop += 1
    return stop if stop == end or (data[stop] < 0x80 and points.kinds[data[stop]] != NUMERAL) else at


@compiled
def _read_text(data: Bytes, start: int, end: int, points: CodePoints, facts: Facts, count: int) -> int:
    """Adds the words of one text from place `count` on; returns where they end."""
    at, begins, before, sign, sign_at = start, True, SPACE, _NONE, start
    short = False  # whether the word just before is short and capitalised
    while at < end:
        code, width = decode(data, at)
        kind = points.kinds[code] & 0xFF
        if not LOWER <= kind <= NUMERAL:
            if kind == BREAK or (kind == END and not (short and code == 0x2E)):
                begins = True
            elif kind == UNCASED:
                begins = False
            sign = np.uint64(code) if SPACE <= before <= BREAK and _is_one_of(code, _SIGNS) else _NONE
            sign_at, before, short = at, kind, False
            at += width
            continue
        word_at = at
        if kind == LOWER:  # most words: no hash is needed
            at = _skip_plain(data, at, end, points)
            if at > word_at:
                begins, before, sign, short = False, kind, _NONE, False
                continue
        at, value, has_numeral, length = _read_word(data, at, end, points)
        if has_numeral or kind == UPPER:
            if has_numeral and kind == NUMERAL and sign != _NONE:
                value = (value ^ sign) * _PRIME
                word_at = sign_at
            value = (value ^ (value >> _32)) * _GOLDEN
            is_fact = has_numeral or not begins
            facts.hashes[count] = (value >> _ONE) | (_TOP if is_fact else _NONE)
            facts.starts[count], facts.ends[count] = word_at - start, at - start
            count += 1
        short = kind == UPPER and not has_numeral and length <= _SHORT
        begins, before, sign = False, kind, _NONE
    return count


@cached
def read_facts(
    data: Bytes, starts: Integers, ends: Integers, points: CodePoints, facts: Facts, counts: Integers
) -> int:
    """Fills `facts` and, for each text, how many it has; returns how many all have. `facts` has room for one in two bytes."""
    count = 0
    for text in range(starts.size):
        first = count
        count = _read_text(data, starts[text], ends[text], points, facts, count)
        counts[text] = count - first
    return count


@cached
def compare_facts(
    hashes: Uint64s, starts: Integers, ends: Integers, ones: Int32s, others: Int32s, lacking: Int32s
) -> None:
    """For each pair how many facts of `ones[e]` are found in those of `others[e]`, in their order, before the first one that
    is not; -1 when all are."""
    for pair in range(ones.size):
        at, end = starts[others[pair]], ends[others[pair]]
        first = starts[ones[pair]]
        lacking[pair] = -1
        for fact in range(first, ends[ones[pair]]):
            wanted = hashes[fact]
            if not wanted & _TOP:
                continue
            while at < end and hashes[at] | _TOP != wanted:
                at += 1
            if at == end:
                lacking[pair] = fact - first
                break
            at += 1


@cached
def missing_facts(
    hashes: Uint64s, starts: Integers, ends: Integers, ones: Int32s, others: Int32s, missing: Int32s
) -> None:
    """Fills each row of `missing` with the first facts of `ones[e]` that stand nowhere in `others[e]`, then -1."""
    for pair in range(ones.size):
        first, count = starts[ones[pair]], 0
        for fact in range(first, ends[ones[pair]]):
            wanted, is_missing = hashes[fact], count < missing.shape[1]
            for at in range(starts[others[pair]], ends[others[pair]]):
                if hashes[at] | _TOP == wanted:
                    is_missing = False
                    break
            if is_missing and wanted & _TOP:
                missing[pair, count] = fact - first
                count += 1
        missing[pair, count:] = -1


# Of the files whose parts are compiled into these kernels, see tests/test_kernel_caches.py: 58b9638f
