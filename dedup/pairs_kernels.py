"""Compiled loops over shingle sets: which of them share a rare shingle, how much two of them share, who yields to whom.

Importing this imports numba: import it where it is used. Contents (different texts) are numbered in the order of
precedence, so that a smaller number is compared with, and yields to, no larger one. Nothing here holds the GIL.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synth.text.kernels_text import Bytes, Floats, Integers, cached, compiled

Uint64s = NDArray[np.uint64]
Int32s = NDArray[np.int32]
Bools = NDArray[np.bool_]

NOBODY = -1
ALL_OF = 32  # from a list with at most so many before it, a content is compared with all of them,
ENDS_OF = 4  # from a longer one with so many at its beginning and so many just before it
_ONE = np.uint64(1)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31, _40 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(40)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MOST_TIMES = 255


class Sets(NamedTuple):
    """The shingles of content k, sorted, each once: `hashes[starts[k] : ends[k]]`."""

    hashes: Uint64s
    starts: Integers
    ends: Integers


class Traits(NamedTuple):
    """What is known of each content beside its shingles."""

    families: Int32s
    roots: Int32s  # negative: unknown, so it has no siblings
    judged: Bools  # it may be dropped for what it shares
    hidden: Bools  # its text is out of reach: it can be named, never compared


class Limits(NamedTuple):
    """How much is enough; see ResolveConfig."""

    jaccard: float
    sibling_jaccard: float
    containment: float


class Lists(NamedTuple):
    """Contents that may be alike. Content k stands in the lists `of[k]` (negative: in none); list l holds
    `members[bounds[l] : bounds[l + 1]]`, ascending."""

    of: Int32s  # two dimensions
    bounds: Integers
    members: Int32s


class Edges(NamedTuple):
    """Pairs that are near enough: content `ones[e]` could yield to `others[e]`, which precedes it."""

    ones: Int32s
    others: Int32s
    shared: Int32s  # shingles in both


@compiled
def _mixed(value: np.uint64) -> np.uint64:
    """SplitMix64's finaliser."""
    value = (value ^ (value >> _30)) * _MIX_1
    value = (value ^ (value >> _27)) * _MIX_2
    return value ^ (value >> _31)


@cached
def fingerprints(sets: Sets, found: Uint64s) -> None:
    """A number of each set that its shingles alone decide."""
    for one in range(sets.starts.size):
        total = np.uint64(sets.ends[one] - sets.starts[one])
        for at in range(sets.starts[one], sets.ends[one]):
            total += sets.hashes[at]
        found[one] = _mixed(total)


@compiled
def _find(values: Uint64s, value: np.uint64) -> int:
    """The place of a value in sorted ones, or -1."""
    low, high = 0, values.size
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < values.size and values[low] == value else -1


@cached
def fill_filter(values: Uint64s, filled: Bytes) -> None:
    """Marks each value in a filter of a power of two places."""
    mask = np.uint64(filled.size - 1)
    for at in range(values.size):
        filled[np.int64(values[at] & mask)] = 1


@cached
def count_listed(
    first: int, last: int, sets: Sets, salts: Uint64s, listed: Uint64s, filled: Bytes, counts: Integers
) -> None:
    """Counts for each key in `listed` (sorted) the contents `first` to `last` that hold it. A key is shingle ^ salt."""
    mask = np.uint64(filled.size - 1)
    for one in range(first, last):
        for at in range(sets.starts[one], sets.ends[one]):
            key = sets.hashes[at] ^ salts[one]
            if filled[np.int64(key & mask)]:
                place = _find(listed, key)
                if place >= 0:
                    counts[place] += 1


@compiled
def _is_listed(key: np.uint64, listed: Uint64s, filled: Bytes) -> bool:
    mask = np.uint64(filled.size - 1)
    return filled[np.int64(key & mask)] != 0 and _find(listed, key) >= 0


