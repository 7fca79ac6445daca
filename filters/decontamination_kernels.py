"""Compiled loops of `filters.decontamination_index`. Importing this imports numba, half a second: import it where it is used.

Hashes propose, the code points of the words decide. A word's hash is FNV-1a over its code points, mixed; the hash of n words
is a polynomial in the words' hashes, so that one array of prefixes gives the hash of any run of words in two operations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

SEPARATOR, DROPPED, SLOW, APOSTROPHE, COMMA = 0, 1, 2, 3, 44
"""What a table of code points says of one, beside the code point it becomes in a word. COMMA is its own code point."""

MATCH_COLUMNS = 5

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


class Words(NamedTuple):
    """The words of all items, one after the other."""

    codes: Any  # uint32: their code points
    bounds: Any  # int64, one more than words: where each begins in `codes`


class Grams(NamedTuple):
    """The n-grams that are looked for."""

    passes: Any  # int64, rows of two: a number of words, and the most words of an n-gram that begins with so many
    lengths: Any  # int64: the numbers of words that n-grams have
    powers: Any  # uint64: of the polynomial's base
    mask: Any  # uint64: the bits of a hash that are used
    hashes: Any  # uint64, sorted, each once
    edges: (
        Any  # int64: of each number that the bits above `shift` give, where the hashes with these begin; and their end
    )
    bounds: Any  # int64, one more than hashes: where the n-grams with this hash begin among those that follow
    starts: Any  # int64: of each n-gram its first word among those of all items
    sizes: Any  # int64: of each n-gram how many words it has
    bits: Any  # uint64: a Bloom filter of the hashes of what n-grams begin with
    shift: Any  # int64: the bits above it choose a word of `bits`


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
    return -1 if is_overlong or value > 0x10FFFF else value, at + size


@njit(cache=True, nogil=True)
def _text_prefixes(data: Any, start: int, end: int, table: Any, prefixes: Any, spans: Any) -> int:
    """Fill `prefixes` with the words of a UTF-8 text and `spans` with their first byte and end, counted from `start`; how
    many there are, -1 when `table` does not say what they are."""
    count, value, in_word, at = 0, _OFFSET, False, start
    pending: Any = 0  # the mark that a next letter or digit would make part of the word
    last: Any = 0
    prefixes[0] = 0
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
        if not is_letter:
            continue
        if not in_word:
            spans[count, 0] = begin - start
        value, in_word, pending, last = (value ^ np.uint64(kind)) * _PRIME, True, 0, kind
        while at < end and data[at] < 0x80 and table[data[at]] > COMMA:  # most of a text: as few tests as can be
            last = np.int64(table[data[at]])
            value = (value ^ np.uint64(last)) * _PRIME
            at += 1
        spans[count, 1] = at - start
    if in_word:
        prefixes[count + 1] = prefixes[count] * _BASE + _mixed(value)
        count += 1
    return count


@njit(cache=True, nogil=True)
def word_prefixes(words: Words) -> Any:
    """The same prefixes (uint64, one more than words) of words given by their code points."""
    prefixes = np.zeros(len(words.bounds), np.uint64)
    for word in range(len(words.bounds) - 1):
        value = _OFFSET
        for at in range(words.bounds[word], words.bounds[word + 1]):
            value = (value ^ np.uint64(words.codes[at])) * _PRIME
        prefixes[word + 1] = prefixes[word] * _BASE + _mixed(value)
    return prefixes


@njit(cache=True, nogil=True)
def powers(most: int) -> Any:
    """The polynomial's base to the powers 0 to `most` (uint64)."""
    found = np.ones(most + 1, np.uint64)
    for at in range(most):
        found[at + 1] = found[at] * _BASE
    return found


@njit(cache=True, nogil=True)
def _gram(prefixes: Any, power: Any, start: int, length: int, mask: Any) -> Any:
    return (prefixes[start + length] - prefixes[start] * power + np.uint64(length)) & mask


