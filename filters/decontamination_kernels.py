"""Compiled loops of `filters.decontamination_index`. Importing this imports numba, half a second: import it where it is used.

Hashes propose only. A word's hash is FNV-1a over its code points, mixed; the hash of n words is a polynomial in the words'
hashes, so that one array of prefixes gives the hash of any run of words in two operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

SEPARATOR, DROPPED, SLOW, APOSTROPHE, COMMA = 0, 1, 2, 3, 44
"""What a table of code points says of one, beside the code point it becomes in a word. COMMA is its own code point."""

MATCH_COLUMNS = 6

_OFFSET, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ONE, _LOW = np.uint64(1), np.uint64(63)
_SHIFT_6, _SHIFT_12, _SHIFT_27, _SHIFT_30, _SHIFT_31 = (
    np.uint64(6),
    np.uint64(12),
    np.uint64(27),
    np.uint64(30),
    np.uint64(31),
)


@njit(cache=True, nogil=True)
def _mixed(value: Any) -> Any:
    """The finaliser of SplitMix64."""
    value = (value ^ (value >> _SHIFT_30)) * _MIX_1
    value = (value ^ (value >> _SHIFT_27)) * _MIX_2
    return value ^ (value >> _SHIFT_31)


@njit(cache=True, nogil=True)
def _code_point(data: Any, at: int, end: int) -> tuple[Any, int]:
    """The code point at `at`, which is not ASCII, and where the next one starts; -1 when the bytes are not UTF-8."""
    first = np.int64(data[at])
    size = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if first < 0xC2 or first > 0xF4 or at + size > end:
        return -1, at
    value = first & (0x7F >> size)
    for position in range(at + 1, at + size):
        if data[position] & 0xC0 != 0x80:
            return -1, at
        value = value << 6 | (np.int64(data[position]) & 0x3F)
    is_overlong = value < (0x800 if size == 3 else 0x10000 if size == 4 else 0x80)
    return -1 if is_overlong else value, at + size


@njit(cache=True, nogil=True)
def _text_prefixes(data: Any, start: int, end: int, table: Any, prefixes: Any, spans: Any) -> int:
    """Fill `prefixes` with the words of a UTF-8 text and `spans` with their first byte and end; how many there are, -1 when
    `table` does not say what they are."""
    count, value, in_word, at = 0, _OFFSET, False, start
    pending: Any = 0  # the mark that a next letter or digit would make part of the word
    last: Any = 0
    while at < end:
        begin, code = at, np.int64(data[at])
        at += 1
        if code >= 0x80:
            code, at = _code_point(data, begin, end)
        if code < 0 or code >= len(table):
            return -1
        kind = np.int64(table[code])
        if kind == SLOW:
            return -1
        if kind == DROPPED:
            continue
        is_letter = kind > COMMA
        if in_word and (not is_letter or (pending == COMMA and not 48 <= kind <= 57)):
            joins = pending == 0 and (kind == APOSTROPHE or (kind == COMMA and 48 <= last <= 57))
            pending = kind if joins else 0
            if not joins:
                prefixes[count + 1] = prefixes[count] * _BASE + _mixed(value)
                count, value, in_word = count + 1, _OFFSET, False
        if is_letter:
            if not in_word:
                spans[count, 0] = begin
            spans[count, 1] = at
            value, in_word, pending, last = (value ^ np.uint64(kind)) * _PRIME, True, 0, kind
    if in_word:
        prefixes[count + 1] = prefixes[count] * _BASE + _mixed(value)
        count += 1
    return count


@njit(cache=True, nogil=True)
def word_prefixes(codes: Any, count: int) -> Any:
    """Prefixes (uint64, count + 1) of `count` words given as the code points of their text, joined by one blank."""
    prefixes = np.zeros(count + 1, np.uint64)
    word, value = 0, _OFFSET
    for at in range(len(codes) + 1):
        if at == len(codes) or codes[at] == 32:
            if word < count:
                prefixes[word + 1] = prefixes[word] * _BASE + _mixed(value)
            word, value = word + 1, _OFFSET
        else:
            value = (value ^ np.uint64(codes[at])) * _PRIME
    return prefixes


@njit(cache=True, nogil=True)
def powers(most: int) -> Any:
    """The polynomial's base to the powers 0 to `most` (uint64)."""
    found = np.ones(most + 1, np.uint64)
    for at in range(most):
        found[at + 1] = found[at] * _BASE
    return found


@njit(cache=True, nogil=True)
def _gram(prefixes: Any, power: Any, start: int, length: int) -> Any:
    return prefixes[start + length] - prefixes[start] * power + np.uint64(length)


@njit(cache=True, nogil=True)
def gram_hashes(prefixes: Any, powers: Any, starts: Any, lengths: Any) -> Any:
    """The hashes (uint64) of the runs of words at `starts`, as many as `lengths` say."""
    found = np.empty(len(starts), np.uint64)
    for at in range(len(starts)):
        found[at] = _gram(prefixes, powers[lengths[at]], starts[at], lengths[at])
    return found