@cached
def count_left(
    first: int, last: int, sets: Sets, salts: Uint64s, listed: Uint64s, filled: Bytes, counts: Integers
) -> None:
    """How many shingles of the contents `first` to `last` are not listed."""
    for one in range(first, last):
        left = 0
        for at in range(sets.starts[one], sets.ends[one]):
            left += not _is_listed(sets.hashes[at] ^ salts[one], listed, filled)
        counts[one - first] = left


@cached
def take_out(contents: Integers, sets: Sets, salts: Uint64s, listed: Uint64s, filled: Bytes, left: Uint64s) -> None:
    """Writes the shingles of these contents that are not listed, one content after the other."""
    to = 0
    for number in range(contents.size):
        one = contents[number]
        for at in range(sets.starts[one], sets.ends[one]):
            if not _is_listed(sets.hashes[at] ^ salts[one], listed, filled):
                left[to] = sets.hashes[at]
                to += 1


@cached
def write_sets(hashes: Uint64s, starts: Integers, counts: Integers, values: Uint64s) -> None:
    """Puts sets of so many values, one after the other, where they start."""
    at = 0
    for one in range(starts.size):
        for number in range(counts[one]):
            hashes[starts[one] + number] = values[at]
            at += 1


@cached
def find_repeated(hashes: Uint64s, once: Bytes, twice: Bytes, repeated: Bools) -> None:
    """Marks the rows whose hash stands in another row; a few others too, none of them is missed."""
    mask = np.uint64(once.size - 1)
    for row in range(hashes.size):
        cell = np.int64(hashes[row] & mask)
        twice[cell] |= once[cell]
        once[cell] = 1
    for row in range(hashes.size):
        repeated[row] = twice[np.int64(hashes[row] & mask)] != 0


@cached
def count_times(sets: Sets, highest: np.uint64, mask: np.uint64, low: int, high: int, cells: Bytes) -> None:
    """Counts in how many sets each shingle up to `highest` stands, in its cell (its lowest bits), if that is one from `low` to
    `high`. Shingles share cells, so that a count can be too large. Counting stops at 255."""
    for one in range(sets.starts.size):
        for at in range(sets.starts[one], sets.ends[one]):
            value = sets.hashes[at]
            if value > highest:
                break
            cell = np.int64(value & mask)
            if low <= cell < high and cells[cell - low] < _MOST_TIMES:
                cells[cell - low] += 1


@cached
def rarest(
    first: int, last: int, sets: Sets, judged: Bools, highest: np.uint64, cells: Bytes, times: Integers, found: Uint64s
) -> None:
    """For each judged content from `first` to `last` its rarest shingles up to `highest` that stand in another one too, ties to
    the smaller hash, as many as `found` has columns; 0 where there are no more. `times` is room for a row."""
    mask, columns = np.uint64(cells.size - 1), found.shape[1]
    for one in range(first, last):
        count = 0
        for at in range(sets.starts[one], sets.ends[one] if judged[one] else 0):
            value = sets.hashes[at]
            if value > highest:
                break
            often = np.int64(cells[np.int64(value & mask)])
            if often < 2 or (count == columns and often >= times[columns - 1]):
                continue
            to = min(count, columns - 1)
            while to > 0 and times[to - 1] > often:
                times[to], found[one - first, to] = times[to - 1], found[one - first, to - 1]
                to -= 1
            times[to], found[one - first, to] = often, value
            count = min(count + 1, columns)


@cached
def fill_table(values: Uint64s, table: Int32s) -> None:
    """Writes the place of each value into an open hash table of a power of two places; empty ones are -1."""
    mask = table.size - 1
    for at in range(values.size):
        slot = np.int64(_mixed(values[at])) & mask
        while table[slot] >= 0:
            slot = slot + 1 & mask
        table[slot] = at


@compiled
def _look_up(value: np.uint64, values: Uint64s, table: Int32s) -> int:
    mask = table.size - 1
    slot = np.int64(_mixed(value)) & mask
    while table[slot] >= 0 and values[table[slot]] != value:
        slot = slot + 1 & mask
    place: int = table[slot] & -1
    return place