@njit(cache=True, nogil=True)
def gram_hashes(prefixes: Any, powers: Any, starts: Any, lengths: Any, mask: Any) -> Any:
    """The hashes (uint64) of the runs of words at `starts`, as many as `lengths` say."""
    found = np.empty(len(starts), np.uint64)
    for at in range(len(starts)):
        found[at] = _gram(prefixes, powers[lengths[at]], starts[at], lengths[at], mask)
    return found


@njit(cache=True, nogil=True)
def told_apart(hashes: Any, starts: Any, lengths: Any, words: Words) -> Any:
    """Numbers (int64) for runs of words sorted by hash: equal ones for equal runs, counted up from 0 along the hashes."""
    numbers = np.empty(len(hashes), np.int64)
    firsts = np.empty(len(hashes), np.int64)  # of each number a run
    count = known = 0  # numbers given; the first one of this hash
    for at in range(len(hashes)):
        if at and hashes[at] != hashes[at - 1]:
            known = count
        number = known
        while number < count and not _same_words(starts, lengths, firsts[number], at, words):
            number += 1
        if number == count:
            firsts[count] = at
            count += 1
        numbers[at] = number
    return numbers


@njit(cache=True, nogil=True)
def _same_words(starts: Any, lengths: Any, one: int, other: int, words: Words) -> bool:
    if lengths[one] != lengths[other]:
        return False
    for offset in range(lengths[one]):
        mine, others = starts[one] + offset, starts[other] + offset
        at, behind = words.bounds[mine], words.bounds[others]
        size = words.bounds[mine + 1] - at
        if size != words.bounds[others + 1] - behind:
            return False
        for step in range(size):
            if words.codes[at + step] != words.codes[behind + step]:
                return False
    return True


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
def _proposed(prefixes: Any, count: int, head: int, powers: Any, mask: Any, bits: Any, shift: int, starts: Any) -> int:
    """To `starts` go the words of a text at which an n-gram of `head` words may begin; how many there are."""
    power, size, found = powers[head], np.uint64(head), 0
    for start in range(count - head + 1):
        gram = (prefixes[start + head] - prefixes[start] * power + size) & mask
        wanted = _bits_of(gram)
        starts[found] = start
        found += bits[gram >> np.uint64(shift)] & wanted == wanted
    return found


@njit(cache=True, nogil=True)
def _number(gram: Any, hashes: Any, edges: Any, shift: int) -> int:
    """Where `gram` stands in the sorted `hashes`, of which those with its upper bits begin at `edges`; -1 when it does not."""
    upper = gram >> np.uint64(shift)
    for at in range(edges[upper], edges[upper + _ONE]):
        if hashes[at] >= gram:
            return at if hashes[at] == gram else -1
    return -1


@njit(cache=True, nogil=True)
def _stands(data: Any, begin: int, table: Any, spans: Any, start: int, words: Words, word: int, size: int) -> bool:
    """Whether the `size` words from `start` on of the text that begins at `begin` are those from `word` on of the items."""
    for offset in range(size):
        at, end = begin + spans[start + offset, 0], begin + spans[start + offset, 1]
        code, stop = words.bounds[word + offset], words.bounds[word + offset + 1]
        while at < end:
            value: Any = np.int64(data[at])
            if value >= 0x80:
                value, at = _code_point(data, at, end)
            else:
                at += 1
            kind = table[value]
            if kind <= COMMA:  # a mark within the word
                continue
            if code == stop or kind != words.codes[code]:
                return False
            code += 1
        if code != stop:
            return False
    return True


