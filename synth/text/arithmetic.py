"""Arithmetic that stands in prose, done again: `16 - 3 - 4 = 9 eggs`, `20% of $50 = $10`, `half of 40 is 20`.

An equation is found only where its meaning is plain, and is wrong only if it is wrong in every way in which people read it.
What is left alone: variables, functions, code, conversions of units, times, dates and ratios. Exact: no float, no eval.

On GSM8K 99.4% of the results that are changed by one number are found, and 0.4% of the untouched solutions are flagged, nearly
all of them because they are wrong (`python -m tests.benchmarks.arithmetic --show`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product

from synth.text.quantities import Equation, Reading, Token, evaluate, tokens
from synth.text.worded_arithmetic import worded_equations

_LEFT_CHARACTERS = 240
_RIGHT_CHARACTERS = 120
_UNIT_WORDS = 5  # the longest unit: "large boxes of colored pencils"


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


_EQUALS = re.compile(r"(?<![=<>!:+*/|^~])=(?![=>~])|\bequals\b|\bis equal to\b")
_WORDS_OF_CLAUSES = _words(
    "is was are were be been am and or but nor so then thus hence if when while which because since than as we he she it they "
    "i you his her their our my your this these those the has have had will would could should may must do does did cost "
    "costs equals st nd rd th two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty"
)
_ARTICLES = ("the", "his", "her", "their", "our", "my", "your")
_FUNCTIONS = _words(
    "half twice double doubled triple tripled quadruple thrice times plus minus over squared cubed square cube root sqrt "
    "log ln sin cos tan mod modulo choose median negative third thirds fourth fourths quarter quarters fifth "
    "fifths sixth sixths seventh sevenths eighth eighths ninth ninths tenth tenths"
)
# Before a number they make it a name: "on day 1 * 2 = 20 pages" is about 20 pages on the first day.
_LABELS = _words(
    "day days week weeks month months year years hour step part chapter page pages problem question number no figure table "
    "section phase grade level round stage team group equation case option line room version type class lesson unit"
)
_BEFORE_LABELS = _words("on in of for from to by at after before until and or than since during through")
_NOT_AFTER_RESULT = _words("remainder rem r squared cubed factorial")
# A whole number may stand for a quotient that is none where the text goes on with one of these.
_WHOLE = re.compile(r"\b(?:remainder|remaining|left|leftover|over|full|whole|complete|round\w*|about|approx\w*)\b")
_WHOLE_CHARACTERS = 80
# Units of one dimension to a line, each with its size; the words of one unit are joined by "/".
_UNITS = (
    "second/seconds/sec 1 minute/minutes/min/mins 60 hour/hours/hr/hrs 3600 day/days 86400 week/weeks 604800",
    "month/months 1 year/years 12 decade/decades 120 century/centuries 1200",
    "inch/inches 1 foot/feet/ft 12 yard/yards/yd 36 mile/miles 63360",
    "mm/millimeters 1 cm/centimeters 10 m/meter/meters 1000 km/kilometer/kilometers 1000000",
    "ounce/ounces/oz 1 pound/pounds/lb/lbs 16 ton/tons 32000",
    "mg/milligrams 1 g/gram/grams 1000 kg/kilogram/kilograms 1000000",
    "teaspoon/teaspoons 1 tablespoon/tablespoons 3 cup/cups 48 pint/pints 96 quart/quarts 192 gallon/gallons 768",
    "ml/milliliters 1 l/liter/liters 1000",
    "cent/cents/penny/pennies 1 nickel/nickels 5 dime/dimes 10 dollar/dollars/$ 100",
)
_SIZES = {
    word: (dimension, int(size))
    for dimension, units in enumerate(_UNITS)
    for names, size in pairwise(units.split())
    if size.isdecimal()
    for word in names.split("/")
}
_READINGS = tuple(Reading(*flags) for flags in product((True, False), (True, False), (False, True)))


@dataclass(frozen=True, slots=True)
class _Side:
    """An expression beside an equals sign. `whole`: it fills all that stands between two equals signs."""

    tokens: list[Token]
    whole: bool

    @property
    def operators(self) -> bool:
        """Whether something is to be worked out; a sign before the first number is nothing."""
        return any(token.kind == "operator" for token in self.tokens[1:])

    @property
    def lone(self) -> bool:
        """Whether it is one number, with or without a unit."""
        return not self.operators and sum(token.kind == "number" for token in self.tokens) == 1

    @property
    def words(self) -> list[str]:
        """Its units."""
        return [token.text for token in self.tokens if token.kind == "word"]


def check_equations(text: str) -> list[Equation]:
    """Every equation of `text` whose two sides can be worked out, in order. In a chain a = b = c, a = b and b = c are two."""
    return sorted([*_signed_equations(text), *worded_equations(text)], key=lambda equation: equation.start)


def _signed_equations(text: str) -> Iterator[Equation]:
    if "=" not in text and " equal" not in text:
        return
    signs = [match.span() for match in _EQUALS.finditer(text)]
    for number, (start, end) in enumerate(signs):
        before = signs[number - 1][1] if number else 0
        after = signs[number + 1][0] if number + 1 < len(signs) else len(text)
        left = _left(text, before, start, after_sign=number > 0)
        if left is None:
            continue
        right = _right(text, end, after)
        if right is not None and (equation := _compare(text, left, right)):
            bullet = left.tokens[0].text == "-" and left.tokens[0].end < left.tokens[1].start
            if bullet and not equation.correct:
                equation = _compare(text, _Side(left.tokens[1:], left.whole), right) or equation
            yield equation


def _left(text: str, start: int, end: int, after_sign: bool) -> _Side | None:
    """The longest expression that ends where the sign begins; None if there is none or it is part of something else."""
    cut = max(start, end - _LEFT_CHARACTERS)
    line = text.rfind("\n", cut, len(text[cut:end].rstrip()) + cut)
    first = max(cut, line + 1)
    if text[end - 1 : end] in ".,;:!?\"'":
        return None
    found = tokens(text, first, end)
    while found and found[-1].kind == "stop" and found[-1].text == "\n":
        found.pop()
    if (
        [token.kind for token in found[-2:]] == ["word", "word"]
        and found[-1].end == end
        and text[end + 1 : end + 2].isalnum()
    ):
        return None  # a keyword of code: prec=13
    at = _start(found)
    if at is None or (at == 0 and first > start and line < first - 1):
        return None
    return _Side(found[at:], after_sign and at == 0 and first == start) if at < len(found) else None


def _start(found: list[Token]) -> int | None:
    """Where the expression at the end of the tokens begins."""
    depth, at = 0, len(found)
    while at > 0:
        token, following = found[at - 1], found[at] if at < len(found) else None
        begins = following is not None and following.kind in ("number", "open")
        if token.kind in ("stop", "unknown") or (token.kind == "open" and depth == 0):
            break
        if token.kind == "word" and token.text.lower() in _WORDS_OF_CLAUSES and not _is_place(found, at - 1):
            break
        if depth == 0 and following is not None and begins and _is_apart(token, following):
            break
        depth += (token.kind == "close") - (token.kind == "open")
        at -= 1
    while at < len(found) and found[at].kind == "word":
        at += 1
    if depth or at == len(found) or (at and not _may_precede(found, at)):
        return None
    first = found[at]
    if first.kind == "operator":
        begins = at == 0 or found[at - 1].kind == "open" or found[at - 1].text in "\n:;,.>"
        if not begins or first.text not in "-*":
            return None
        at += first.text == "*"
    return at


def _is_apart(token: Token, following: Token) -> bool:
    """Whether an expression begins with `following`, a number or a bracket, because `token` is prose or another number."""
    multiplies = following.kind == "open" and token.end == following.start
    return token.kind == "word" or (token.kind == "number" and not multiplies)


def _is_place(found: list[Token], at: int) -> bool:
    """Whether an article or the like belongs to what is counted: "45 minutes in the washer + 54 minutes in the dryer"."""
    if at == 0 or found[at].text not in _ARTICLES:
        return False
    return found[at - 1].kind == "word" and found[at - 1].text in ("in", "on", "of", "for", "from", "at")


def _may_precede(found: list[Token], at: int) -> bool:
    """Whether the token before `at` leaves the expression whole: "twice 3 + 4", "f(3) + 4" and "n 3 + 4" do not."""
    before, first = found[at - 1], found[at]
    clause = at - 1
    while clause > 0 and found[clause].kind == "word":
        clause -= 1
    if before.kind == "word" and found[clause].kind == "operator" and clause:
        return False
    if before.kind == "unknown" or (before.kind == "stop" and before.end == first.start and before.text in ",.'"):
        return False
    if before.text == "," and at > 1 and found[at - 2].end == before.start and found[at - 2].kind == "number":
        return len(first.text) != 3  # 14, 400 / 80
    if before.kind in ("stop", "open") and at > 1 and found[at - 2].kind == "operator":
        return False
    if before.kind == "number":
        return False
    if before.kind != "word":
        return True
    word = before.text.lower()
    if len(word) == 1 and word not in "ai":
        return False
    earlier = found[at - 2] if at > 1 else None
    if word in ("of", "and", "the") and earlier is not None:
        if earlier.kind == "number" and (word == "of" or _is_fraction(found, at)):
            return False
        if word == "of" and earlier.text.lower() in ("average", "mean"):
            return at > 2 and found[at - 3].text in ("a", "an")  # "the average of 5 + 3 = 4" may be meant
        return not (earlier.kind == "word" and earlier.text.lower() in _FUNCTIONS)
    if word == "by" and earlier is not None and earlier.text.lower() in ("divided", "multiplied", "divide", "multiply"):
        return False
    if word in _LABELS and (earlier is None or earlier.kind != "word" or earlier.text.lower() in _BEFORE_LABELS):
        return False
    return word not in _FUNCTIONS and not (first.kind == "open" and before.end == first.start)


def _right(text: str, start: int, end: int) -> list[_Side] | None:
    """The readings of what follows the sign: the longest expression, and its first number where words or a sign follow."""
    last = min(end, start + _RIGHT_CHARACTERS)
    line = text.find("\n", start, last)
    found = tokens(text, start, last if line < 0 else line)
    if found and found[0].kind == "operator" and found[0].text == "*":
        found.pop(0)
    ends = _ends(found)
    if not ends:
        return None
    if line < 0 and last < end and ends[-1] >= len(found) - 1:
        ends.pop()
    in_chain = last == end < len(text)
    if len(ends) > 1 and not in_chain and not any(token.kind == "word" for token in found[: ends[-2]]):
        ends = ends[-1:]
    return [_Side(found[:at], at == len(found)) for at in reversed(ends)]


def _ends(found: list[Token]) -> list[int]:
    """Where an expression that begins with the first token may end: after each of its operands outside brackets.

    Empty where it is part of something else.
    """
    ends: list[int] = []
    at = 0
    while True:
        signed = at + (at < len(found) and found[at].kind == "operator" and found[at].text in "+-")
        after = _operand_end(found, signed)
        if after is None:
            break
        unit = after < len(found) and found[after].kind == "word" and found[after].text.lower() not in _WORDS_OF_CLAUSES
        ends.append(after + unit)
        operator = _words_end(found, after)
        if operator is None or operator == len(found) or found[operator].kind != "operator":
            return ends if _may_follow(found, after) else []
        at = operator + 1
    if not ends:
        return []
    sign, following = found[at - 1], found[at] if at < len(found) else None
    if following is None or following.kind == "stop":
        return ends
    dash = sign.text == "-" and sign.start > found[at - 2].end and sign.end < following.start
    return ends if dash and following.kind == "word" else []


def _operand_end(found: list[Token], at: int) -> int | None:
    if at == len(found) or found[at].kind not in ("number", "open"):
        return None
    depth = 0
    while at < len(found):
        depth += (found[at].kind == "open") - (found[at].kind == "close")
        at += 1
        if depth == 0:
            return at
    return None


def _words_end(found: list[Token], at: int) -> int | None:
    """Where a unit that begins at `at` ends; None where the words are no unit."""
    for position in range(at, min(at + _UNIT_WORDS + 1, len(found) + 1)):
        if position == len(found) or found[position].kind != "word":
            return position
        if found[position].text.lower() in _WORDS_OF_CLAUSES:
            return None
    return None


def _may_follow(found: list[Token], at: int) -> bool:
    """Whether the tokens from `at` leave the result before them whole: "remainder 1", "1/2" and an unknown sign do not."""
    following = found[at : at + 3]
    if following and following[0].kind in ("unknown", "number"):
        return False
    if following and following[0].kind == "open" and following[0].start == found[at - 1].end:
        return False
    words = [token.text.lower() for token in following if token.kind == "word"]
    if "remainder" in words or (words and following[0].kind == "word" and words[0] in _NOT_AFTER_RESULT):
        return False
    if words and words[0] == "and" and _is_fraction(found, at + 1):
        return False
    kinds = [token.kind for token in following[:2]]
    return kinds != ["word", "number"] or words[0] not in _SIZES  # 3 hours 20 minutes


def _is_fraction(found: list[Token], at: int) -> bool:
    """Whether a fraction begins at `at`, which may stand in brackets."""
    at += at < len(found) and found[at].kind == "open"
    if at == len(found) or found[at].kind != "number":
        return False
    return found[at].value.denominator > 1 or (at + 1 < len(found) and found[at + 1].text == "/")


def _compare(text: str, left: _Side, rights: list[_Side]) -> Equation | None:
    if not _is_checked(left, rights[0]):
        return None
    first: tuple[Fraction, Fraction] | None = None
    for right in rights:
        for reading in _readings(left, right):
            values = evaluate(left.tokens, reading), evaluate(right.tokens, reading)
            if values[0] is None or values[1] is None:
                return None
            both = values[0], values[1]
            first = first or both
            if _agree(both[0], both[1], right):
                return _equation(text, left, rights[0], both, True)
    if first is None or _is_unclear(left, rights[0], *first):
        return None
    return _equation(text, left, rights[0], first, _is_whole_part(text, rights[0], *first))


def _readings(left: _Side, right: _Side) -> Iterator[Reading]:
    """Percentages may be plain numbers where the result is one too, where they are only added, and for "3 / 4 * 100% = 75"."""
    signs = {token.text for token in left.tokens if token.kind == "operator"}
    percentages = {token.value for token in left.tokens if token.percent}
    plain = any(token.percent for token in right.tokens) or signs <= {"+", "-"} or percentages == {100}
    return (reading for reading in _READINGS if reading.percent or plain)


def _is_checked(left: _Side, right: _Side) -> bool:
    """Whether two expressions beside a sign are meant to be equal as numbers: "1/4 = 3 people" and "Day 1 = 5" are not."""
    if not left.operators and not right.operators and len(left.tokens) == len(right.tokens) == 1:
        ((share,), (other,)) = sorted((left.tokens, right.tokens), key=lambda side: not side[0].percent)
        if share.percent and not other.percent:
            return other.decimals > 0 and other.value < 1 and not other.currency
    if not left.operators and not left.whole:
        return False
    if not left.operators and not right.operators:
        return left.words[:1] == right.words
    if _is_share(left.tokens):
        result = right.tokens[0]
        number = result.percent or result.value < 1 or result.decimals
        return right.lone and not right.words and not result.currency and bool(number)
    return True


def _is_share(expression: list[Token]) -> bool:
    """Whether this is a fraction of something, which may equal any quantity: "1/4 = 3 people", "2/5 of the land = 8 acres"."""
    numbers = [token for token in expression if token.kind == "number"]
    if len(numbers) == 1:
        return len(expression) == 1 or expression[1].text == "of"
    if len(numbers) > 2 or expression[0].kind != "number" or expression[1].text != "/":
        return False
    top, bottom = numbers
    if top.currency or top.decimals:
        return False
    return top.end + 1 == bottom.start and top.value < bottom.value and (bottom.value <= 12 or bottom.value == 100)


def _is_unclear(left: _Side, right: _Side, left_value: Fraction, right_value: Fraction) -> bool:
    """Whether sides that differ may still mean the same: units are converted, or letters are variables."""
    both = [*left.tokens, *right.tokens]
    adds = any(token.kind == "operator" and token.text in "+-" for token in both)
    if _has_variables(left.tokens, right.tokens, adds):
        return True
    if (adds and _has_relative_percentage(left.tokens)) or any(_is_list(both[at : at + 5]) for at in range(len(both))):
        return True
    words = ["$" if token.currency else token.text.lower() for token in both if token.kind == "word" or token.currency]
    sizes = {_SIZES[word] for word in words if word in _SIZES}
    for (dimension, size), (other, larger) in product(sizes, sizes):
        if dimension == other and size < larger:
            return (
                adds
                or larger * abs(left_value) == size * abs(right_value)
                or larger * abs(right_value) == size * abs(left_value)
            )
    numbers = [token for token in left.tokens if token.kind == "number"]
    is_range = len(numbers) == 2 and numbers[0].end + 1 == numbers[1].start  # pages 10-20 = 10 pages
    return is_range and adds and left_value < 0 < right_value


def _is_list(five: list[Token]) -> bool:
    """Whether three numbers are written as 10/15/20: alternatives or a date as often as quotients."""
    slashes = [token.kind for token in five[::2]] == ["number"] * 3 and [token.text for token in five[1::2]] == [
        "/",
        "/",
    ]
    return slashes and all(left.end == right.start for left, right in pairwise(five))


def _has_relative_percentage(left: list[Token]) -> bool:
    """Whether a percentage is added to something that is none: 50 + 20% is 60 to some."""
    padded = [None, *left, None]
    for before, token, following in zip(padded, left, padded[2:], strict=False):
        added = before is not None and before.kind == "operator" and before.text in "+-"
        if token.percent and added and (following is None or following.kind != "operator" or following.text in "+-"):
            return not all(number.percent for number in left if number.kind == "number")
    return False


def _has_variables(left: list[Token], right: list[Token], adds: bool) -> bool:
    """Whether the letters close to numbers are rather variables than units: 9s + 13 = 130, but not 2m * 3 = 6m."""
    letters = [[_letter(token, following) for token, following in pairwise([*side, None])] for side in (left, right)]
    kinds = [set(filter(None, side)) for side in letters]
    if not kinds[0] and not kinds[1]:
        return False
    divides = not kinds[1] and [token.text for token in left if token.kind == "operator"] == ["/"]
    return (kinds[0] != kinds[1] and not divides) or (adds and "" in (*letters[0], *letters[1]))


def _letter(token: Token | None, following: Token | None) -> str | None:
    """The letter close to a number, empty if there is none; None for what is no number."""
    if token is None or token.kind != "number":
        return None
    close = (
        following is not None and following.start == token.end and following.kind == "word" and len(following.text) == 1
    )
    return following.text if following and close else ""


def _is_whole_part(text: str, right: _Side, left_value: Fraction, right_value: Fraction) -> bool:
    """Whether a whole number is given for a quotient beside it, and the text goes on about the rest or the rounding."""
    if not right.lone or right_value.denominator > 1 or abs(left_value - right_value) >= 1:
        return False
    end = right.tokens[-1].end
    return _WHOLE.search(text, end, end + _WHOLE_CHARACTERS) is not None


def _agree(left: Fraction, right: Fraction, side: _Side) -> bool:
    """Whether `right` is `left`, or `left` rounded or cut to the decimals that the one number of `side` shows."""
    if left == right:
        return True
    number = next((token for token in side.tokens if token.kind == "number" and side.lone), None)
    if number is None or not number.decimals:
        return False
    scale = abs(right / number.value) if number.value else Fraction(1)  # larger for 1.33 million, smaller for 33.3%
    last_place = scale / Fraction(10**number.decimals)
    return abs(left - right) <= last_place / 2 or 0 < (left - right) * (1 if right > 0 else -1) < last_place


def _equation(text: str, left: _Side, right: _Side, values: tuple[Fraction, Fraction], correct: bool) -> Equation:
    start, end = left.tokens[0].start, right.tokens[-1].end
    return Equation(text[start:end], start, *values, correct)