@njit(cache=True, nogil=True)
def _bits_of(gram: Any) -> Any:
    """Three bits of 64, drawn from the lower 18 bits of a hash."""
    return _ONE << (gram & _LOW) | _ONE << (gram >> _SHIFT_6 & _LOW) | _ONE << (gram >> _SHIFT_12 & _LOW)


@njit(cache=True, nogil=True)
def bloom_filter(grams: Any, shift: int) -> Any:
    """A Bloom filter of 2 ** (64 - `shift`) words of 64 bits: a hash sets three bits of the word that its upper bits name,
    so that asking for one touches one line of the cache."""
    bits = np.zeros(1 << (64 - shift), np.uint64)
    for gram in grams:
        bits[gram >> np.uint64(shift)] |= _bits_of(gram)
    return bits


@njit(cache=True, nogil=True)
def _may_hold(gram: Any, bits: Any, shift: int) -> Any:
    wanted = _bits_of(gram)
    return bits[gram >> np.uint64(shift)] & wanted == wanted


@njit(cache=True, nogil=True)
def _number(gram: Any, grams: Any) -> int:
    """Where `gram` stands in the sorted `grams`; -1 when it does not."""
    low, high = 0, len(grams)
    while low < high:
        middle = (low + high) >> 1
        if grams[middle] < gram:
            low = middle + 1
        else:
            high = middle
    return low if low < len(grams) and grams[low] == gram else -1


@njit(cache=True, nogil=True)
def _add(found: Any, rows: int, text: int, start: int, length: int, number: int, spans: Any) -> tuple[Any, int]:
    """`found` with one more row, or as it is where `number` is -1; the array, perhaps a larger one, and its rows."""
    if number < 0:
        return found, rows
    if rows == len(found):
        grown = np.empty((2 * rows, MATCH_COLUMNS), np.int64)
        grown[:rows] = found
        found = grown
    found[rows, 0], found[rows, 1], found[rows, 2], found[rows, 3] = text, start, length, number
    found[rows, 4], found[rows, 5] = spans[start, 0], spans[start + length - 1, 1]
    return found, rows + 1


@njit(cache=True, nogil=True)
def _collect(
    text: int,
    count: int,
    prefixes: Any,
    spans: Any,
    lengths: Any,
    powers: Any,
    grams: Any,
    bits: Any,
    shift: int,
    found: Any,
    rows: int,
) -> tuple[Any, int]:
    """Add the matches of one text to `found`, of which `rows` rows are taken."""
    for which in range(len(lengths)):
        length, longer = lengths[which]
        for start in range(count - length + 1):
            gram = _gram(prefixes, powers[length], start, length)
            if not _may_hold(gram, bits, shift):
                continue
            found, rows = _add(found, rows, text, start, length, _number(gram, grams), spans)
            if longer and start + longer <= count:
                number = _number(_gram(prefixes, powers[longer], start, longer), grams)
                found, rows = _add(found, rows, text, start, longer, number, spans)
    return found, rows


@njit(cache=True, nogil=True)
def scan(
    data: Any, offsets: Any, table: Any, lengths: Any, powers: Any, grams: Any, bits: Any, shift: int, counts: Any
) -> Any:
    """Every run of words with a hash of `grams`: rows (int64) of text, first word, words, number of the gram, first byte and
    end in `data`. To `counts` goes the number of words of each text, -1 when the table cannot tell its words or they are not
    UTF-8: such a text gives no rows.

    `data` and `offsets`: the buffers of an Arrow large_string array with at least one text. `lengths`: rows of two, a number
    of words, and a larger one for runs that begin where one of the first does, or 0. The Bloom filter `bits` has the hashes
    of runs of the first numbers only.
    """
    found, rows = np.empty((64, MATCH_COLUMNS), np.int64), 0
    most = 2
    for text in range(len(counts)):
        most = max(most, (offsets[text + 1] - offsets[text]) // 2 + 2)
    prefixes, spans = np.zeros(most, np.uint64), np.zeros((most, 2), np.int64)
    for text in range(len(counts)):
        count = _text_prefixes(data, offsets[text], offsets[text + 1], table, prefixes, spans)
        counts[text] = count
        found, rows = _collect(text, count, prefixes, spans, lengths, powers, grams, bits, shift, found, rows)
    return found[:rows]


@njit(cache=True, nogil=True)
def matches(prefixes: Any, lengths: Any, powers: Any, grams: Any, bits: Any, shift: int) -> Any:
    """The same rows of one text whose words are known; text and bytes are 0."""
    count = len(prefixes) - 1
    found, spans = np.empty((64, MATCH_COLUMNS), np.int64), np.zeros((count, 2), np.int64)
    found, rows = _collect(0, count, prefixes, spans, lengths, powers, grams, bits, shift, found, 0)
    return found[:rows]