@cached
def postings(
    first: int,
    last: int,
    sets: Sets,
    highest: np.uint64,
    values: Uint64s,
    table: Int32s,
    numbers: Int32s,
    owners: Int32s,
) -> int:
    """Fills `numbers` and `owners` with the places in `values` of what these contents hold of them, and with the contents.
    Returns how many there are; when there is no room for all, nothing is filled beyond it."""
    count = 0
    for one in range(first, last):
        for at in range(sets.starts[one], sets.ends[one]):
            value = sets.hashes[at]
            if value > highest:
                break
            place = _look_up(value, values, table)
            if place >= 0:
                if count < numbers.size:
                    numbers[count], owners[count] = place, one
                count += 1
    return count


@cached
def sort_postings(numbers: Int32s, owners: Int32s, bounds: Integers, members: Int32s) -> None:
    """Fills `members` with the owners of each number, in the order given. `bounds[n]` is where those of n begin; it is moved
    to where they end."""
    for at in range(numbers.size):
        members[bounds[numbers[at]]] = owners[at]
        bounds[numbers[at]] += 1


@cached
def places_of(values: Uint64s, table: Int32s, wanted: Uint64s, found: Int32s) -> None:
    """The place in `values` of each wanted one, row by row; -1 for 0."""
    for row in range(wanted.shape[0]):
        for column in range(wanted.shape[1]):
            value = wanted[row, column]
            found[row, column] = _look_up(value, values, table) if value else -1


@compiled
def _overlap(hashes: Uint64s, one: int, one_end: int, other: int, other_end: int, needed: int) -> int:
    """How many values two sorted runs share, or 0 when these are fewer than `needed`."""
    found = 0
    while one < one_end and other < other_end:
        if found + min(one_end - one, other_end - other) < needed:
            return 0
        left, right = hashes[one], hashes[other]
        found += left == right
        one += left <= right
        other += right <= left
    return found if found >= needed else 0


@compiled
def _shared(one: int, other: int, sets: Sets, traits: Traits, limits: Limits) -> int:
    """How many shingles are in both, when that is enough for `one` to yield to `other`; or else 0."""
    own, others = sets.ends[one] - sets.starts[one], sets.ends[other] - sets.starts[other]
    are_siblings = traits.roots[one] >= 0 and traits.roots[one] == traits.roots[other]
    threshold = limits.sibling_jaccard if are_siblings else limits.jaccard
    may_be_contained = not are_siblings or traits.families[one] == traits.families[other]
    needed = threshold / (1 + threshold) * (own + others)  # J >= t means an overlap of at least t / (1 + t) of both
    if may_be_contained:
        needed = min(needed, limits.containment * own)
    least = max(1, int(np.ceil(needed - 0.5)))  # the half absorbs rounding: it is looked at again below
    if min(own, others) < least:
        return 0
    shared = _overlap(sets.hashes, sets.starts[one], sets.ends[one], sets.starts[other], sets.ends[other], least)
    if shared and (
        shared / (own + others - shared) >= threshold or (may_be_contained and shared / own >= limits.containment)
    ):
        return shared
    return 0


@compiled
def _is_new(one: int, other: int, slots: Integers) -> bool:
    """Whether this pair is met for the first time since another `one`. `slots` is a hash table that is never cleared: what
    belongs to another `one` counts as empty."""
    mask = slots.size - 1
    entry = (one << 32) | other
    slot = (other * 0x9E3779B1 >> 4) & mask
    while slots[slot] >> 32 == one:
        if slots[slot] == entry:
            return False
        slot = slot + 1 & mask
    slots[slot] = entry
    return True


@compiled
def _place(members: Int32s, low: int, high: int, one: int) -> int:
    """Where `one` stands, or would stand, in an ascending run."""
    while low < high:
        middle = (low + high) >> 1
        if members[middle] < one:
            low = middle + 1
        else:
            high = middle
    return low


