"""Facts: the numbers and names of a text, and whether one text's facts are all another one's.

A word here is a run of letters that have case, numerals (Unicode categories Nd, Nl, No) and combining marks; a `. , : / - '`
between two numerals belongs to it, and so does a `- − .` before the first one that follows a space or begins a line. Letters
without case (Han, Arabic, Devanagari ...) break words: 2023 is a word of 2023年.

- A **number** is a word with a numeral in it: 1,000; 12:30; -4.5; B12; 10km.
- A **name** is a word that begins with a capital and does not begin a sentence. A sentence begins at the start of the text or
  of a line and after `. ! ? …` and their like in other scripts, whatever quotes or brackets stand between; not after the full
  stop of a capitalised word of at most three letters (Dr. Brown, J. Smith, U.S.).

Facts are compared without case, accents and compatibility forms. One text's facts are another one's when they stand there in
the same order, others between them or not: two swapped numbers are other facts. A word that begins a sentence is none, but
serves as one when the other text looks for it. What is known: names that only ever begin sentences are not seen, nor names
in scripts without case; in German every noun is one.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from synth.text.buffers import text_bytes

if TYPE_CHECKING:
    from dedup.contents import Int32s
    from dedup.facts_kernels import CodePoints, Facts
    from dedup.signatures import Int64s, Uint64s

FACTS_VERSION = 1
"""Raised by hand when a text gives other facts, or two texts compare otherwise."""

_CODES = sys.maxunicode + 1
_MARKS_END = 0x20000  # beyond, only variation selectors are combining marks
_BATCH_TEXTS = 512
_ENDS = ".!?…;:。！？؟۔।॥።"
_NO_END = ";:"


class FactStreams(NamedTuple):
    """The facts of N texts: those of text k are the places `starts[k]` to `ends[k]` of the arrays."""

    hashes: Uint64s
    first_bytes: Int32s
    last_bytes: Int32s  # exclusive
    starts: Int64s
    ends: Int64s


def facts_in(texts: pa.Array | pa.ChunkedArray) -> tuple[Int64s, Uint64s, Int32s, Int32s]:
    """How many facts each text has, and the hashes, first and last bytes of all of them, one text after the other."""
    made = [*_facts(texts)]
    counts = np.concatenate([np.empty(0, np.int64), *(each for _, each in made)])
    hashes = np.concatenate([np.empty(0, np.uint64), *(found.hashes for found, _ in made)])
    starts = np.concatenate([np.empty(0, np.int32), *(found.starts for found, _ in made)])
    ends = np.concatenate([np.empty(0, np.int32), *(found.ends for found, _ in made)])
    return counts, hashes, starts, ends


def first_lacking(facts: FactStreams, ones: Int32s, others: Int32s) -> Int32s:
    """For each pair the number of the first fact of `ones` that `others` lack at that place, -1 when they lack none."""
    from dedup.facts_kernels import compare_facts

    lacking = np.empty(len(ones), np.int32)
    compare_facts(facts.hashes, facts.starts, facts.ends, ones, others, lacking)
    return lacking


def missing(facts: FactStreams, ones: Int32s, others: Int32s, most: int) -> Int32s:
    """For each pair the numbers of the first facts of `ones` that stand nowhere in `others`, shape (pairs, most), then -1."""
    from dedup.facts_kernels import missing_facts

    found = np.empty((len(ones), most), np.int32)
    missing_facts(facts.hashes, facts.starts, facts.ends, ones, others, found)
    return found


def is_cut_off(text: str, other: str, tail_characters: int = 40) -> bool:
    """Whether a text stops inside a word of the other: its end stands there, a letter or numeral follows, and then more
    words. What an answer that ran out of tokens looks like; its last number or name is then none of its own."""
    tail = text[-tail_characters:]
    at = other.find(tail)
    while at >= 0:
        rest = other[at + len(tail) :]
        word, _, more = rest.partition(" ")
        if word[:1].isalnum() and any(map(str.isalnum, more)):
            return True
        at = other.find(tail, at + 1)
    return False


@cache
def code_points() -> CodePoints:
    """The kind of every code point of this Python's Unicode version (0.3 s)."""
    from dedup.facts_kernels import BREAK, END, LOWER, MARK, NUMERAL, OTHER, SPACE, UNCASED, UPPER, CodePoints

    characters = np.arange(_CODES, dtype=np.uint32).view("U1")
    kinds = np.full(_CODES, OTHER, np.uint8)
    is_letter = np.strings.isalpha(characters)
    kinds[np.strings.isspace(characters)] = SPACE
    kinds[is_letter] = UNCASED
    kinds[np.strings.isalnum(characters) & ~is_letter] = NUMERAL
    kinds[np.strings.islower(characters) & is_letter] = LOWER
    kinds[np.strings.isupper(characters) & is_letter] = UPPER
    for code in np.flatnonzero(kinds == SPACE).tolist():
        kinds[code] = BREAK if len(f"a{chr(code)}b".splitlines()) == 2 else SPACE
    for code in np.flatnonzero(kinds[:_MARKS_END] == OTHER).tolist():
        kinds[code] = MARK if unicodedata.category(chr(code)).startswith("M") else OTHER
    kinds[[ord(one) for one in _ENDS if one not in _NO_END]] = END
    folded = np.arange(_CODES, dtype=np.int32)
    for code in np.flatnonzero((kinds >= LOWER) & (kinds <= NUMERAL)).tolist():
        folded[code] = ord(unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", chr(code)).casefold())[0])
    return CodePoints(kinds, folded)


def _facts(texts: pa.Array | pa.ChunkedArray) -> Iterable[tuple[Facts, Int64s]]:
    """The facts of a batch of texts, and how many each has."""
    from dedup.facts_kernels import Facts, read_facts

    for data, starts, ends in text_bytes(texts, _BATCH_TEXTS):
        room = int((ends - starts).sum()) // 2 + len(starts)
        facts = Facts(np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(room, np.int32))
        counts = np.empty(len(starts), np.int64)
        count = read_facts(data, starts, ends, code_points(), facts, counts)
        yield Facts(facts.hashes[:count].copy(), facts.starts[:count].copy(), facts.ends[:count].copy()), counts
