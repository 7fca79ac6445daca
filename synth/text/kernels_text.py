"""Compiled: the characters, words, lines and paragraphs of one text, and what all kernels of `synth.text` stand on.

Nothing is decided by a hash: equal words are found by it and then compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Kinds = NDArray[np.uint16]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
_Function = TypeVar("_Function", bound=Callable[..., Any])

WHITESPACE, LINE_BREAK, LETTER, ALPHANUMERIC, DIGIT = 1, 2, 4, 8, 16  # kinds of characters, one bit each
PUNCTUATION, TERMINAL, CLOSING, UPPER = 32, 64, 128, 256
UPPER_BIT = 8
NORMAL, ENDS, ENDS_LINE, DIGITS, LONG, SCRIPT = 1, 2, 4, 8, 16, 32  # what is said of a word, one bit each; see Scratch
SHAPE_BITS = 6
PAGE_BITS = 7
PAGE = 1 << PAGE_BITS  # code points that a table stores together; page 0 is ASCII
LONGER = 1 << 21  # folds: from here on, the difference is LONGER + a row of `longer`

MULTIPLIER = -7046029254386353131  # 2**64 / golden ratio, odd, as a signed number
FNV_PRIME = 0x100000001B3


class CharacterTables(NamedTuple):
    """Code point c of page p = c // PAGE has `kinds[kind_pages[p] * PAGE + c % PAGE]`, and its case-folded form is c +
    `folds[fold_pages[p] * PAGE + c % PAGE]`, or row k of `longer` (-1 after its end) where that difference is LONGER + k."""

    kind_pages: Integers
    kinds: Kinds
    fold_pages: Integers
    folds: NDArray[np.int32]
    longer: NDArray[np.int32]


class Scratch(NamedTuple):
    """Room for one text. A text of W words fills at most W (+ 1) places of each, and 4 W of `slots`."""

    starts: Integers  # where each word starts
    ends: Integers  # where it ends
    before: Integers  # characters of all words before it
    shapes: Integers  # NORMAL (has a letter or digit), ENDS (a sentence), ENDS_LINE (its last character is a terminal mark),
    # DIGITS (nothing else), LONG, SCRIPT (has the script word); above SHAPE_BITS, how many upper-case characters it has
    words: Integers  # its number: equal words have equal ones
    hashes: Integers  # of each word; then of each different line or paragraph
    lines: Integers  # the first word of each line
    paragraphs: Integers  # the first line of each paragraph
    numbers: Integers  # of each line
    firsts: Integers  # where each different thing is first
    times: Integers  # how often each different thing occurs
    keys: Integers  # the number of each paragraph; then, of each different n-gram, two numbers in one
    places: Integers  # where each n-gram starts that occurs again
    grams: Integers  # its number
    slots: Integers  # a hash table of 1 + number, 0 where there is none


class Scan(NamedTuple):
    """Counts of one text."""

    characters: int
    words: int
    lines: int
    paragraphs: int
    normal_words: int
    letter_words: int
    hash_signs: int
    ellipses: int
    curly_brackets: int
    line_feeds: int
    bare_characters: int


_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,  # arrays are not reference-counted, which took half of the time
    "no_cfunc_wrapper": True,
}
_PART_OPTIONS: dict[str, Any] = {"no_cpython_wrapper": True}  # with the one above: compiled in half the time


def compiled(function: _Function) -> _Function:
    """A part of a kernel: a function as machine code that needs no GIL. Arguments are arrays, numbers and named tuples of
    them; it cannot make an array, and Python cannot call it. It is compiled into whatever calls it, and not cached by itself."""
    return cast(_Function, numba.njit(function, **_OPTIONS, **_PART_OPTIONS))


def cached(function: _Function) -> _Function:
    """A kernel: `compiled`, and kept for the next process. numba's cache knows when the file of `function` changes, and
    when a number does that `function` closes over; of the files of its parts it knows nothing."""
    try:
        return cast(_Function, numba.njit(function, cache=True, **_OPTIONS))
    except RuntimeError:  # no folder for the cache can be written, so each process compiles for itself
        return cast(_Function, numba.njit(function, **_OPTIONS))


@compiled
def decode(data: Bytes, at: int) -> tuple[int, int]:
    """The code point at a place of valid UTF-8, and its bytes."""
    first = data[at] & 0xFF  # a signed number: with an unsigned one, numba would make floats
    if first < 0x80:
        return first, 1
    second = data[at + 1] & 0x3F
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = data[at + 2] & 0x3F
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | data[at + 3] & 0x3F, 4


@compiled
def kind_of(kinds: Kinds, pages: Integers, code: int) -> int:
    """The kinds that a character is of."""
    place = code if code < PAGE else pages[code >> PAGE_BITS] << PAGE_BITS | code & (PAGE - 1)
    kind: int = kinds[place] & 0xFFFF
    return kind


@compiled
def clear(slots: Integers, things: int) -> int:
    """Empties a table for so many things, at most half full; returns its mask."""
    size = 4
    while size < 2 * things:
        size *= 2
    slots[:size] = 0
    return size - 1


@compiled
def lower(byte: int) -> int:
    """An ASCII capital in lower case; any other byte as it is."""
    byte = byte & 0xFF
    return byte | 0x20 if 0x41 <= byte <= 0x5A else byte


@compiled
def stands_at(data: Bytes, at: int, end: int, text: Bytes, first: int, last: int) -> bool:
    """Whether `text[first:last]`, which is in lower case, is what `data[at:end]` starts with, case of ASCII letters apart."""
    if end - at < last - first:
        return False
    for place in range(first, last):  # noqa: SIM110 - numba has no all()
        if lower(data[at + place - first]) != text[place]:
            return False
    return True


@compiled
def _read_word(
    data: Bytes, at: int, end: int, kinds: Kinds, pages: Integers, script: Bytes, seed: int
) -> tuple[int, int, int, int, int, int, int, int, int]:
    """The word that starts here: its end, characters, kinds of characters, hash, shape (`Scratch.shapes`, LONG apart), hash
    signs, ellipses, curly brackets and marks of punctuation."""
    size = found = last = signs = ellipses = brackets = punctuation = dots = uppers = shape = 0
    every = DIGIT
    value = seed
    while at < end:
        code, width = decode(data, at)
        kind = kind_of(kinds, pages, code)
        if kind & WHITESPACE:
            break
        size += 1
        found |= kind
        every &= kind
        last = kind
        uppers += kind >> UPPER_BIT & 1
        value = (value ^ code) * MULTIPLIER
        if kind & ALPHANUMERIC:
            dots = 0
            shape &= ~ENDS
            if code | 0x20 == script[0] and stands_at(data, at, end, script, 0, script.size):
                shape |= SCRIPT
        else:
            punctuation += (kind & PUNCTUATION) != 0
            if kind & TERMINAL:
                shape |= ENDS
            elif not kind & CLOSING:
                shape &= ~ENDS
            if code == 0x2E:
                dots += 1
                if dots == 3:
                    ellipses += 1
                    dots = 0
            else:
                dots = 0
                signs += code == 0x23
                brackets += code == 0x7B
                ellipses += code == 0x2026
        at += width
    shape |= NORMAL if found & ALPHANUMERIC else 0
    shape |= ENDS_LINE if last & TERMINAL else 0
    shape |= DIGITS if every else 0
    return at, size, found, value ^ value >> 29, shape | uppers << SHAPE_BITS, signs, ellipses, brackets, punctuation


@compiled
def scan(
    data: Bytes,
    at: int,
    end: int,
    tables: CharacterTables,
    script: Bytes,
    long_characters: int,
    scratch: Scratch,
    seed: int,
) -> Scan:
    """Where the words, lines and paragraphs of a text are, and what can be counted on the way. A word is LONG when it has more
    than so many characters."""
    characters = words = lines = paragraphs = normal_words = letter_words = size = 0
    hash_signs = ellipses = curly_brackets = line_feeds = punctuation = 0
    kinds, pages, starts, ends, before = tables.kinds, tables.kind_pages, scratch.starts, scratch.ends, scratch.before
    hashes, shapes, line_words, paragraph_lines = scratch.hashes, scratch.shapes, scratch.lines, scratch.paragraphs
    breaks = 2
    while at < end:
        code, width = decode(data, at)
        kind = kind_of(kinds, pages, code)
        if kind & WHITESPACE:
            at += width
            characters += 1
            line_feeds += code == 0x0A
            if code == 0x0D and at < end and data[at] == 0x0A:
                at += 1
                characters += 1
                line_feeds += 1
            if kind & LINE_BREAK:
                breaks += 1
            continue
        if breaks >= 2:
            paragraph_lines[paragraphs] = lines
            paragraphs += 1
        if breaks >= 1:
            line_words[lines] = words
            lines += 1
        breaks = 0
        starts[words] = at
        before[words] = size
        at, length, found, value, shape, signs, dotted, brackets, marks = _read_word(
            data, at, end, kinds, pages, script, seed
        )
        ends[words] = at
        hashes[words] = value
        shapes[words] = shape | LONG if length > long_characters else shape
        words += 1
        size += length
        normal_words += shape & NORMAL
        letter_words += (found & LETTER) != 0
        hash_signs += signs
        ellipses += dotted
        curly_brackets += brackets
        punctuation += marks
    before[words] = size
    line_words[lines] = words
    paragraph_lines[paragraphs] = lines
    return Scan(
        characters + size,
        words,
        lines,
        paragraphs,
        normal_words,
        letter_words,
        hash_signs,
        ellipses,
        curly_brackets,
        line_feeds,
        size - punctuation,
    )


@compiled
def _same_word(data: Bytes, starts: Integers, ends: Integers, one: int, other: int) -> bool:
    first, second = starts[one], starts[other]
    length = ends[one] - first
    if length != ends[other] - second:
        return False
    for at in range(length):  # noqa: SIM110 - numba has no all()
        if data[first + at] != data[second + at]:
            return False
    return True


@compiled
def number_words(data: Bytes, count: int, scratch: Scratch) -> int:
    """Numbers the words in `words`, with `firsts` and `times`; returns how many different ones there are."""
    starts, ends, hashes, words = scratch.starts, scratch.ends, scratch.hashes, scratch.words
    firsts, times, slots = scratch.firsts, scratch.times, scratch.slots
    mask = clear(slots, count)
    different = 0
    for word in range(count):
        value = hashes[word]
        slot = value & mask
        number = slots[slot] - 1
        while number >= 0:
            first = firsts[number]
            if hashes[first] == value and _same_word(data, starts, ends, first, word):
                break
            slot = (slot + 1) & mask
            number = slots[slot] - 1
        if number < 0:
            number = different
            different += 1
            slots[slot] = different
            firsts[number] = word
            times[number] = 0
        words[word] = number
        times[number] += 1
    return different


@compiled
def _utf8(code: int) -> tuple[int, int]:
    """A code point's UTF-8 as a big-endian number, and its bytes."""
    if code < 0x80:
        return code, 1
    low = 0x80 | code & 0x3F
    if code < 0x800:
        return (0xC0 | code >> 6) << 8 | low, 2
    middle = 0x80 | code >> 6 & 0x3F
    if code < 0x10000:
        return (0xE0 | code >> 12) << 16 | middle << 8 | low, 3
    return (0xF0 | code >> 18) << 24 | (0x80 | code >> 12 & 0x3F) << 16 | middle << 8 | low, 4


