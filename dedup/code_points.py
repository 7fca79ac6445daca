"""What `dedup.text.normalise` makes of each code point, as tables that a kernel can read."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from dedup.kernels import (
    CLASS_SHIFT,
    DIFFERENCE_SHIFT,
    FIRST,
    KIND_BITS,
    MARK,
    NON_STARTER,
    PAGE,
    SECOND,
    SEPARATOR,
    SEVERAL,
    SLOW,
    SPACE,
    UNSPACED,
    WORD,
    CodePoints,
)
from dedup.text import UNSPACED_RUNS, compatible, fold, mark_codes

_CODES = sys.maxunicode + 1
_SURROGATES = range(0xD800, 0xE000)
_LEADING, _VOWELS, _TRAILING = range(0x1100, 0x1113), range(0x1161, 0x1176), range(0x11A8, 0x11C3)  # Hangul's letters


@cache
def code_points() -> CodePoints:
    """The tables for any text, from this Python's Unicode data, made at the first call (0.3 s)."""
    kinds = _kinds()
    entries = kinds.astype(np.int64)
    changing = _changing(kinds)
    firsts, seconds = _pairs(changing)
    several: list[list[int]] = []
    for code in sorted({*changing} | firsts | seconds):
        entries[code] = _entry(code, kinds, firsts, seconds, several)
    width = max(map(len, several))
    rows = np.array([made + [-1] * (width + 1 - len(made)) for made in several], np.int64)
    return _tables(entries, rows)


@cache
def folded_code_points() -> CodePoints:
    """The tables for texts that went through `fold`: each code point stays what it is, none is SLOW."""
    return _tables(_kinds().astype(np.int64), np.full((1, 1), -1, np.int64))


def _tables(entries: NDArray[np.int64], several: NDArray[np.int64]) -> CodePoints:
    pages, kept = _paged(entries)
    letters = np.full(256, SPACE, np.uint8)
    for code in np.flatnonzero((entries[:128] & 7) == WORD).tolist():
        letters[code] = code + (entries[code] >> DIFFERENCE_SHIFT)
    tables = CodePoints(pages, kept, several, letters)
    for table in tables:
        table.flags.writeable = False
    return tables


@cache
def _kinds() -> NDArray[np.uint8]:
    """Of each code point, as it is, SEPARATOR, WORD, UNSPACED or MARK."""
    characters = np.arange(_CODES, dtype=np.uint32).view("U1")
    kinds = np.full(_CODES, SEPARATOR, np.uint8)
    kinds[np.strings.isalnum(characters)] = WORD
    kinds[ord("_")] = WORD
    for run in UNSPACED_RUNS.finditer("".join(map(chr, range(_CODES)))):
        kinds[run.start() : run.end()][kinds[run.start() : run.end()] == WORD] = UNSPACED
    marks = mark_codes()
    kinds[marks[kinds[marks] == SEPARATOR]] = MARK
    return kinds


def _changing(kinds: NDArray[np.uint8]) -> list[int]:
    """Code points of the pages on which any becomes something else, alone or beside another, or is a mark."""
    codes: list[int] = []
    for start in range(0, _CODES, PAGE):
        page = "".join(map(chr, range(start, start + PAGE)))
        stays = unicodedata.is_normalized("NFD", page) and unicodedata.is_normalized("NFKC", page)
        if start not in _SURROGATES and not (
            stays and page.casefold() == page and (kinds[start : start + PAGE] < MARK).all()
        ):
            codes += range(start, start + PAGE)
    return codes


def _pairs(codes: Iterable[int]) -> tuple[set[int], set[int]]:
    """Code points that may become one with another after them, and those that may with one before them. `codes` are those
    that any pair becomes."""
    firsts, seconds = {*_LEADING}, {*_VOWELS, *_TRAILING}
    for code in codes:
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (int(part, 16) for part in parts)
            if unicodedata.normalize("NFC", chr(first) + chr(second)) == chr(code):
                firsts.add(first)
                seconds.add(second)
    return firsts, seconds


def _entry(code: int, kinds: NDArray[np.uint8], firsts: set[int], seconds: set[int], several: list[list[int]]) -> int:
    """The entry of one code point (`CodePoints`), as it is when neighbours are left out; to `several` goes its row.

    Both the text's form NFKC and what is made of that by casefolding must be those of its code points one after the other.
    They are (Unicode Standard Annex 15, quick check) where marks stand in their canonical order, and nothing that begins one
    code point's form could become one with what is before it.
    """
    character = chr(code)
    forms = compatible(character), fold(character)
    classes = [[unicodedata.combining(one) for one in form] for form in forms]
    neighbours = 0
    if classes[0][0] or classes[1][0] or any(ord(form[0]) in seconds for form in forms):
        if len(forms[0]) > 1 or forms[0] != forms[1]:
            return SLOW
        neighbours |= NON_STARTER if classes[0][0] else 0
        neighbours |= SECOND if ord(forms[0]) in seconds else 0
    pieces = {ord(one) for form in forms for one in form + unicodedata.normalize("NFD", form)}
    neighbours |= FIRST if pieces & firsts else 0
    neighbours |= max(classes[0][-1], classes[1][-1]) << CLASS_SHIFT
    made = [*map(ord, forms[1])]
    if len(made) == 1:
        return int(kinds[made[0]]) | neighbours | (made[0] - code) << DIFFERENCE_SHIFT
    several.append([one << KIND_BITS | int(kinds[one]) for one in made])
    return SEVERAL | neighbours | (len(several) - 1) << DIFFERENCE_SHIFT


def _paged(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Equal pages stored once, the first one first: (number of each page, the different pages one after the other)."""
    numbers: dict[bytes, int] = {}
    rows = values.reshape(-1, PAGE)
    pages = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows], np.int64)
    return pages, np.frombuffer(b"".join(numbers), np.int64).copy()
