"""The compiled kernel of `synth.text.statistics`: one call measures a batch of texts, without the GIL.

A text costs time in proportion to its length, and every hash table is as large as the text at hand needs. Hashes start
from a `seed` that the caller draws, so that nobody can prepare a text of words that collide.

Compiled code is cached by numba beside this file, or in the user's cache directory when that is read-only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from synth.text.kernels_repetition import (
    ngram_ratios,
    number_runs,
    ratio,
    repeated_line_size,
    repeated_paragraph_size,
)
from synth.text.kernels_text import (
    FNV_PRIME,
    Bytes,
    CharacterTables,
    Floats,
    Integers,
    Scratch,
    ascii_number,
    cached,
    compiled,
    decode,
    normal_word,
    number_words,
    scan,
)

_FNV_START = -3750763034362895579  # 0xCBF29CE484222325 as a signed number


class Marks(NamedTuple):
    """What `synth.text.statistics` looks for: code points, and words of at most 7 bytes as big-endian numbers."""

    bullet_words: Integers
    bullet_starts: Integers
    stop_words: Integers
    opening_words: int
    top_words: int  # longest n-gram of the top ones
    duplicate_words: int  # longest n-gram of all


@compiled
def _stop_words(data: Bytes, vocabulary: int, tables: CharacterTables, marks: Marks, scratch: Scratch) -> int:
    """How many different stop words there are. A number of fewer than eight bytes, the first of them not 0, is a word."""
    found = seen = 0
    for word in range(vocabulary):
        first = scratch.firsts[word]
        start, end = scratch.starts[first], scratch.ends[first]
        if scratch.before[first + 1] - scratch.before[first] == end - start:  # as many characters as bytes: ASCII
            number = ascii_number(data, start, end, tables.kinds)
        else:
            length, number, _ = normal_word(data, start, end, tables, 0)
            number = number if length < 8 else 0
        for at in range(marks.stop_words.size if number else 0):
            if marks.stop_words[at] == number and not seen >> at & 1:
                seen |= 1 << at
                found += 1
    return found


@compiled
def _opening(data: Bytes, words: int, tables: CharacterTables, marks: Marks, scratch: Scratch) -> tuple[int, int]:
    """FNV-1a of the first normal words with one space between them, and how many they are."""
    digest, found = _FNV_START, 0
    for word in range(words):
        if found == marks.opening_words:
            break
        start = (digest ^ 0x20) * FNV_PRIME if found else digest
        length, _, value = normal_word(data, scratch.starts[word], scratch.ends[word], tables, start)
        if length:
            digest = value
            found += 1
    return digest, found


@compiled
def _among(code: int, codes: Integers) -> bool:
    for at in range(codes.size):  # noqa: SIM110 - numba has no any()
        if codes[at] == code:
            return True
    return False


@compiled
def _bullet_lines(data: Bytes, lines: int, marks: Marks, scratch: Scratch) -> int:
    found = 0
    for line in range(lines):
        word = scratch.lines[line]
        code, width = decode(data, scratch.starts[word])
        alone = scratch.starts[word] + width == scratch.ends[word]
        found += _among(code, marks.bullet_starts) or (alone and _among(code, marks.bullet_words))
    return found


@compiled
def _ellipsis_lines(data: Bytes, lines: int, scratch: Scratch) -> int:
    found = 0
    for line in range(lines):
        word = scratch.lines[line + 1] - 1
        end = scratch.ends[word]
        if end - scratch.starts[word] >= 3:
            one, two, three = data[end - 3], data[end - 2], data[end - 1]
            dots = one == 0x2E and two == 0x2E and three == 0x2E
            found += dots or (one == 0xE2 and two == 0x80 and three == 0xA6)
    return found


@compiled
def _measure_text(
    data: Bytes,
    start: int,
    end: int,
    tables: CharacterTables,
    marks: Marks,
    scratch: Scratch,
    seed: int,
    counts: Integers,
    ratios: Floats,
) -> None:
    """Fills the text's place in each row of `counts` and `ratios` (see `Measures`)."""
    text = scan(data, start, end, tables, scratch, seed)
    size = scratch.before[text.words] + max(text.words - 1, 0)
    vocabulary = number_words(data, text.words, scratch)
    counts[0] = end - start
    counts[1] = text.characters
    counts[2] = text.words
    counts[3] = text.lines
    counts[4] = _stop_words(data, vocabulary, tables, marks, scratch)
    counts[5], counts[6] = _opening(data, text.words, tables, marks, scratch)
    ratios[0] = ratio(scratch.before[text.words], text.words)
    ratios[1] = ratio(max(text.hash_signs, text.ellipses), text.words)
    ratios[2] = ratio(text.letter_words, text.words)
    ratios[3] = ratio(_bullet_lines(data, text.lines, marks, scratch), text.lines)
    ratios[4] = ratio(_ellipsis_lines(data, text.lines, scratch), text.lines)
    lines = number_runs(scratch.words, scratch.lines, text.lines, scratch.numbers, scratch, seed)
    ratios[5] = ratio(text.lines - lines, text.lines)
    ratios[6] = ratio(repeated_line_size(scratch, text.lines), size)
    paragraphs = number_runs(scratch.numbers, scratch.paragraphs, text.paragraphs, scratch.keys, scratch, seed)
    ratios[7] = ratio(text.paragraphs - paragraphs, text.paragraphs)
    ratios[8] = ratio(repeated_paragraph_size(scratch, text.paragraphs), size)
    ngram_ratios(scratch, text.words, vocabulary, marks.top_words, marks.duplicate_words, size, seed, ratios[9:])


