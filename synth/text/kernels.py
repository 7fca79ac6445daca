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

from synth.text.kernels_lines import read_lines
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
    normal_word,
    number_words,
    scan,
)
from synth.text.marks import Marks

_FNV_START = -3750763034362895579  # 0xCBF29CE484222325 as a signed number

COUNTS = (
    "bytes",
    "characters",
    "bare_characters",
    "words",
    "normal_words",
    "lines",
    "paragraphs",
    "sentences",
    "stop_words",
    "stop_word_occurrences",
    "lorem_ipsum",
    "curly_brackets",
    "c4_sentences",
    "c4_sentences_any_end",
    "opening_digest",
    "opening_words",
)
"""The rows of `Measures.counts`. `opening_digest`: its bits; `opening_words`: how many normal words it is of."""

RATIOS = (
    "mean_word_length",
    "symbol_word_ratio",
    "alpha_word_ratio",
    "newline_word_ratio",
    "refinedweb_removed_word_ratio",
    "bullet_line_ratio",
    "ellipsis_line_ratio",
    "punctuated_line_ratio",
    "short_line_ratio",
    "c4_line_ratio",
    "duplicate_line_ratio",
    "duplicate_line_char_ratio",
    "duplicate_paragraph_ratio",
    "duplicate_paragraph_char_ratio",
)
"""The first rows of `Measures.ratios`; then comes one row for each length of n-gram from 2 on."""


@compiled
def _stop_words(
    data: Bytes, vocabulary: int, tables: CharacterTables, marks: Marks, scratch: Scratch
) -> tuple[int, int]:
    """How many different stop words there are, and how often. A number of fewer than eight bytes, the first of them not 0, is
    a word."""
    found = seen = occurrences = 0
    for word in range(vocabulary):
        first = scratch.firsts[word]
        start, end = scratch.starts[first], scratch.ends[first]
        if scratch.before[first + 1] - scratch.before[first] == end - start:  # as many characters as bytes: ASCII
            number = ascii_number(data, start, end, tables.kinds)
        else:
            length, number, _ = normal_word(data, start, end, tables, 0)
            number = number if length < 8 else 0
        for at in range(marks.stop_words.size if number else 0):
            if marks.stop_words[at] == number:
                occurrences += scratch.times[word]
                found += not seen >> at & 1
                seen |= 1 << at
    return found, occurrences


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
def _measure_repetition(
    scratch: Scratch,
    words: int,
    lines: int,
    paragraphs: int,
    vocabulary: int,
    marks: Marks,
    seed: int,
    ratios: Floats,
) -> None:
    """Fills the last rows of RATIOS, from `duplicate_line_ratio` on, and those of the n-grams."""
    size = scratch.before[words] + max(words - 1, 0)
    different = number_runs(scratch.words, scratch.lines, lines, scratch.numbers, scratch, seed)
    ratios[0] = ratio(lines - different, lines)
    ratios[1] = ratio(repeated_line_size(scratch, lines), size)
    different = number_runs(scratch.numbers, scratch.paragraphs, paragraphs, scratch.keys, scratch, seed)
    ratios[2] = ratio(paragraphs - different, paragraphs)
    ratios[3] = ratio(repeated_paragraph_size(scratch, paragraphs), size)
    ngram_ratios(scratch, words, vocabulary, marks.top_words, marks.duplicate_words, size, seed, ratios[4:])


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
    """Fills the text's place in each row of `counts` and `ratios` (COUNTS and RATIOS)."""
    text = scan(data, start, end, tables, marks.script_word, marks.word_characters, scratch, seed)
    lines = read_lines(data, text.lines, tables, marks, scratch)
    vocabulary = number_words(data, text.words, scratch)
    counts[0] = end - start
    counts[1] = text.characters
    counts[2] = text.bare_characters
    counts[3] = text.words
    counts[4] = text.normal_words
    counts[5] = text.lines
    counts[6] = text.paragraphs
    counts[7] = lines.sentences
    counts[8], counts[9] = _stop_words(data, vocabulary, tables, marks, scratch)
    counts[10] = lines.lorem_ipsum
    counts[11] = text.curly_brackets
    counts[12] = lines.c4_sentences
    counts[13] = lines.c4_sentences_any_end
    counts[14], counts[15] = _opening(data, text.words, tables, marks, scratch)
    ratios[0] = ratio(scratch.before[text.words], text.words)
    ratios[1] = ratio(max(text.hash_signs, text.ellipses), text.words)
    ratios[2] = ratio(text.letter_words, text.words)
    ratios[3] = ratio(text.line_feeds, text.words)
    ratios[4] = ratio(lines.removed_words, text.words)
    ratios[5] = ratio(lines.bullets, text.lines)
    ratios[6] = ratio(lines.ellipses, text.lines)
    ratios[7] = ratio(lines.punctuated, text.lines)
    ratios[8] = ratio(lines.short, text.lines)
    ratios[9] = ratio(lines.c4_kept, text.lines)
    _measure_repetition(scratch, text.words, text.lines, text.paragraphs, vocabulary, marks, seed, ratios[10:])


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


_PARTS = ("kernels_lines.py", "kernels_repetition.py", "kernels_text.py", "marks.py")
_VERSION = crc32(b"".join(Path(__file__).with_name(name).read_bytes() for name in _PARTS))
_measure_all = _entry(_VERSION)


class Measures(NamedTuple):
    """One column per text. `counts` (int64) has the rows COUNTS, `ratios` (float64) RATIOS and the n-grams."""

    counts: Integers
    ratios: Floats


def measure(
    data: Bytes, starts: Integers, ends: Integers, tables: CharacterTables, marks: Marks, seed: int
) -> Measures:
    """The measures of texts that are valid UTF-8: text k is `data[starts[k] : ends[k]]`. They are the same for any `seed`
    (any signed 64-bit number). Beside them, scratch for the longest text is held: 144 bytes for
    each two bytes of it, of which only as much is touched as it has words."""
    texts = len(starts)
    rows = len(RATIOS) + marks.duplicate_words - 1
    measures = Measures(np.empty((len(COUNTS), texts), np.int64), np.empty((rows, texts), np.float64))
    if texts:
        scratch = _scratch(int((ends - starts).max()))
        _measure_all(data, starts, ends, tables, marks, scratch, seed, *measures)
    return measures


def _scratch(longest_bytes: int) -> Scratch:
    words = longest_bytes // 2 + 2
    sizes = [4 * words if name == "slots" else words for name in Scratch._fields]
    return Scratch(*(np.empty(size, np.int64) for size in sizes))
