"""What the published rules look for in a text: words, marks and phrases, each with its source; and as arrays for a kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})  # Rae et al. 2021, appendix A.1.1
TOP_NGRAMS = (2, 3, 4)  # Rae et al. 2021, table A1
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)  # Rae et al. 2021, table A1
OPENING_WORDS = 8  # enough to tell a template's opening from a common phrase
BULLET_WORDS = frozenset({"-", "*", "+", "–"})  # bullets only when they stand alone
BULLET_STARTS = ("•", "‣", "◦", "▪", "●")  # bullets also when the text follows at once
ELLIPSES = ("...", "…")

SHORT_LINE_CHARACTERS = 30  # FineWeb (Penedo et al. 2024, section 3.6): a line of so many characters is short

LINE_ENDS = (".", "?", "!", '"', "'")  # C4 (Raffel et al. 2020, section 2.2); "'" as datatrove has it
LINE_WORDS = 3  # C4: the fewest words of a line that is kept
WORD_CHARACTERS = 1000  # C4's published code: a line with a longer word is not kept
SCRIPT_WORD = "javascript"  # C4: a line that mentions it is not kept
LOREM_IPSUM = "lorem ipsum"  # C4
POLICY_PHRASES = (  # C4's published code: a line that has one of them is not kept
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)

COUNTER_WORDS = (  # DCLM's published settings for RefinedWeb's "counters"
    "likes",
    "shares",
    "comments",
    "retweets",
    "reposts",
    "quotes",
    "bookmarks",
    "upvotes",
    "downvotes",
    "downloads",
    "views",
    "followers",
)
BOILERPLATE_WORDS = (
    10  # RefinedWeb (Penedo et al. 2023, table of line-wise corrections): the longest line that is looked at
)
BOILERPLATE_STARTS = ("sign-in",)  # RefinedWeb, as all of these
BOILERPLATE_ENDS = ("read more...", "read more…")  # the second is the same in one character
BOILERPLATE = ("items in cart",)

_SENTENCE_TERMINAL = """
21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D5 1803 1809
1944-1945 1AA8-1AAB 1B4E-1B4F 1B5A-1B5B 1B5E-1B5F 1B7D-1B7F 1C3B-1C3C 1C7E-1C7F 2024 203C-203D 2047-2049 2CF9-2CFB 2E2E
2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F AAF0-AAF1 ABEB FE12 FE15-FE16
FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 11047-11048 110BE-110C1 11141-11143 111C5-111C6
111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 113D4-113D5 1144B-1144C 115C2-115C3 115C9-115D7 11641-11642 1173C-1173E
11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 11F43-11F44 16A6E-16A6F 16AF5 16B37-16B38 16B44 16D6E-16D6F
16E98 1BC9F 1DA88
"""  # code points and ranges of them


def _characters(ranges: str) -> frozenset[str]:
    edges = [[int(edge, 16) for edge in part.split("-")] for part in ranges.split()]
    return frozenset(chr(code) for edge in edges for code in range(edge[0], edge[-1] + 1))


TERMINAL_MARKS = _characters(_SENTENCE_TERMINAL) | {"…"}
"""Marks that end a sentence: Unicode's property Sentence_Terminal (a fixed list, so that no version of Python changes it),
and the ellipsis, since three dots end one too."""

CLOSING_QUOTES = ('"', "'")
"""What may follow the mark that ends a sentence, beside quotes and closing brackets (Unicode categories Pe, Pf and Pi: which
of the latter two closes, depends on the language)."""

POLICY, LOREM, ITEM, START, END = 1, 2, 4, 8, 16
"""Kinds of phrases, one bit each: policy phrases and boilerplate anywhere in a line, at its start, at its end; LOREM, the only
one that may cross the end of a line."""

_PHRASES = (
    *((phrase, POLICY) for phrase in POLICY_PHRASES),
    (LOREM_IPSUM, LOREM),
    *((phrase, ITEM) for phrase in BOILERPLATE),
    *((phrase, START) for phrase in BOILERPLATE_STARTS),
    *((phrase, END) for phrase in BOILERPLATE_ENDS),
)


class Phrases(NamedTuple):
    """Phrases in lower case. Piece k, a word of one, is `text[pieces[k] : pieces[k + 1]]`; phrase k is the pieces
    `firsts[k]` to `firsts[k + 1] - 1`."""

    text: NDArray[np.uint8]
    pieces: NDArray[np.int64]
    firsts: NDArray[np.int64]
    kinds: NDArray[np.int64]
    triggers: NDArray[
        np.int64
    ]  # for each byte, the phrases (one bit each) whose last piece may have it first; then second


class Marks(NamedTuple):
    """All of the above for a kernel: code points, and words of at most 7 bytes as big-endian numbers."""

    bullet_words: NDArray[np.int64]
    bullet_starts: NDArray[np.int64]
    stop_words: NDArray[np.int64]
    line_ends: NDArray[np.int64]
    script_word: NDArray[np.uint8]
    phrases: Phrases
    counters: Phrases
    opening_words: int
    top_words: int  # longest n-gram of the top ones
    duplicate_words: int  # longest n-gram of all
    short_line_characters: int
    line_words: int
    word_characters: int
    boilerplate_words: int


@cache
def marks() -> Marks:
    """The arrays; none of them is to be written to."""
    return Marks(
        bullet_words=np.array(sorted(map(ord, BULLET_WORDS))),
        bullet_starts=np.array([*map(ord, BULLET_STARTS)]),
        stop_words=np.array([int.from_bytes(word.encode(), "big") for word in sorted(STOP_WORDS)]),
        line_ends=np.array([*map(ord, LINE_ENDS)]),
        script_word=np.frombuffer(SCRIPT_WORD.encode(), np.uint8),
        phrases=_phrases([phrase for phrase, _ in _PHRASES], [kind for _, kind in _PHRASES]),
        counters=_phrases(COUNTER_WORDS, [0] * len(COUNTER_WORDS)),
        opening_words=OPENING_WORDS,
        top_words=max(TOP_NGRAMS),
        duplicate_words=max(DUPLICATE_NGRAMS),
        short_line_characters=SHORT_LINE_CHARACTERS,
        line_words=LINE_WORDS,
        word_characters=WORD_CHARACTERS,
        boilerplate_words=BOILERPLATE_WORDS,
    )


def _phrases(phrases: Sequence[str], kinds: Sequence[int]) -> Phrases:
    split = [[piece.encode() for piece in phrase.split()] for phrase in phrases]
    triggers = np.zeros((2, 256), np.int64)
    for number, pieces in enumerate(split):
        for place in range(2):
            byte = pieces[-1][place : place + 1]
            triggers[place, [*(byte + byte.upper())]] |= 1 << number
    text = b"".join(piece for pieces in split for piece in pieces)
    edges = _edges(len(piece) for pieces in split for piece in pieces)
    return Phrases(np.frombuffer(text, np.uint8), edges, _edges(map(len, split)), np.array(kinds), triggers)


def _edges(lengths: Iterable[int]) -> NDArray[np.int64]:
    return np.cumsum([0, *lengths], dtype=np.int64)