def _entry(version: int) -> Callable[..., None]:
    """The kernel. `version` stands for the files of its parts, so that a change in one of them is not missed by the cache;
    the seed, which may be any number, is a place to close over it."""

    @cached
    def measure_all(
        data: Bytes,
        starts: Integers,
        ends: Integers,
        tables: CharacterTables,
        marks: Marks,
        scratch: Scratch,
        seed: int,
        counts: Integers,
        ratios: Floats,
    ) -> None:
        for at in range(starts.size):
            _measure_text(
                data, starts[at], ends[at], tables, marks, scratch, seed ^ version, counts[:, at], ratios[:, at]
            )

    return measure_all


_VERSION = crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("kernels_*.py"))))
_measure_all = _entry(_VERSION)


class Measures(NamedTuple):
    """One column per text. Rows of `counts` (int64): bytes, characters, words, lines, stop words, the bits of the opening's
    digest, normal words in the opening. Rows of `ratios` (float64): mean word length, symbols per word, words with a
    letter, bullet lines, ellipsis lines, duplicate lines, their characters, duplicate paragraphs, their characters, then
    one row for each length of n-gram from 2 on."""

    counts: Integers
    ratios: Floats


def measure(
    data: Bytes, starts: Integers, ends: Integers, tables: CharacterTables, marks: Marks, seed: int
) -> Measures:
    """The measures of texts that are valid UTF-8: text k is `data[starts[k] : ends[k]]`. They are the same for any `seed`
    (any signed 64-bit number). Beside them, scratch for the longest text is held: 140 bytes for each of its words."""
    texts = len(starts)
    measures = Measures(np.empty((7, texts), np.int64), np.empty((8 + marks.duplicate_words, texts), np.float64))
    if texts:
        scratch = _scratch(int((ends - starts).max()))
        _measure_all(data, starts, ends, tables, marks, scratch, seed, *measures)
    return measures


def _scratch(longest_bytes: int) -> Scratch:
    words = longest_bytes // 2 + 2
    sizes = [4 * words if name == "slots" else words for name in Scratch._fields]
    return Scratch(*(np.empty(size, np.int64) for size in sizes))
