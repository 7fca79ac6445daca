r"""Whether two answers are the same, whatever way they are written.

    python -m tests.benchmarks.equivalence

An answer is read as one kind: a number or expression with or without a unit, a time of day, a choice (B), a list, or words.
Answers of different kinds are never the same. What was decided:

- Exact: 3.33 is not 10/3; 18.00 is 18. Expressions are the same where `expressions.same_value` proves it, else not.
- A missing unit agrees with any (gold answers of GSM8K have none); a known unit agrees with another of its dimension by
  size ("1 hour", "60 minutes"); unknown units agree where the words of one contain the other's ("eggs", "duck eggs").
- Percent is a unit: "50%" is "50" and is not "0.5". Of the 8,792 gold answers of GSM8K 106 are a percentage without its sign,
  none is a share that the solution writes as a percentage.
- "3:4" is neither "6:8" nor "3/4"; a bare list ("1 and 2") agrees with any brackets, brackets agree with their like; only
  ( ) and [ ] are ordered. "Yes" is not "true".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from generators.verify.answers import final_answer, plain
from generators.verify.expressions import LONGEST, Value, same_value, value
from generators.verify.units import Unit, comparable, unit

__all__ = ["final_answer", "same_answer", "vote"]

_LONGEST_READ = 4 * LONGEST  # characters with their LaTeX; longer answers are words
_MOST_ITEMS = 16
_DEEPEST_LIST = 3

_LEAD = re.compile(
    r"(?:(?:the |my )?(?:final |correct )?answer(?: is\b|:| =)|#### ?|≈|~|="
    r"|(?:about|approximately|around|roughly|exactly|just|only|therefore|thus|a total of)\b)\s*",
    re.IGNORECASE,
)
_NAME = re.compile(r"\s*(?:[A-Za-z](?:\([A-Za-z]\))?|[A-Za-z]{2,}(?: [A-Za-z]+){0,4})?\s*")
_CLOCK = re.compile(r"([0-9]{1,2})(?: ?: ?([0-5][0-9]))? ?(?:([ap])\.? ?m\b\.?|o'clock)?", re.IGNORECASE)
_CHOICE = re.compile(
    r"(?:option |choice )?(?:\(([A-H])\)|([A-H])[.):]|([A-H])(?=\Z))(?:\s+(\S.*))?", re.IGNORECASE | re.DOTALL
)
_CURRENCY = re.compile(
    r"(?:US|USD|U\.S\.) ?(?=\$)|(?P<sign>[$€£¥]) ?(?P<amount>-? ?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+))", re.IGNORECASE
)
_CURRENCIES = {"$": "dollars", "€": "euros", "£": "gbp", "¥": "yen"}
_UNIT_START = re.compile(r"(?<=[0-9)])-?(?=[A-Za-z¢€£¥/])|\s+(?=[A-Za-z¢€£¥/])")
_NUMERIC = re.compile(r"[0-9]|\bpi\b")
_LETTER = re.compile(r"[A-Za-z](?![A-Za-z])")
_RATIO = re.compile(r"-?[0-9.,]+(?:/[0-9]+)?(?:\s*(?::|\bto\b)\s*-?[0-9.,]+(?:/[0-9]+)?)+")
_BRACKETS = {"(": ")]", "[": "])", "{": "}", "⟨": "⟩"}
_TRUTH = re.compile(r"(yes|no|true|false)\b(?=\s*(?:[.,;:!]|\Z))", re.IGNORECASE)
_SIGNS = re.compile(r"[0-9<>=≤≥≠+*/^|\\~%$#@&(){}\[\]√-]")
_LOOSE_SPACE = re.compile(r"(?<!\w) | (?!\w)")  # spaces between two words or numbers tell them apart
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@dataclass(frozen=True, slots=True)
class _Quantity:
    value: Value
    unit: Unit


@dataclass(frozen=True, slots=True)
class _Clock:
    """`minutes` of the day that may be meant: two where neither am nor pm is said."""

    hour: int
    minutes: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Choice:
    letter: str
    rest: _Answer | None


@dataclass(frozen=True, slots=True)
class _List:
    """`brackets` as written, ":" for a ratio, empty for none."""

    brackets: str
    items: tuple[_Answer, ...]


@dataclass(frozen=True, slots=True)
class _Words:
    words: str


_Answer = _Quantity | _Clock | _Choice | _List | _Words


def same_answer(left: str, right: str) -> bool:
    """Whether two answers are the same: as numbers, expressions, quantities, lists, choices, times or words.

    An empty answer is the same as none. Undecidable within the limits means False.
    """
    if left.strip() == right.strip():
        return bool(left.strip())
    a, b = (_read(text) if len(text) <= _LONGEST_READ else _words(text) for text in (left, right))
    return a is not None and b is not None and _same(a, b)


def vote(answers: Sequence[str]) -> list[int]:
    """The group of each answer, numbered by first appearance. An answer joins the first group all of whose answers are the
    same as it, because "18" agrees with "18 eggs" and with "18 dollars", which do not agree.
    """
    groups: list[list[str]] = []
    numbers = []
    for answer in answers:
        fits = (number for number, group in enumerate(groups) if all(same_answer(answer, other) for other in group))
        number = next(fits, len(groups))
        if number == len(groups):
            groups.append([])
        if answer not in groups[number]:
            groups[number].append(answer)
        numbers.append(number)
    return numbers


@lru_cache(maxsize=1024)
def _read(text: str) -> _Answer | None:
    """An answer as its kind; None where nothing is left of it."""
    bare = plain(text)
    while lead := _LEAD.match(bare):
        bare = plain(bare[lead.end() :])
    return _parsed(bare, 0)


def _parsed(text: str, depth: int) -> _Answer | None:
    """A cleaned text as the first kind that it can be read as."""
    if len(text) > LONGEST or depth > _DEEPEST_LIST:
        return _words(text)
    if "=" in text:
        return _equated(text, depth)
    truth = _TRUTH.match(text)
    if truth:
        return _Words(truth[1].lower())
    return _choice(text, depth) or _clock(text) or _quantity(text) or _ratio(text) or _list(text, depth) or _words(text)


def _equated(text: str, depth: int) -> _Answer | None:
    """What "x = 18" and "9 * 2 = 18" come to: the right side, where there is no other reading."""
    first, *others = text.split("=")
    parts = others if _NAME.fullmatch(first) else [first, *others]
    read = [_parsed(part.strip(), depth + 1) for part in parts]
    if any(one is None for one in read):
        return _words(text)
    if len(parts) > 1 and not all(isinstance(one, _Quantity) and _same(one, read[-1]) for one in read if read[-1]):
        return _words(text)
    return read[-1]


def _choice(text: str, depth: int) -> _Choice | None:
    match = _CHOICE.fullmatch(text)
    if match is None:
        return None
    letter = match[1] or match[2] or match[3]
    return _Choice(letter.upper(), _parsed(match[4], depth + 1) if match[4] else None)


def _clock(text: str) -> _Clock | None:
    match = _CLOCK.fullmatch(text)
    if match is None or not (match[2] or match[3] or "clock" in text):
        return None
    hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").lower()
    if hour > (12 if half else 23):
        return None
    halves = {0 if half == "a" else 12} if half else {0, 12}
    hours = {hour % 12 + shift for shift in halves} if half or 1 <= hour <= 12 else {hour}
    return _Clock(hour, frozenset(60 * one + minute for one in hours))


def _quantity(text: str) -> _Quantity | None:
    """A number or an expression with its unit, or several that add up (1 hour 30 minutes)."""
    text = _CURRENCY.sub(
        lambda match: f"{match['amount']} {_CURRENCIES[match['sign']]} " if match["sign"] else "", text
    )
    text = text.replace("%", " percent ").strip()
    whole = _one_quantity(text)
    if whole is not None:
        return whole
    parts = [_one_quantity(part) for part in re.split(r"\s*,\s+(?:and\s+)?|\s+and\s+|(?<=[a-z])\s+(?=[0-9])", text)]
    known = [part for part in parts if part is not None and part.unit.dimension]
    return _added(known) if 1 < len(known) == len(parts) else None


def _added(parts: list[_Quantity]) -> _Quantity | None:
    """The sum in the unit of the first: each part of the same dimension, in ever smaller units."""
    first = parts[0].unit
    total = Fraction(0)
    for place, part in enumerate(parts):
        if part.unit.dimension != first.dimension or not isinstance(part.value, Fraction) or part.value < 0:
            return None
        if place and part.unit.size >= parts[place - 1].unit.size:
            return None
        total += part.value * part.unit.size / first.size
    return _Quantity(total, Unit(first.dimension, first.size, frozenset().union(*(part.unit.words for part in parts))))


def _one_quantity(text: str) -> _Quantity | None:
    text = re.sub(r"\A(?:minus|negative)\s+(?=[0-9(])", "-", text, flags=re.IGNORECASE)
    # "5 m", "5kg" and "5-year" are amounts; "5m", "5-m" and "5x" are calculations
    for match in _UNIT_START.finditer(text):
        phrase, tight = text[match.end() :], match.group() in ("", "-")
        named = None if tight and _LETTER.match(phrase) else unit(phrase, glued=not match.group())
        amount = value(text[: match.start()]) if named is not None and _NUMERIC.search(text, 0, match.start()) else None
        if named is not None and amount is not None:
            return _Quantity(amount, named)
    if not (_SIGNS.search(text) or len(text) == 1 or " pi" in f" {text}"):
        return None  # a word
    number = value(re.sub(r"\A-\s+", "-", text))
    return None if number is None else _Quantity(number, Unit())


def _ratio(text: str) -> _List | None:
    if not _RATIO.fullmatch(text):
        return None
    items = [value(part) for part in re.split(r":|\bto\b", text)]
    read = tuple(_Quantity(item, Unit()) for item in items if item is not None)
    return _List(":", read) if len(read) == len(items) else None


def _list(text: str, depth: int) -> _List | None:
    brackets, inner = "", text
    if text[:1] in _BRACKETS and text[-1:] in _BRACKETS[text[0]] and _encloses(text):
        brackets, inner = (text[0] + text[-1]).replace("⟨", "{").replace("⟩", "}"), text[1:-1]
    parts = [part.strip() for part in _split(inner, bool(brackets))]
    if not (2 <= len(parts) <= _MOST_ITEMS or (brackets == "{}" and len(parts) == 1)):
        return None
    items = tuple(item for part in parts if part and (item := _parsed(part, depth + 1)) is not None)
    return _List(brackets, items) if len(items) == len(parts) else None


def _encloses(text: str) -> bool:
    """Whether the first bracket closes at the very end."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in "([{⟨") - (character in ")]}⟩")
        if depth == 0:
            return place == len(text) - 1
    return False


