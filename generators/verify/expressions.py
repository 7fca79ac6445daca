"""Values of written expressions: + - * / ^, brackets, square roots, pi and single-letter variables.

A tokeniser and a parser of our own build the value; no text is ever handed to Python or to sympy. Rational numbers stay
Fractions, everything else is a quotient of two expanded sympy expressions. Two values are the same when their difference,
over a common denominator, expands to zero: exact for rational functions, pi and square roots of rational numbers. Nothing
is decided by floating point. Work is bounded by counts, not by a clock: length, tokens, depth, exponents, bits, term products.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, NamedTuple

LONGEST = 200  # characters
_MOST_TOKENS = 120  # about two for a node of the tree
_DEEPEST = 20
_LARGEST_EXPONENT = 64
_LARGEST_BITS = 2048
_PRODUCTS = 1_000  # of terms, per value and per comparison: some tenths of a second in sympy

_TOKEN = re.compile(
    r"\s*(?:(?P<mixed>[0-9]+\s+[0-9]+\s*/\s*[0-9]+(?!\s*[0-9./^]))"
    r"|(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)(?P<power>[eE][+-]?[0-9]{1,4})?"
    r"|(?P<letters>[A-Za-z]+)|(?P<operator>\*\*|[-+*/^()]))\s*"
)
# A date or a range is not a calculation, and 007 is not written by somebody who calculates.
_NO_CALCULATION = re.compile(r"[0-9]+(?:-[0-9]+)+|[0-9]+(?:/[0-9]+){2,}|.*(?<![0-9.,])0[0-9].*")


class _Unreadable(Exception):
    """The text is no expression, or one beyond the limits."""


class Quotient(NamedTuple):
    """A value that is no rational number: two expanded sympy expressions, the second of them not zero."""

    over: Any
    under: Any


Value = Fraction | Quotient


def value(text: str) -> Value | None:
    """The value of an expression; None where it is none, has none (1/0), or is beyond the limits."""
    if len(text) > LONGEST or _NO_CALCULATION.fullmatch(text.strip()):
        return None
    try:
        return _Parser(_tokens(text)).parse()
    except (_Unreadable, ZeroDivisionError):
        return None


def same_value(left: Value, right: Value) -> bool:
    """Whether two values are the same number or the same function of their variables; False beyond the limits."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    work = _Work()
    try:
        a, b = _quotient(left), _quotient(right)
        return bool(_expanded(a.over, b.under, work) - _expanded(b.over, a.under, work) == 0)
    except _Unreadable:
        return False


def _tokens(text: str) -> list[str | Fraction]:
    """Numbers as Fractions; operators, `sqrt`, `pi` and variables as words."""
    found: list[str | Fraction] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or len(found) > _MOST_TOKENS:
            raise _Unreadable
        position = match.end()
        if match["letters"]:
            found.extend(_letters(match["letters"], text[: match.start("letters")][-1:].isdecimal()))
        elif match["operator"]:
            found.append("^" if match["operator"] == "**" else match["operator"])
        else:
            found.append(_mixed(match["mixed"]) if match["mixed"] else _number(match["number"], match["power"]))
    return found


def _letters(run: str, after_digit: bool) -> list[str]:
    """Variables side by side are a product only right behind a number (2xy): elsewhere they are a word."""
    if run.lower() in ("sqrt", "pi"):
        return [run.lower()]
    if len(run) > (3 if after_digit else 1):
        raise _Unreadable
    return list(run)


def _number(digits: str, power: str | None) -> Fraction:
    exponent = int(power[1:]) if power else 0
    if abs(exponent) > _LARGEST_EXPONENT:
        raise _Unreadable
    return Fraction(digits.replace(",", "")) * Fraction(10) ** exponent


def _mixed(text: str) -> Fraction:
    whole, over, under = (int(part) for part in re.findall(r"[0-9]+", text))
    if over >= under:
        raise _Unreadable
    return whole + Fraction(over, under)


class _Work:
    """Counts products of terms against the limit."""

    def __init__(self) -> None:
        self._left = _PRODUCTS

    def spend(self, products: int) -> None:
        """Raises when the limit is passed."""
        self._left -= products
        if self._left < 0:
            raise _Unreadable


