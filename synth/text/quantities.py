"""Numbers and operators in prose, read exactly: the tokens of an expression, and what it comes to as a Fraction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal, NamedTuple

Kind = Literal["number", "operator", "open", "close", "word", "stop", "unknown"]

_MOST_TOKENS = 64
_DEEPEST_NESTING = 12
_LARGEST_EXPONENT = 64
_LARGEST_BITS = 1024  # of a numerator or denominator

_VULGAR = {
    "½": (1, 2),
    "⅓": (1, 3),
    "⅔": (2, 3),
    "¼": (1, 4),
    "¾": (3, 4),
    "⅕": (1, 5),
    "⅖": (2, 5),
    "⅗": (3, 5),
    "⅘": (4, 5),
    "⅙": (1, 6),
    "⅚": (5, 6),
    "⅛": (1, 8),
    "⅜": (3, 8),
    "⅝": (5, 8),
    "⅞": (7, 8),
}
_OPERATORS = {
    "+": "+",
    "plus": "+",
    "-": "-",
    "−": "-",
    "–": "-",
    "minus": "-",
    **dict.fromkeys(("*", "×", "·", "∙", "⋅", "x", "X", r"\times", r"\cdot", "times", "multiplied by"), "*"),
    **dict.fromkeys(("/", "÷", "⁄", "∕", r"\div", "divided by"), "/"),
    "^": "^",
    "**": "^",
    "of": "of",
}
_MULTIPLIERS = {
    "k": 10**3,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "hundred": 100,
    "dozen": 12,
    "dozens": 12,
}
# A single letter that is none of these is a variable. Close to a number, capitals and `a` are too: 3C, 2a.
_UNIT_LETTERS, _GLUED_UNIT_LETTERS = frozenset("aAIgmlhskLCF"), frozenset("gmlhsk")
_POWER_UNIT = re.compile(r"(?:[ckm]?m|ft|in|yd|mi|feet|inches|meters)\^?\{?[23]\}?")
_NOT_UNITS = frozenset(("am", "pm", "a.m", "p.m", "mod"))
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "of": 2, "^": 4}

_OPERAND = rf"[0-9.$€£¥₹(\\{''.join(_VULGAR)}]"
_TOKEN = re.compile(
    r"(?P<space>(?:[ \t\u00a0\u202f\u2009&`_]|\\[,;!: ()\[\]]|\\(?:left|right)(?![a-z]))+)"
    r"|(?P<number>(?P<currency>(?:US)?\\?\$\s?|[€£¥₹]\s?)?(?:"
    r"\\[dt]?frac\{(?P<top>[0-9]{1,9})\}\{(?P<bottom>[0-9]{1,9})\}"
    r"|(?P<whole>[0-9]{1,6}) (?P<mixed_top>[0-9]{1,4})/(?P<mixed_bottom>[0-9]{1,4})(?![0-9/]|[.,:][0-9])"
    rf"|(?P<vulgar_whole>[0-9]{{1,6}})? ?(?P<vulgar>[{''.join(_VULGAR)}])"
    r"|(?P<plain>[0-9](?:[0-9,.:]*[0-9])?|\.[0-9]+))"
    r"(?P<percent>(?:\.\.\.|…)?\s?\\?%(?!\s?[0-9])|\spercent\b|\sper\scent\b)?[¢€£]?)"
    r"|(?P<superscript>[²³])"
    rf"|(?P<operator>\\(?:times|cdot|div)(?![a-z])|\*\*|[-+*/×÷−–·∙⋅^⁄∕]|[xX](?=\s?{_OPERAND})"
    rf"|(?:plus|minus|times|multiplied by|divided by|of)(?=\s{_OPERAND}))"
    r"|\\text\{(?P<text>[^{}]{0,40})\}"
    r"|(?P<word>(?:[ckm]m|ft|in|yd|mi|feet|inches|meters)\^\{?[23]\}?|(?:sq|ft|lbs?|oz|hrs?|mins?|gal)\.(?=\s?(?:[-+*/×÷]|ft\b|\Z))|[^\W\d_][\w'’]*(?:[-/.&][^\W\d_][\w'’]*)*)"
    r"|(?P<open>\()|(?P<close>\))"
    r"|(?P<dollar>\\?\$|[€£¥₹¢])"
    r"|(?P<stop>[,.;:!?\"'“”‘’\n\r|>\[\]{}—…])"
    r"|(?P<unknown>.)",
    re.DOTALL,
)
_PLAIN = re.compile(r"(?:0|[1-9][0-9]{0,17}|[1-9][0-9]{0,2}(?:,[0-9]{3}){1,5})?(?:\.(?P<decimals>[0-9]{1,18}))?")


@dataclass(frozen=True, slots=True)
class Equation:
    """An equation as it stands in a text: its characters, their offset, what its sides come to, and whether it holds."""

    text: str
    start: int
    left: Fraction
    right: Fraction
    correct: bool


class Token(NamedTuple):
    """A token; `start` and `end` are offsets in the text. `text` of an operator is one of `+ - * / ^ of`.

    A number has a value (as it is written: 50% is 50) and the decimals that it shows.
    """

    kind: Kind
    text: str
    start: int
    end: int
    value: Fraction = Fraction(0)
    decimals: int = 0
    percent: bool = False
    currency: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """How an expression is understood.

    `percent`: 50% is 0.5, not 50. `multipliers`: 3 million is 3,000,000, not 3 of a unit. `fractions`: 25 / 1/3 is 25 / (1/3).
    """

    percent: bool = True
    multipliers: bool = True
    fractions: bool = False


class _UnclearError(Exception):
    """The tokens are no expression with one agreed meaning, or what they come to is out of bounds."""


def tokens(text: str, start: int, end: int) -> list[Token]:
    """The tokens of `text[start:end]` without whitespace, emphasis and rates (the `/hour` of `$5/hour`).

    What cannot be understood (variables, times, dates, ordinals, symbols) becomes tokens of the kind `unknown`.
    """
    found: list[Token] = []
    for match in _TOKEN.finditer(text, start, end):
        kind = match.lastgroup
        if kind == "number":
            found.append(_number(match))
        elif kind in ("word", "text"):
            _add_word(found, match)
        elif kind == "operator":
            _add_operator(found, match)
        elif kind == "superscript":
            power = Fraction("²³".index(match[0]) + 2)
            found.append(Token("operator", "^", match.start(), match.end()))
            found.append(Token("number", match[0], match.start(), match.end(), power))
        elif kind == "close":
            _close(found, match)
        elif kind not in ("space", "dollar"):
            found.append(Token(kind, match[0], match.start(), match.end()))  # type: ignore[arg-type]
    return found


def _close(found: list[Token], match: re.Match[str]) -> None:
    """Add a closing bracket; one around words alone explains a number, as in `$9 (phone)`, and is left out."""
    opened = len(found) - 1
    while opened > 0 and found[opened].kind == "word":
        opened -= 1
    if 0 < opened < len(found) - 1 and found[opened].kind == "open" and found[opened - 1].end < found[opened].start:
        del found[opened:]
    else:
        found.append(Token("close", ")", *match.span()))


def _number(match: re.Match[str]) -> Token:
    start, end = match.span()
    percent, currency = match["percent"] is not None, match["currency"] is not None
    if (plain := match["plain"]) is not None:
        well_formed = _PLAIN.fullmatch(plain)
        if well_formed is None:
            return Token("unknown", match[0], start, end)
        decimals = len(well_formed["decimals"] or "")
        value = Fraction(int(plain.replace(",", "").replace(".", "")), 10**decimals)
        return Token("number", match[0], start, end, value, decimals, percent, currency)
    if match["vulgar"] is not None:
        top, bottom = _VULGAR[match["vulgar"]]
        whole = int(match["vulgar_whole"] or 0)
    elif match["whole"] is not None:
        whole, top, bottom = (int(match[name]) for name in ("whole", "mixed_top", "mixed_bottom"))
    else:
        whole, top, bottom = 0, int(match["top"]), int(match["bottom"])
    if bottom == 0 or (whole and top >= bottom):
        return Token("unknown", match[0], start, end)
    return Token("number", match[0], start, end, whole + Fraction(top, bottom), 0, percent, currency)


def _add_operator(found: list[Token], match: re.Match[str]) -> None:
    after_operand = bool(found) and found[-1].kind in ("number", "close", "word")
    operator = match[0]
    if operator == "**":
        following = match.string[match.end() : match.end() + 2].lstrip()[:1]
        if not (after_operand and (following.isdecimal() or following == "(")):
            return  # bold
    if operator in ("x", "X") and not after_operand:
        found.append(Token("unknown", operator, *match.span()))
    elif operator == "of" and not (found and _is_share(found)):
        found.append(Token("word", operator, *match.span()))
    else:
        found.append(Token("operator", _OPERATORS[operator], *match.span()))


def _is_share(found: list[Token]) -> bool:
    """Whether the last token is a percentage or a fraction, of which there may be one."""
    last = found[-1]
    divided = len(found) > 2 and found[-2].text == "/" and found[-2].end == last.start
    return last.kind == "number" and (last.percent or last.value.denominator > 1 or divided)


def _add_word(found: list[Token], match: re.Match[str]) -> None:
    word = match[0] if match["text"] is None else match["text"].strip()
    kind: Kind = "word"
    glued = bool(found) and found[-1].end == match.start()
    if len(word) == 1 and word not in (_GLUED_UNIT_LETTERS if glued else _UNIT_LETTERS):
        kind = "unknown"
    if found and found[-1].kind == "number" and word.lower() in _NOT_UNITS:
        kind = "unknown"
    if not word.isalpha() and any(character.isdecimal() for character in word) and not _POWER_UNIT.fullmatch(word):
        kind = "unknown"
    if len(found) > 1 and kind == "word" and found[-1].kind == "operator" and found[-2].kind != "operator":
        _join_unit(found, match.start())
    found.append(Token(kind, word, *match.span()))


def _join_unit(found: list[Token], start: int) -> None:
    """Take off the operator at the end of `found` where it and a word at `start` are a unit: 5-ounce, $5/hour, 6 km / hour."""
    operator, before = found[-1], found[-2]
    glued = operator.end == start
    if (operator.text == "/" and (glued or before.kind == "word" or before.currency)) or (
        operator.text == "-" and glued and before.end == operator.start
    ):
        found.pop()


def evaluate(expression: Sequence[Token], reading: Reading) -> Fraction | None:
    """What the tokens come to, words being units that are passed over; None where that is not clear or out of bounds."""
    if not 0 < len(expression) <= _MOST_TOKENS:
        return None
    parser = _Parser(expression, reading)
    try:
        value = parser.expression(1, 0)
    except (_UnclearError, ZeroDivisionError):
        return None
    return value if parser.at == len(expression) else None


class _Parser:
    """Precedence climbing over the tokens of one expression."""

    def __init__(self, expression: Sequence[Token], reading: Reading) -> None:
        self.at = 0
        self._tokens, self._reading = expression, reading

    def expression(self, least: int, depth: int) -> Fraction:
        """The value of the longest expression from here whose operators bind at least as strongly as `least`."""
        if depth > _DEEPEST_NESTING:
            raise _UnclearError
        value, divided = self._operand(depth), False
        while (operator := self._operator()) and _PRECEDENCE[operator] >= least:
            if self._kind(self.at) == "operator":
                self.at += 1
            elif divided:
                raise _UnclearError  # 8 / 2(2 + 2)
            power = operator == "^"
            right = self.expression(_PRECEDENCE[operator] + (not power), depth + power)
            value = _bounded(_apply(operator, value, right))
            divided = operator == "/"
        return value

    def _kind(self, at: int) -> Kind | None:
        return self._tokens[at].kind if at < len(self._tokens) else None

    def _operator(self) -> str | None:
        """The operator that stands here; a bracket right after a number or a bracket multiplies."""
        if (kind := self._kind(self.at)) == "operator":
            return self._tokens[self.at].text
        if kind == "open" and self._tokens[self.at - 1].end == self._tokens[self.at].start:
            return "*"
        return None

    def _operand(self, depth: int) -> Fraction:
        kind = self._kind(self.at)
        if kind == "operator" and self._tokens[self.at].text in ("-", "+" if self.at == 0 else "-"):
            return self._signed(depth)
        if kind == "open":
            self.at += 1
            value = self.expression(1, depth + 1)
            if self._kind(self.at) != "close":
                raise _UnclearError
            self.at += 1
        elif kind == "number":
            value = self._number()
        else:
            raise _UnclearError
        after = self.at
        while self._kind(self.at) == "word":
            self.at += 1
        if self.at > after and self._operator() == "^":
            raise _UnclearError  # 1/2 mv^2
        return value

    def _signed(self, depth: int) -> Fraction:
        negative = self._tokens[self.at].text == "-"
        self.at += 1
        value = self._operand(depth + 1)
        if self._operator() == "^":
            raise _UnclearError  # -2^2 is 4 to some
        return -value if negative else value

    def _number(self) -> Fraction:
        token = self._tokens[self.at]
        self.at += 1
        value = token.value / 100 if token.percent and self._reading.percent else token.value
        if self._kind(self.at) == "word" and self._reading.multipliers:
            value *= _MULTIPLIERS.get(self._tokens[self.at].text.lower(), 1)
        elif self._reading.fractions and self._is_fraction():
            value /= self._tokens[self.at + 1].value
            self.at += 2
        return value

    def _is_fraction(self) -> bool:
        """Whether the number before this place is the top of a fraction that is written closely, as in 3 / 1/4."""
        close = self._tokens[self.at - 1 : self.at + 2]
        kinds = [token.kind for token in close]
        closely = all(left.end == right.start for left, right in pairwise(close))
        return kinds == ["number", "operator", "number"] and close[1].text == "/" and closely


def _apply(operator: str, left: Fraction, right: Fraction) -> Fraction:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "/":
        return left / right
    if operator != "^":
        return left * right
    if right.denominator != 1 or abs(right) > _LARGEST_EXPONENT:
        raise _UnclearError
    return left**right.numerator  # an int: Fraction ** Fraction may leave the rationals


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _LARGEST_BITS:
        raise _UnclearError
    return value