def _split(text: str, enclosed: bool) -> list[str]:
    """At commas, semicolons and "and" outside of brackets. A bare 1,080 is one number, (1,080) is a pair."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r"[(\[{⟨]|[)\]}⟩]|\s*[,;]\s+and\s+|\s+and\s+|[,;]", text):
        sign = match.group()
        depth += (sign in "([{⟨") - (sign in ")]}⟩")
        number = not enclosed and re.match(r"(?<=[0-9]),[0-9]{3}(?![0-9])", text[match.start() - 1 :][1:]) is not None
        if depth or sign in ")]}⟩" or number:
            continue
        parts.append(text[start : match.start()])
        start = match.end()
    return [*parts, text[start:]]


def _words(text: str) -> _Words | None:
    """Words without case, articles and punctuation; text with digits or signs keeps all but its spaces."""
    if _SIGNS.search(text):
        return _Words(_LOOSE_SPACE.sub("", " ".join(text.casefold().split())).strip(",;:?\"'"))
    words = [word for word in _WORD.findall(text.casefold()) if word not in ("a", "an", "the")]
    return _Words(" ".join(words)) if words else None


def _same(left: _Answer, right: _Answer) -> bool:
    if isinstance(left, _Quantity) and isinstance(right, _Quantity):
        return _same_quantity(left, right)
    if isinstance(left, _Clock) and isinstance(right, _Clock):
        return bool(left.minutes & right.minutes)
    if isinstance(left, _Clock) and isinstance(right, _Quantity):
        return _same_hour(left, right)
    if isinstance(right, _Clock) and isinstance(left, _Quantity):
        return _same_hour(right, left)
    if isinstance(left, _Choice) and isinstance(right, _Choice):
        agree = left.rest is None or right.rest is None or _same(left.rest, right.rest)
        return left.letter == right.letter and agree
    if isinstance(left, _List) and isinstance(right, _List):
        return _same_list(left, right)
    return left == right


def _same_quantity(left: _Quantity, right: _Quantity) -> bool:
    if not (left.unit.written and right.unit.written) or left.unit == right.unit:
        return same_value(left.value, right.value)
    if not comparable(left.unit, right.unit):
        return False
    if left.unit.size == right.unit.size:
        return same_value(left.value, right.value)
    if not isinstance(left.value, Fraction) or not isinstance(right.value, Fraction):
        return False
    return left.value * left.unit.size == right.value * right.unit.size


def _same_hour(clock: _Clock, quantity: _Quantity) -> bool:
    """5 pm and a bare 5."""
    full = all(minute % 60 == 0 for minute in clock.minutes)
    return full and not quantity.unit.written and quantity.value == clock.hour


def _same_list(left: _List, right: _List) -> bool:
    pair = {left.brackets, right.brackets}
    differ = len(pair) == 2 and ("" not in pair or ":" in pair)
    if differ or len(left.items) != len(right.items):
        return False
    pairs = zip(left.items, right.items, strict=True)
    if all(_same(a, b) for a, b in pairs):
        return True
    if not pair <= {"", "{}"}:
        return False
    remaining = list(right.items)
    for item in left.items:
        found = next((place for place, other in enumerate(remaining) if _same(item, other)), None)
        if found is None:
            return False
        del remaining[found]
    return True