@njit(cache=True, nogil=True)
def _matches(
    text: int,
    begin: int,
    start: int,
    count: int,
    which: int,
    data: Any,
    table: Any,
    prefixes: Any,
    spans: Any,
    words: Words,
    grams: Grams,
    found: Any,
    rows: int,
) -> tuple[Any, int]:
    """Add to `found`, of which `rows` rows are taken, the n-grams that stand at word `start`; it, or a larger one, and its
    rows."""
    for length in grams.lengths:
        if length < grams.passes[which, 0] or length > grams.passes[which, 1] or start + length > count:
            continue
        number = _number(
            _gram(prefixes, grams.powers[length], start, length, grams.mask), grams.hashes, grams.edges, grams.shift
        )
        if number < 0:
            continue
        for gram in range(grams.bounds[number], grams.bounds[number + 1]):
            if grams.sizes[gram] != length or not _stands(
                data, begin, table, spans, start, words, grams.starts[gram], length
            ):
                continue
            if rows == len(found):
                grown = np.empty((2 * rows, MATCH_COLUMNS), np.int64)
                grown[:rows] = found
                found = grown
            found[rows, 0], found[rows, 1], found[rows, 2] = text, gram, start
            found[rows, 3], found[rows, 4] = spans[start, 0], spans[start + length - 1, 1]
            rows += 1
    return found, rows


@njit(cache=True, nogil=True)
def _room(offsets: Any, count: int) -> int:
    """How many words a text may have, at most, and one more."""
    most = 2
    for text in range(count):
        most = max(most, (offsets[text + 1] - offsets[text]) // 2 + 2)
    return most


@njit(cache=True, nogil=True)
def scan(data: Any, offsets: Any, table: Any, words: Words, grams: Grams, counts: Any) -> Any:
    """Every n-gram of `grams` in every text: rows (int64) of text, n-gram, first word, first byte and end in the text. To
    `counts` goes the number of words of each text, -1 when the table cannot tell its words or they are not UTF-8: such a
    text gives no rows.

    `data` and `offsets`: the buffers of an Arrow large_string array with at least one text.
    """
    found, rows = np.empty((64, MATCH_COLUMNS), np.int64), 0
    most = _room(offsets, len(counts))
    prefixes, spans, starts = np.empty(most, np.uint64), np.empty((most, 2), np.int64), np.empty(most, np.int64)
    for text in range(len(counts)):
        begin = offsets[text]
        count = _text_prefixes(data, begin, offsets[text + 1], table, prefixes, spans)
        counts[text] = count
        for which in range(len(grams.passes)):
            proposed = _proposed(
                prefixes, count, grams.passes[which, 0], grams.powers, grams.mask, grams.bits, grams.shift, starts
            )
            for at in range(proposed):
                found, rows = _matches(
                    text, begin, starts[at], count, which, data, table, prefixes, spans, words, grams, found, rows
                )
    return found[:rows]


@njit(cache=True, nogil=True)
def answers_near(data: Any, offsets: Any, table: Any, words: Words, prompts: Any, within: int) -> Any:
    """Of each short prompt that stands in a text, where its answer stands beside it: rows (int64) of first word, words, first
    byte and end of the stretch that holds both; -1 where no answer does, apart from the prompt, in `within` words.

    `prompts`: rows of text (ascending), first word, words, first word of the answer among those of all items, its words.
    """
    found = np.full((len(prompts), 4), -1, np.int64)
    most = _room(offsets, len(offsets) - 1)
    prefixes, spans = np.empty(most, np.uint64), np.empty((most, 2), np.int64)
    read = count = -1
    for row in range(len(prompts)):
        text, start, size, answer, answer_size = prompts[row]
        begin = offsets[text]
        if text != read:
            read, count = text, _text_prefixes(data, begin, offsets[text + 1], table, prefixes, spans)
        end = start + size
        for step in range(2 * within):  # after the prompt first, then before it, the nearest first
            at = end + step if step < within else start - answer_size - (step - within)
            low, high = min(start, at), max(end, at + answer_size)
            if at < 0 or high > count or high - low > within:
                continue
            if _stands(data, begin, table, spans, at, words, answer, answer_size):
                found[row, 0], found[row, 1] = low, high - low
                found[row, 2], found[row, 3] = spans[low, 0], spans[high - 1, 1]
                break
    return found