@compiled
def normal_word(data: Bytes, at: int, end: int, tables: CharacterTables, digest: int) -> tuple[int, int, int]:
    """The normal form of a word (`synth.text.words`): its bytes, the last eight of them as a big-endian number, and the
    FNV-1a that continues `digest`. After each letter or digit the word might end, so the values there are kept."""
    kinds, kind_pages, folds, fold_pages = tables.kinds, tables.kind_pages, tables.folds, tables.fold_pages
    longer = tables.longer
    length = number = 0
    kept_length, kept_number, kept_digest = 0, 0, digest
    while at < end:
        code, width = decode(data, at)
        at += width
        fold = folds[code if code < PAGE else fold_pages[code >> PAGE_BITS] << PAGE_BITS | code & (PAGE - 1)] + 0
        for part in range(longer.shape[1] if fold >= LONGER else 1):
            folded = longer[fold - LONGER, part] + 0 if fold >= LONGER else code + fold
            if folded < 0:
                break
            alphanumeric = kind_of(kinds, kind_pages, folded) & ALPHANUMERIC
            if length == 0 and not alphanumeric:
                continue
            encoded, size = _utf8(folded)
            for byte in range(size):
                value = encoded >> 8 * (size - 1 - byte) & 0xFF
                digest = (digest ^ value) * FNV_PRIME
                number = number << 8 | value
            length += size
            if alphanumeric:
                kept_length, kept_number, kept_digest = length, number, digest
    return kept_length, kept_number, kept_digest


@compiled
def ascii_number(data: Bytes, at: int, end: int, kinds: Kinds) -> int:
    """The normal form of an ASCII word as a big-endian number; 0 where it is empty or longer than seven bytes."""
    while at < end and not kinds[data[at]] & ALPHANUMERIC:
        at += 1
    while at < end and not kinds[data[end - 1]] & ALPHANUMERIC:
        end -= 1
    number = 0
    if end - at < 8:
        for place in range(at, end):
            byte = data[place] & 0xFF
            number = number << 8 | (byte | 0x20 if 0x41 <= byte <= 0x5A else byte)
    return number
