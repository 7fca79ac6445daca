"""Numbers in English words: twelve, twenty-one, two hundred and five, two thirds, the nineteenth century."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}

_TO_NINETEEN = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NTH = """
    first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth
    sixteenth seventeenth eighteenth nineteenth"""
_CARDINALS = {word: value for value, word in enumerate(_TO_NINETEEN.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), start=2)
}
_ORDINALS = {word: value for value, word in enumerate(_NTH.split(), start=1)} | {
    f"{word.removesuffix('y')}ieth": 10 * value for value, word in enumerate(_TENS.split(), start=2)
}
_POWERS = {f"{word}th": value for word, value in SCALES.items()}
_PARTS = {f"{word}s": value for word, value in (_ORDINALS | _POWERS).items() if value > 2} | {
    "half": 2,
    "halves": 2,
    "quarter": 4,
    "quarters": 4,
}
_ARTICLES = ("a", "an", "another")
_TIMES = {"twice": 2, "double": 2, "doubled": 2, "doubles": 2, "thrice": 3, "triple": 3, "tripled": 3, "dozen": 12}
SMALL = 10  # the largest whole number that counts as small when in words: style guides spell them out up to here


def _either(words: Iterable[str]) -> str:
    """A pattern for any of these words, by their first letters: the engine tries a few branches and not all words."""
    firsts: dict[str, list[str]] = {}
    for word in sorted(words, key=len, reverse=True):
        firsts.setdefault(word[0], []).append(word[1:])
    return "|".join(f"{first}(?:{'|'.join(rests)})" for first, rests in firsts.items())


_RUN = re.compile(
    rf"\b(?:half\san?\s(?:{_either(SCALES)})|{_either([*_CARDINALS, *_ORDINALS, 'half', *_TIMES])}"
    rf"|an?\s(?:{_either([*_ORDINALS, *SCALES, *_POWERS, *_PARTS, 'dozen'])})|another\s(?:{_either(SCALES)}))\b"
    rf"(?:(?:-|\s(?:and\s)?)(?:{_either([*_CARDINALS, *_ORDINALS, *SCALES, *_POWERS, *_PARTS])}|a\shalf)\b)*+"
)
_AFTER = re.compile(r"(?P<century>[\s-]centur)|(?P<percent>[\s-]per\s?cent(?!\w))|(?P<of>\sof(?!\w))|(?P<comma>,)")
_TOKEN = re.compile(r"[a-z]+")
_RUN_TOKENS = 32  # more than any one number has
_NO_COUNT_BEFORE = re.compile(r"(?<!\w)(?:no|any|every|some|each|this|that|the|which|another|not)\s\Z")
_NO_COUNT_AFTER = re.compile(
    r"\s(?:of|another|who|whom|that|which|can|cannot|may|might|must|should|has|is|was|by)(?!\w)|['’]s|[.,;:]"
)


class WordNumber(NamedTuple):
    """A number in words. `exact` is False for a small count or share, which prose uses without counting."""

    value: Fraction
    century: bool
    exact: bool
    start: int  # in characters
    end: int


def word_numbers(text: str) -> Iterator[WordNumber]:
    """The numbers in words, in the order of the text. Not `one` as a pronoun, nor `First,` and its like at a start."""
    lower = text.replace("İ", "I").lower()  # the one capital that becomes longer
    for match in _RUN.finditer(lower):
        if match[0] in _SINGLE:  # nearly always
            yield from _in_context(lower, *_SINGLE[match[0]], *match.span())
        else:
            yield from _run(lower, list(_TOKEN.finditer(lower, *match.span())))


def _run(lower: str, tokens: list[re.Match[str]]) -> Iterator[WordNumber]:
    """The numbers of one run of number words: `between two and three` has a run with two numbers."""
    words = [token[0] for token in tokens]
    at = 0
    while at < len(words):
        article = words[at] in ("a", "an") and lower.startswith("centur", tokens[at + 1].end() + 1)
        if words[at] == "and" or article:
            at += 1
            continue
        used, value, small = _leading(words[at : at + _RUN_TOKENS])
        start, end = tokens[at].start(), tokens[at + used - 1].end()
        at += used
        if value is not None:
            yield from _in_context(lower, value, small, start, end)


def _in_context(lower: str, value: Fraction, small: bool, start: int, end: int) -> Iterator[WordNumber]:
    after = _AFTER.match(lower, end)
    kind = after.lastgroup if after else None
    word, before = lower[start:end], lower[max(0, start - 8) : start]
    if word == "one" and (_NO_COUNT_BEFORE.search(before) or _NO_COUNT_AFTER.match(lower, end)):
        return
    if kind == "comma" and word in _ORDINALS and (before.rstrip(" ")[-1:] or "\n") in ".!?:;\n":
        return
    if kind == "percent":
        yield WordNumber(value / 100, False, True, start, end)
    else:
        share_of = kind == "of" and value.denominator > 2
        yield WordNumber(value, kind == "century", not small or kind == "century" or share_of, start, end)


def _leading(words: list[str]) -> tuple[int, Fraction | None, bool]:
    """The number with which these words begin: how many words it has, its value, and whether it is a small count.

    The value is None where there is none after all, as in `a second`.
    """
    if words[0] == "half":
        scale = SCALES.get(words[2]) if words[1:2] in (["a"], ["an"]) else None
        return (3, Fraction(scale, 2), False) if scale else (1, Fraction(1, 2), True)
    used, whole, last = _cardinal(words)
    following = words[used] if used < len(words) else ""
    if following in _TIMES and used <= 1:
        return used + 1, Fraction(_TIMES[following]), True
    if words[used : used + 3] == ["and", "a", "half"]:
        scale = SCALES.get(words[used + 3], 1) if words[used + 3 :] else 1
        return used + 3 + (scale > 1), (whole + Fraction(1, 2)) * scale, False
    if following in _ORDINALS and (not used or (last and _joins(last, _ORDINALS[following]))):
        value = whole + _ORDINALS[following]
        return used + 1, Fraction(value), value <= SMALL
    article = words[0] in _ARTICLES
    parts = _parts(words[used:])
    if used and parts:
        return used + parts[0], Fraction(whole, parts[1]), article or parts[1] == 2
    if not used or (article and used == 1):
        return used + (following != ""), None, True
    return used, Fraction(whole), whole <= SMALL


def _cardinal(words: list[str]) -> tuple[int, int, int]:
    """(words used, value, the part of the value below the last scale) of the longest cardinal at the start."""
    total, last, used = 0, 0, 0
    for at, word in enumerate(words):
        if word in _ARTICLES and at == 0:
            last = 1
        elif word == "and" and (total or last) and last % 100 == 0:
            continue
        elif word == "hundred" and 0 < last < 100:
            last *= 100
        elif word in SCALES and word != "hundred" and last:
            total, last = total + last * SCALES[word], 0
        elif word in _CARDINALS and _joins(last, _CARDINALS[word]):
            last += _CARDINALS[word]
        else:
            break
        used = at + 1
    return used, total + last, last


def _joins(before: int, value: int) -> bool:
    """Whether a word of this value goes on with the number before it: twenty-one, two hundred five; not two three."""
    if value < 10 and before % 100 >= 20 and before % 10 == 0:
        return True
    return before % 100 == 0


def _parts(words: list[str]) -> tuple[int, int] | None:
    """(words used, into how many parts) of a denominator: thirds, quarter, ten-millionth."""
    if not words:
        return None
    if words[0] == "ten" and words[1:] and words[1] in _POWERS:
        return 2, 10 * _POWERS[words[1]]
    parts = _PARTS.get(words[0]) or _POWERS.get(words[0]) or _ORDINALS.get(words[0], 0)
    return (1, parts) if parts > 1 and words[0] != "second" else None


_SINGLE = {word: (Fraction(value), value <= SMALL) for word, value in (_CARDINALS | _ORDINALS).items()}