@cached
def compare(
    first: int,
    last: int,
    sets: Sets,
    traits: Traits,
    limits: Limits,
    lists: Lists,
    slots: Integers,
    edges: Edges,
    unverified: Int32s,
) -> int:
    """Fills `edges` with the pairs that are near enough, of each judged content from `first` to `last` and those before it in
    its lists (not all of a long list: see ALL_OF); returns how many. `unverified` becomes the first hidden one among them.
    `slots` holds -1 and has twice as many places, a power of two, as a content can meet others; `edges` has room for all."""
    count = 0
    for one in range(first, last):
        for column in range(lists.of.shape[1] if traits.judged[one] else 0):
            number = lists.of[one, column]
            if number < 0:
                continue
            begin = lists.bounds[number]
            end = _place(lists.members, begin, lists.bounds[number + 1], one)
            before = end - begin
            for step in range(before if before <= ALL_OF else 2 * ENDS_OF):
                is_late = before > ALL_OF and step >= ENDS_OF
                other: int = lists.members[end - (2 * ENDS_OF - step) if is_late else begin + step] & -1
                if not _is_new(one, other, slots):
                    continue
                if traits.hidden[other]:
                    if unverified[one - first] < 0 or other < unverified[one - first]:
                        unverified[one - first] = other
                    continue
                shared = _shared(one, other, sets, traits, limits)
                if shared:
                    edges.ones[count], edges.others[count], edges.shared[count] = one, other, shared
                    count += 1
    return count


@cached
def compare_pairs(sets: Sets, traits: Traits, limits: Limits, ones: Int32s, others: Int32s, shared: Int32s) -> None:
    """How much each of these pairs shares, 0 where it is not enough."""
    for at in range(ones.size):
        shared[at] = _shared(ones[at], others[at], sets, traits, limits)


@cached
def overlaps(sets: Sets, ones: Int32s, others: Int32s, shared: Int32s) -> None:
    """How many shingles each of these pairs shares, however few."""
    for at in range(ones.size):
        one, other = ones[at], others[at]
        shared[at] = _overlap(sets.hashes, sets.starts[one], sets.ends[one], sets.starts[other], sets.ends[other], 0)


class Groups(NamedTuple):
    """Templates: of each content the number of its group, how many of a group may survive (negative: all), and room."""

    of: Integers
    most: Integers  # of each content
    survivors: Integers  # of each group, at first 0
    firsts: Integers  # of each group its first survivor


@cached
def settle(
    released: Bools,
    bounds: Integers,
    others: Int32s,
    strengths: Floats,
    agreeing: Bools,
    groups: Groups,
    via: Integers,
    spared: Integers,
    partners: Int32s,
) -> None:
    """Who yields to whom: in the order of precedence, each content that is not released yields to the survivor with the
    strongest of its edges `bounds[k]` to `bounds[k + 1]`, ties to the first survivor. `via[k]` becomes the edge, `partners[k]`
    the survivor; an edge that does not agree drops nobody, `spared[k]` is the strongest of these. Where a group has as many
    survivors as it may, the others yield to its first one, without an edge. What is not so is NOBODY."""
    for one in range(released.size):
        via[one], spared[one], partners[one] = NOBODY, NOBODY, NOBODY
        for edge in range(bounds[one], bounds[one] if released[one] else bounds[one + 1]):
            other = others[edge]
            if partners[other] != NOBODY:
                continue
            best = via[one] if agreeing[edge] else spared[one]
            is_stronger = best == NOBODY or strengths[edge] > strengths[best]
            if is_stronger or (strengths[edge] == strengths[best] and other < others[best]):
                if agreeing[edge]:
                    via[one] = edge
                else:
                    spared[one] = edge
        if via[one] != NOBODY:
            partners[one] = others[via[one]]
            continue
        group = groups.of[one]
        if not released[one] and 0 <= groups.most[one] <= groups.survivors[group]:
            partners[one] = groups.firsts[group]
            continue
        if groups.survivors[group] == 0:
            groups.firsts[group] = one
        groups.survivors[group] += 1


# Of the files whose parts are compiled into these kernels, see tests/test_kernel_caches.py: 58b9638f
