"""Normalisation: what two texts are compared by. Everything in dedup sees a text as its tokens and nothing else.

A text is brought to Unicode form NFKC, casefolded, and brought to NFKC again (casefolding can leave that form). Its
tokens are then

- words: maximal runs of `\\w` (letters, digits, underscore) and the combining marks that follow them. Plain `\\w+`
  breaks words of Hindi or Tamil at their vowel signs and loses the vowels;
- in scripts written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar ...) each character, with its marks. Five
  tokens in a row are then a character 5-gram, and a line break inside a sentence changes nothing.

Punctuation, symbols and layout are not seen: texts that differ in nothing else are equal here. The tables are those of
the running Python's Unicode data, which only grow.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

NORMALISATION_VERSION = 1
"""Raised by hand when `normalise` gives another result for any text: all digests and signatures change with it."""

# Blocks of scripts written without spaces between words (UAX #14 classes ID, CJ and SA, without Hangul, which has spaces).
_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Tai Le, New Tai Lue, Tai Tham, Tai Viet
    "\u3005-\u3007\u3021-\u3029\u3031-\u3035\u303b\u303c"  # marks and numerals used among Han characters
    "\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff"  # Hiragana, Katakana, Bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\ua000-\ua4cf"  # Yi
    "\U0001aff0-\U0001b16f"  # kana supplements
)
UNSPACED_RUNS = re.compile(f"[{_UNSPACED}]+")
"""Characters in the blocks of scripts without spaces, letters or not."""

_ASCII_WORDS = re.compile(r"\w+", re.ASCII)
_SPACE = 0x20
_MARKS_END = 0x20000  # no combining mark from here on but these variation selectors, which never move
_SELECTORS = range(0xE0100, 0xE01F0)
_MARKS_IN_ORDER = 30  # as many as Unicode's stream-safe text format has in a row


def normalise(text: str) -> str:
    """The text's tokens joined by one space; empty for a text without any. Normalising twice changes nothing.

    This is the definition; `dedup.columns` gives the same of columns, some hundred times faster.
    """
    if text.isascii():
        return " ".join(_ASCII_WORDS.findall(text.lower()))
    folded = fold(text)
    words, pieces = _patterns()
    tokens = words.findall(folded)
    if UNSPACED_RUNS.search(folded):
        tokens = [piece for token in tokens for piece in pieces.findall(token)]
    return " ".join(tokens)


def fold(text: str) -> str:
    """The text in form NFKC, casefolded, in form NFKC again. Takes linear time for any text."""
    return unicodedata.normalize("NFKC", compatible(text).casefold())


def compatible(text: str) -> str:
    """The text in form NFKC."""
    return unicodedata.normalize("NFKC", _in_order(text))


@cache
def mark_codes() -> npt.NDArray[np.int64]:
    """The combining marks, ascending."""
    marks = [code for code in range(_MARKS_END) if unicodedata.category(chr(code)).startswith("M")]
    return np.array([*marks, *_SELECTORS], np.int64)


def exact_digest(text: str) -> str:
    """SHA-256 in hex of the normalised text: equal for texts that are equal in all their tokens."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()


def word_shingles(text: str, size: int = 5) -> set[bytes]:
    """The distinct runs of `size` tokens, each as the UTF-8 bytes of its tokens joined by one space.

    A text with fewer than `size` tokens has none: it can only be an exact duplicate.
    """
    raw = normalise(text).encode()
    if not raw:
        return set()
    spaces = np.flatnonzero(np.frombuffer(raw, np.uint8) == _SPACE).tolist()
    starts = [0, *(space + 1 for space in spaces)]
    ends = [*spaces, len(raw)]
    return {raw[start:end] for start, end in zip(starts, ends[size - 1 :], strict=False)}


def _in_order(text: str) -> str:
    """The text with long runs of marks in canonical order: by their class, those of one class as they stand. `unicodedata`
    gives the same form then, but orders marks by insertion, in a time that grows with the square of the run."""
    if len(text) <= _MARKS_IN_ORDER:
        return text
    classes, decomposed = _mark_classes()
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    others = np.flatnonzero(classes[np.minimum(codes, _MARKS_END)] == 0)
    starts, ends = np.append(0, others + 1), np.append(others, len(codes))
    long = np.flatnonzero(ends - starts > _MARKS_IN_ORDER)
    pieces, done = [], 0
    for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True):
        run = np.frombuffer(text[start:end].translate(decomposed).encode("utf-32-le"), np.uint32)
        ordered = run[np.argsort(classes[run], kind="stable")]
        pieces += [text[done:start], ordered.tobytes().decode("utf-32-le")]
        done = end
    return "".join([*pieces, text[done:]]) if pieces else text


@cache
def _mark_classes() -> tuple[npt.NDArray[np.uint8], dict[int, str]]:
    """The canonical combining class of each code point below _MARKS_END, then 0; and those that become nothing but such marks,
    which stand in no order themselves. Their class here is 255."""
    classes, decomposed = np.zeros(_MARKS_END + 1, np.uint8), {}
    for code in range(_MARKS_END):
        classes[code] = unicodedata.combining(chr(code))
        if unicodedata.decomposition(chr(code)):
            made = unicodedata.normalize("NFKD", chr(code))
            if all(map(unicodedata.combining, made)):
                classes[code], decomposed[code] = 255, made
    return classes, decomposed


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Words, and the tokens inside a word that has characters of unspaced scripts. Built when first needed (50 ms)."""
    # In ranges, because `re` tries the characters of a class one after the other where they are beyond U+FFFF.
    runs = np.split(mark_codes(), np.flatnonzero(np.diff(mark_codes()) > 1) + 1)
    marks = "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)
    # No mark lies below U+0300; saying so first makes the common case twice as fast.
    words = re.compile(rf"\w+(?:(?![\x00-\u02ff])[{marks}]+\w*)*")
    return words, re.compile(rf"[{_UNSPACED}][{marks}]*|(?:[^{_UNSPACED}]|[{marks}])+")
