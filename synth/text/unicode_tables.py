"""What Python's `str` and `unicodedata` say of each code point, as tables that a kernel can read."""

from __future__ import annotations

import string
import sys
import unicodedata
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from synth.text.kernels_text import (
    ALPHANUMERIC,
    CLOSING,
    DIGIT,
    LETTER,
    LINE_BREAK,
    LONGER,
    PAGE,
    PUNCTUATION,
    TERMINAL,
    UPPER,
    WHITESPACE,
    CharacterTables,
)
from synth.text.marks import CLOSING_QUOTES, TERMINAL_MARKS

_CODES = sys.maxunicode + 1
_MARKS_END = 0x20000  # no punctuation from here on
_Value = TypeVar("_Value", bound=np.generic)


@cache
def character_tables() -> CharacterTables:
    """The tables of this Python's Unicode version, made at the first call (0.2 s). What is whitespace is what str.split
    splits at, a line break what str.splitlines breaks at, a letter str.isalpha, alphanumeric str.isalnum, a digit
    str.isdigit, upper case str.isupper, a fold str.casefold. Punctuation is what has the general category P* or stands in
    string.punctuation; terminal are TERMINAL_MARKS; closing are CLOSING_QUOTES and the categories Pe, Pf and Pi."""
    kind_pages, kinds = _paged(_kinds())
    differences, longer = _folds()
    fold_pages, folds = _paged(differences)
    tables = CharacterTables(kind_pages, kinds, fold_pages, folds, longer)
    for table in tables:
        table.flags.writeable = False
    return tables


def _kinds() -> NDArray[np.uint16]:
    characters = np.arange(_CODES, dtype=np.uint32).view("U1")
    kinds = np.zeros(_CODES, np.uint16)
    kinds[np.strings.isalpha(characters)] |= LETTER
    kinds[np.strings.isalnum(characters)] |= ALPHANUMERIC
    kinds[np.strings.isdigit(characters)] |= DIGIT
    kinds[np.strings.isupper(characters)] |= UPPER
    for code in np.flatnonzero(np.strings.isspace(characters)).tolist():
        breaks = len(f"a{chr(code)}b".splitlines()) == 2
        kinds[code] |= WHITESPACE | (LINE_BREAK if breaks else 0)
    for code in np.flatnonzero(kinds[:_MARKS_END] == 0).tolist():  # no letter, digit or whitespace is punctuation
        category = unicodedata.category(chr(code))
        kinds[code] |= PUNCTUATION if category[0] == "P" else 0
        kinds[code] |= CLOSING if category in ("Pe", "Pf", "Pi") else 0
    kinds[[*map(ord, string.punctuation)]] |= PUNCTUATION
    kinds[[*map(ord, TERMINAL_MARKS)]] |= TERMINAL
    kinds[[*map(ord, CLOSING_QUOTES)]] |= CLOSING
    return kinds


def _folds() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The difference of each code point's folded form from it, and the folded forms of more than one code point."""
    differences = np.zeros(_CODES, np.int32)
    longer: list[list[int]] = []
    for first in range(0, _CODES, PAGE):
        page = "".join(map(chr, range(first, first + PAGE)))
        for character in page if page.casefold() != page else "":
            folded = [*map(ord, character.casefold())]
            if len(folded) == 1:
                differences[ord(character)] = folded[0] - ord(character)
            else:
                differences[ord(character)] = LONGER + len(longer)
                longer.append(folded)
    width = max(map(len, longer))
    return differences, np.array([folded + [-1] * (width - len(folded)) for folded in longer], np.int32)


def _paged(values: NDArray[_Value]) -> tuple[NDArray[np.int64], NDArray[_Value]]:
    """Equal pages stored once, the first one first: (number of each page, the different pages one after the other)."""
    numbers: dict[bytes, int] = {}
    rows = values.reshape(-1, PAGE)
    pages = np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows], np.int64)
    return pages, np.frombuffer(b"".join(numbers), values.dtype).copy()
