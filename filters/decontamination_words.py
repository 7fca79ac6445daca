"""What a word is when evaluation sets are looked for: runs of letters and digits, whatever their case, marks and Unicode form."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

_TABLE_CODES = 0x20000  # the planes of letters and of emoji
_MARKS_IN_A_ROW = 30  # as in Unicode's stream-safe text format; canonical order of long runs takes quadratic time
_MAY_BE_LONG = re.compile(f"[\u0300-\U0010ffff]{{{_MARKS_IN_A_ROW + 1}}}")  # there are no marks before these
_DROPPED = re.compile("[\xad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_APOSTROPHES = "’‘ʼ"
_INNER = re.compile(r"(?<=[^\W_])'(?=[^\W_])|(?<=[0-9]),(?=[0-9])")
_WORD = re.compile(r"[^\W_]+")
_PIECE = re.compile(r"[^\s!-&(-+\-./:-@\[-`{-~…—–“”、。〈-】]+")  # between characters that are never part of a word
_JAMO = ((0x1100, 0x1200), (0xA960, 0xA980), (0xD7B0, 0xD800))  # letters that join with their neighbours


def words_of(text: str) -> list[str]:
    """The words of `text` whatever its case, punctuation, blanks and Unicode form: runs of letters and digits in the form
    NFKC, case-folded.

    An apostrophe within a word and a comma between digits are left out (`don’t` gives `dont`, `1,000` gives `1000`), as are
    characters that cannot be seen (soft hyphens, zero-width ones) and of more than 30 combining marks in a row those after the
    30th; all else that is no letter or digit separates. A script that writes no blanks between words gives few, long words,
    of which little can be found.
    """
    return _WORD.findall(_INNER.sub("", plain(text)))


def spans_of(text: str) -> list[tuple[int, int]]:
    """Of each word of `words_of(text)` the first byte and the end of the piece of text that it stands in: blanks and most
    punctuation part pieces, so that it is mostly the word alone. Slow: for texts that a table cannot tell."""
    spans = []
    characters = at = 0
    for piece in _PIECE.finditer(text):
        at += len(text[characters : piece.start()].encode())
        end = at + len(piece[0].encode())
        spans += [(at, end)] * len(words_of(piece[0]))
        characters, at = piece.end(), end
    return spans


def plain(text: str) -> str:
    """`text` in which words are to be found as they are: folded, composed, with one kind of apostrophe."""
    if text.isascii():
        return text.lower()
    text = _DROPPED.sub("", text)
    if _MAY_BE_LONG.search(text):
        text = _long_runs().sub(r"\1", text)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    for mark in _APOSTROPHES:
        text = text.replace(mark, "'")
    return text


@lru_cache(maxsize=1)
def _long_runs() -> re.Pattern[str]:
    """More than _MARKS_IN_A_ROW characters that normalisation may put into another order, the first of them as group 1."""
    marks = [code for code in range(0x300, _TABLE_CODES) if not 0xD800 <= code < 0xE000 and _moves(chr(code))]
    first = [code for code in marks if code - 1 not in marks]
    last = [code for code in marks if code + 1 not in marks]
    ranges = "".join(f"{chr(low)}-{chr(high)}" for low, high in zip(first, last, strict=True))
    return re.compile(f"([{ranges}]{{{_MARKS_IN_A_ROW}}})[{ranges}]+")


def _moves(character: str) -> bool:
    return all(map(unicodedata.combining, unicodedata.normalize("NFKD", character)))


@lru_cache(maxsize=1)
def code_point_table() -> Any:
    """What `words_of` makes of single code points, for the kernel (uint32): SLOW where it depends on their neighbours."""
    from filters import decontamination_kernels as kernels

    codes = [code for code in range(_TABLE_CODES) if not 0xD800 <= code < 0xE000]
    table = np.full(_TABLE_CODES, kernels.SLOW, np.uint32)
    made_of = plain("\0".join(map(chr, codes))).split("\0")
    for code, made in zip(codes[1:], made_of[2:], strict=True):  # NUL itself stands between the others: it gives two
        if made == "":
            table[code] = kernels.DROPPED
        elif len(made) == 1 and made.isalnum():
            table[code] = ord(made)
        elif made == "'":
            table[code] = kernels.APOSTROPHE
        elif made == ",":
            table[code] = kernels.COMMA
        elif not any(one.isalnum() or one in "'," or _is_mark(one) for one in made):
            table[code] = kernels.SEPARATOR
    table[0] = kernels.SEPARATOR
    table[list(_joining())] = kernels.SLOW
    return table


@lru_cache(maxsize=1)
def plain_table() -> Any:
    """The same for texts that went through `plain`: every code point is taken as it is, none is SLOW."""
    from filters import decontamination_kernels as kernels

    table = np.zeros(0x110000, np.uint32) + np.uint32(kernels.SEPARATOR)
    letters = [code for code in range(0x110000) if chr(code).isalnum()]
    table[letters] = letters
    table[ord("'")], table[ord(",")] = kernels.APOSTROPHE, kernels.COMMA
    return table


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _joining() -> Iterator[int]:
    """Code points that may become one with what stands before or after them."""
    for low, high in _JAMO:
        yield from range(low, high)
    for code in range(_TABLE_CODES):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<") and int(parts[1], 16) < _TABLE_CODES:
            yield int(parts[1], 16)
    yield from (code for code in range(_TABLE_CODES) if _is_mark(chr(code)) and not _DROPPED.match(chr(code)))