class _Parser:
    """Precedence climbing: sums, then products (also unwritten ones), then signs, then powers."""

    def __init__(self, tokens: list[str | Fraction]) -> None:
        self._tokens = tokens
        self._at = self._depth = 0
        self._work = _Work()

    def parse(self) -> Value:
        """The value of all tokens."""
        result = self._sum()
        if self._next() is not None:
            raise _Unreadable
        return result

    def _next(self) -> str | Fraction | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self) -> str | Fraction:
        token = self._next()
        self._at += 1
        if token is None:
            raise _Unreadable
        return token

    def _sum(self) -> Value:
        result = self._product()
        while self._next() in ("+", "-"):
            minus = self._take() == "-"
            term = self._product()
            result = _sum(result, _negated(term) if minus else term, self._work)
        return result

    def _product(self) -> Value:
        result, divided = self._signed(), False
        while (token := self._next()) is not None and token not in ("+", "-", ")", "^"):
            if token in ("*", "/"):
                self._take()
                divided = token == "/"
                factor = self._signed()
                result = _divided(result, factor, self._work) if divided else _product(result, factor, self._work)
            elif divided or isinstance(token, Fraction):
                raise _Unreadable  # 1/2x is read both ways, and two numbers side by side are no product
            else:
                result = _product(result, self._power(), self._work)
        return result

    def _signed(self) -> Value:
        if self._next() in ("+", "-"):
            self._deeper()
            minus = self._take() == "-"
            result = self._signed()
            result = _negated(result) if minus else result
            self._depth -= 1
            return result
        return self._power()

    def _power(self) -> Value:
        base = self._atom()
        if self._next() != "^":
            return base
        self._take()
        self._deeper()
        exponent = self._signed()
        self._depth -= 1
        return _power(base, exponent, self._work)

    def _atom(self) -> Value:
        token = self._take()
        if isinstance(token, Fraction):
            return token
        if token == "(":
            self._deeper()
            result = self._sum()
            self._depth -= 1
            if self._take() != ")":
                raise _Unreadable
            return result
        if token == "sqrt":
            self._deeper()
            result = _root(self._atom(), self._work)
            self._depth -= 1
            return result
        if not token.isalpha():
            raise _Unreadable
        return _named(token)

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _Unreadable


def _named(name: str) -> Quotient:
    import sympy

    return Quotient(sympy.pi if name == "pi" else sympy.Symbol(name), sympy.Integer(1))


def _quotient(one: Value) -> Quotient:
    """Any value as a quotient."""
    import sympy

    if isinstance(one, Quotient):
        return one
    return Quotient(sympy.Rational(one.numerator, one.denominator), sympy.Integer(1))


def _simplest(over: Any, under: Any) -> Value:
    """A Fraction where it is one."""
    if under == 0:
        raise ZeroDivisionError
    if over == 0:
        return Fraction(0)
    if over.is_Rational and under.is_Rational:
        ratio = over / under
        return Fraction(int(ratio.p), int(ratio.q))
    return Quotient(over, under)


def _negated(one: Value) -> Value:
    return -one if isinstance(one, Fraction) else Quotient((-1 * one.over).expand(), one.under)


def _sum(left: Value, right: Value, work: _Work) -> Value:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left + right
    a, b = _quotient(left), _quotient(right)
    over = _expanded(a.over, b.under, work) + _expanded(b.over, a.under, work)
    return _simplest(over, _expanded(a.under, b.under, work))


def _product(left: Value, right: Value, work: _Work) -> Value:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left * right
    a, b = _quotient(left), _quotient(right)
    return _simplest(_expanded(a.over, b.over, work), _expanded(a.under, b.under, work))


def _divided(left: Value, right: Value, work: _Work) -> Value:
    if isinstance(right, Fraction):
        return _product(left, 1 / right, work)
    return _product(left, _simplest(right.under, right.over), work)


def _power(base: Value, exponent: Value, work: _Work) -> Value:
    if not isinstance(exponent, Fraction) or exponent.denominator != 1 or abs(exponent) > _LARGEST_EXPONENT:
        raise _Unreadable
    count = int(exponent)
    if count == 0 and base == 0:
        raise ZeroDivisionError
    if isinstance(base, Fraction):
        if (base.numerator.bit_length() + base.denominator.bit_length()) * abs(count) > _LARGEST_BITS:
            raise _Unreadable
        return base**count
    result: Value = Fraction(1)
    for bit in f"{abs(count):b}":
        result = _product(result, result, work)
        result = _product(result, base, work) if bit == "1" else result
    return _divided(Fraction(1), result, work) if count < 0 else result


def _root(one: Value, work: _Work) -> Value:
    """The square root of a positive rational number, or of a sum without denominator and without roots."""
    import sympy

    inner = _quotient(one)
    if not inner.under.is_Rational:
        raise _Unreadable
    whole = _expanded(inner.over, 1 / inner.under, work)
    if whole.is_negative or any(not power.exp.is_Integer for power in whole.atoms(sympy.Pow)):
        raise _Unreadable
    return _simplest(sympy.sqrt(whole), sympy.Integer(1))


def _expanded(left: Any, right: Any, work: _Work) -> Any:
    """The expanded product of two expanded expressions."""
    import sympy

    if left == 1 or right == 1:
        return right if left == 1 else left
    (left_terms, left_bits), (right_terms, right_bits) = _size(left), _size(right)
    work.spend(left_terms * right_terms)
    if left_bits + right_bits > _LARGEST_BITS:
        raise _Unreadable
    return sympy.expand(left * right)


def _size(one: Any) -> tuple[int, int]:
    """Number of terms, and bits of the largest coefficient."""
    factors = one.as_coefficients_dict().values()
    return len(factors), max((int(c.p).bit_length() + int(c.q).bit_length() for c in factors), default=0)
