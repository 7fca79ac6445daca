"""Arithmetic that is said in words: "16 plus 4 is 20", "half of 40 is 20", "20% of 50 is 10", "the sum of 3 and 4 is 7"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from synth.text.quantities import Equation, Reading, evaluate, tokens

_NUMBER = r"(?:(?<![\w.,:/$-])\$?[0-9](?:[0-9,]{0,20}[0-9])?(?:\.[0-9]{1,12})?)"
_OPERATORS = {"plus": "+", "minus": "-", "times": "*", "multiplied by": "*", "divided by": "/"}
_SHARES = {
    "half of": "1/2",
    "half": "1/2",
    "one half of": "1/2",
    "a third of": "1/3",
    "one third of": "1/3",
    "one-third of": "1/3",
    "two thirds of": "2/3",
    "two-thirds of": "2/3",
    "a quarter of": "1/4",
    "one quarter of": "1/4",
    "three quarters of": "3/4",
    "three-quarters of": "3/4",
    "a fifth of": "1/5",
    "one fifth of": "1/5",
    "a tenth of": "1/10",
    "twice": "2",
    "double": "2",
    "triple": "3",
}
_PAIRS = {"sum of": "+", "product of": "*", "difference of": "-", "difference between": "-", "quotient of": "/"}
# One of these stands in every text that says arithmetic in words: looking for them is much cheaper than the pattern.
_CUES = (
    *(" plus ", " minus ", " times ", "tiplied by ", "ivided by ", "% of ", "ercent of ", "alf ", "third", "quarter"),
    *("fifth of", "tenth of", "wice ", "ouble ", "riple ", "sum of ", "product of ", "difference ", "quotient "),
)
_WORDED = re.compile(
    rf"(?:(?P<chain>{_NUMBER}(?:\s(?:{'|'.join(_OPERATORS)})\s{_NUMBER}){{1,12}})"
    rf"|(?P<percent>{_NUMBER})(?:%|\spercent)\sof\s(?P<base>{_NUMBER})"
    rf"|\b(?P<share>{'|'.join(_SHARES)})\s(?P<whole>{_NUMBER})"
    rf"|\bthe\s(?P<pair>{'|'.join(_PAIRS)})\s(?P<first>{_NUMBER})\sand\s(?P<second>{_NUMBER}))"
    rf"(?:\s[a-z]{{3,20}})?(?:\s(?P<verb>is|equals|is equal to|makes|gives)\s|\s?=\s?)(?P<result>{_NUMBER})"
    r"(?!\s?(?:%|percent|more|less|fewer|times|plus|minus|and|of|out|or|to|over|multiplied|divided|hundred|thousand|million"
    r"|billion|dozen|x\b|[-+*/×÷−–=^])|[\w:/-]|[.,][0-9])",
    re.IGNORECASE,
)
# "4 more than half of 40 is 24": the words are the whole left side only at the beginning of a clause.
_CLAUSE = re.compile(
    r"(?:\A|[\n.:;!?(—\"“]|\b(?:so|then|thus|therefore|because|since|that|but|hence|know|means|now),?\s|,\s(?:and\s)?)\s?\Z",
    re.IGNORECASE,
)
_CLAUSE_CHARACTERS = 16


def worded_equations(text: str) -> Iterator[Equation]:
    """The equations of `text` that are said in words, in order. Results may be rounded or cut, to whole numbers as well."""
    lowered = text.lower()
    if not any(cue in lowered for cue in _CUES):
        return
    for match in _WORDED.finditer(text):
        signed = match["verb"] is None or "equal" in match["verb"].lower()
        if signed and (match["chain"] or match["percent"]):
            continue  # check_equations finds it by its sign
        if not _CLAUSE.search(text[max(0, match.start() - _CLAUSE_CHARACTERS) : match.start()]):
            continue
        left, right = _value(_symbols(match)), _value(match["result"])
        if left is None or right is None:
            continue
        if match["pair"] is not None and match["pair"].lower().startswith("difference"):
            left = abs(left)
        decimals = len(match["result"].partition(".")[2])
        last_place = Fraction(1, 10**decimals)
        correct = abs(left - right) <= last_place / 2 or 0 < left - right < last_place
        yield Equation(match[0], match.start(), left, right, correct)


def _symbols(match: re.Match[str]) -> str:
    """The left side in signs."""
    if match["chain"] is not None:
        return str(match["chain"])
    if match["percent"] is not None:
        return f"{match['percent']} / 100 * {match['base']}"
    if match["share"] is not None:
        return f"{_SHARES[' '.join(match['share'].lower().split())]} * {match['whole']}"
    return f"{match['first']} {_PAIRS[match['pair'].lower()]} {match['second']}"


def _value(expression: str) -> Fraction | None:
    return evaluate(tokens(expression.lower(), 0, len(expression)), Reading())
