"""Units behind a number: known ones with what they come to, unknown ones as a set of words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_MOST_WORDS = 8
_KNOWN = {  # dimension -> its units: their names, and the size in the first of them
    "time": "second sec s 1, minute min 60, hour hr h 3600, day 86400, week wk 604800",
    "months": "month mo 1, year yr 12, decade 120, century 1200",
    "length": "meter metre m 1, millimeter millimetre mm 1/1000, centimeter centimetre cm 1/100, kilometer kilometre km 1000, "
    "inch in 127/5000, foot ft 381/1250, yard yd 1143/1250, mile mi 201168/125",
    "mass": "gram gramme g 1, milligram mg 1/1000, kilogram kilo kg 1000, tonne 1000000",
    "pounds": "pound lb 1, ounce oz 1/16",
    "volume": "liter litre l 1, milliliter millilitre ml 1/1000",
    "cups": "cup 1, pint pt 2, quart qt 4, gallon gal 16, tablespoon tbsp 1/16",
    "dollars": "dollar usd buck 1, cent ¢ 1/100",
    "euros": "euro eur € 1",
    "sterling": "gbp £ 1",
    "yen": "yen jpy ¥ 1",
    "percent": "percent pct 1",
    "angle": "degree deg 1",
    "": "dozen 12",
}
_SIZES = {
    word: (dimension, Fraction(size))
    for dimension, units in _KNOWN.items()
    for *names, size in map(str.split, units.split(","))
    for word in names
}
_SHORT = {"mph": "mile/hour", "kph": "kilometer/hour", "kmh": "kilometer/hour", "sq": "square", "cu": "cubic"}
_SHORTENED = re.compile(rf"\b(?:{'|'.join(_SHORT)})\b")
_EVERY = re.compile(r"\bper\b|\b(?:an?|each|every)\b(?=\s+(?:second|minute|hour|day|week|month|year)\b)")
_INSIDE = re.compile(r"\bin\b(?=\s+\S)")  # not an inch
_PLURALS = (
    "feet foot, people person, children child, men man, women woman, mice mouse, geese goose, teeth tooth, leaves leaf, "
    "loaves loaf, knives knife, shelves shelf, cookies cookie, movies movie, hrs hr, lbs lb, gas gas, bus bus"
)
_IRREGULAR = dict(pair.split() for pair in _PLURALS.split(","))
_FILLERS = re.compile(r"of|the|an?|in|total|altogether|left|remaining|overall|all|now|away|old|only|each")
# Words that make another number of the one before them, or a statement about it.
_CHANGING = re.compile(
    r"pi|sqrt|and|or|not|to|than|if|but|plus|minus|divided|multiplied|squared|cubed|factorial|point|hal(?:f|ves)"
    r"|(?:third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth|thousandth)s?|hundred|thousand|[mbtr]+illion|below"
    r"|negative|is|are|was|were|between|through|until|except|unless|instead|nan|inf|infinity|am|pm|no|none|wrong|incorrect"
    r"|cannot|would|should|could|maybe|perhaps|whereas|while|because|since|so|then|which|who"
)
_WORD = re.compile(r"([a-z¢€£¥][a-z'’-]*)(?:\^?\(?([23])\)?)?")


@dataclass(frozen=True, slots=True)
class Unit:
    """What is counted or measured. No dimension and no words: no unit was written."""

    dimension: str = ""
    size: Fraction = Fraction(1)
    words: frozenset[str] = frozenset()

    @property
    def written(self) -> bool:
        """Whether there is a unit at all."""
        return self != Unit()


def comparable(left: Unit, right: Unit) -> bool:
    """Whether amounts in these units can be compared by size: one dimension, and no word of one that contradicts the
    other (eggs and duck eggs do not, eggs and chickens do).
    """
    nested = left.words <= right.words or right.words <= left.words
    told = bool(left.words) == bool(right.words) or bool(left.dimension)
    return left.dimension == right.dimension and nested and told


def unit(phrase: str, glued: bool = False) -> Unit | None:
    """The unit that a phrase names, None where the phrase is none. `glued`: no space before it, so it must be known."""
    phrase = _INSIDE.sub("", _EVERY.sub("/", phrase.lower()))
    phrase = _SHORTENED.sub(lambda short: _SHORT[short.group()], phrase)
    parts = [part.split() for part in phrase.split("/")]
    words = [word for part in parts for word in part]
    if len(words) > _MOST_WORDS or len(parts) > 2 or not parts[-1]:
        return None
    if not parts[0] and len(parts[-1][-1]) < 3:
        return None  # 18 / m is a calculation, 18 per day is not
    read = [one for part in parts if (one := _part(part, glued)) is not None]
    if len(read) < len(parts):
        return None
    first, *rest = read
    for under in rest:
        first = Unit(f"{first.dimension}/{under.dimension}", first.size / under.size, first.words | under.words)
    return first


def _part(words: list[str], glued: bool) -> Unit | None:
    """A product of a known unit and unknown words."""
    dimension, size, power = "", Fraction(1), 1
    unknown: set[str] = set()
    for word in words:
        match = _WORD.fullmatch(word.strip(".,"))
        if match is None or _CHANGING.fullmatch(match[1]):
            return None
        one = _singular(match[1])
        if one in ("square", "cubic"):
            power = 2 if one == "square" else 3
        elif one in _SIZES and not dimension:
            dimension, size = _SIZES[one]
            power = int(match[2]) if match[2] else power
        elif not _FILLERS.fullmatch(match[1]):
            if len(one) < 3 or match[2] or glued:
                return None
            unknown.add(one)
    if power != 1:
        if not dimension:
            unknown.add(f"power {power}")
        else:
            dimension, size = f"{dimension}^{power}", size**power
    return Unit(dimension, size, frozenset(unknown))


def _singular(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word
