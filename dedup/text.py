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
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_ASCII_WORDS = re.compile(r"\w+", re.ASCII)
_SPACE = 0x20


def normalise(text: str) -> str:
    """The text's tokens joined by one space; empty for a text without any. Normalising twice changes nothing."""
    if text.isascii():
        return " ".join(_ASCII_WORDS.findall(text.lower()))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    words, pieces = _patterns()
    tokens = words.findall(folded)
    if _HAS_UNSPACED.search(folded):
        tokens = [piece for token in tokens for piece in pieces.findall(token)]
    return " ".join(tokens)


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


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Words, and the tokens inside a word that has characters of unspaced scripts. Built when first needed (50 ms)."""
    # Combining marks end in the Supplementary Multilingual Plane, but for the variation selectors.
    flags = "".join("M" if unicodedata.category(chr(code)).startswith("M") else "-" for code in range(0x20000))
    spans = [f"{chr(run.start())}-{chr(run.end() - 1)}" for run in re.finditer("M+", flags)]
    marks = "".join(spans) + "\U000e0100-\U000e01ef"
    # No mark lies below U+0300; saying so first makes the common case twice as fast.
    words = re.compile(rf"\w+(?:(?![\x00-\u02ff])[{marks}]+\w*)*")
    return words, re.compile(rf"[{_UNSPACED}][{marks}]*|(?:[^{_UNSPACED}]|[{marks}])+")
