"""Whether a rewritten text says what its source says, as far as numbers, names and words show it.

What it cannot see: a number or a name of the source in the wrong place, a negation, an invention without numbers and names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from fractions import Fraction
from functools import cached_property
from math import floor, log10
from typing import Any

import pyarrow as pa

from synth.config import Config
from synth.text.mentions import FUNCTION_WORDS, Name, Number, names, numbers

SCORES = pa.schema(
    [
        ("length_ratio", pa.float64()),
        ("source_numbers", pa.int64()),
        ("kept_numbers", pa.int64()),
        ("number_recall", pa.float64()),
        ("numbers_checked", pa.int64()),
        ("numbers_invented", pa.int64()),
        ("invented_numbers", pa.large_string()),
        ("source_names", pa.int64()),
        ("kept_names", pa.int64()),
        ("name_recall", pa.float64()),
        ("names_checked", pa.int64()),
        ("names_invented", pa.int64()),
        ("invented_names", pa.large_string()),
        ("fact_recall", pa.float64()),
        ("content_recall", pa.float64()),
        ("least_half_recall", pa.float64()),
        ("content_precision", pa.float64()),
    ]
)

STEM_LETTERS = 6
FEWEST_OWN_STEMS = 4  # of a half of the source
FEWEST_FACTS = 3  # below, one fact more or less says nothing about the whole
MOST_OFFENDERS = 20  # that are named of one text; a person reads no more

_WORD = re.compile(r"\w+")
_THING = re.compile(r"[\s-]([^\W\d_]{3,})")
_HEDGE = re.compile(
    r"(?<!\w)(?:about|almost|approximately|around|circa|close to|just over|just under|less than|more than|nearly|over|roughly"
    r"|some|under|up to)\s(?:[$€£]\s?)?\Z|[~≈]\s?\Z",
    re.I,
)
_HEDGE_CHARACTERS = 16
_ROUNDED_WITHIN = Fraction(1, 20)

# Peoples and languages that begin otherwise than their country does.
_COUNTRIES = {
    people: country
    for country, peoples in {
        "france": "french frenchman frenchmen frenchwoman",
        "netherlands": "dutch dutchman dutchmen holland",
        "spain": "spanish spaniard spaniards",
        "poland": "polish pole poles",
        "denmark": "danish dane danes",
        "switzerland": "swiss",
        "finland": "finnish finn finns",
        "ireland": "irish irishman",
        "wales": "welsh welshman",
        "greece": "greek greeks",
        "sweden": "swede swedes",
        "turkey": "turk turks",
        "scotland": "scot scots",
    }.items()
    for people in peoples.split()
}
_OF_A_PLACE = ("an", "ans", "ese", "ish", "er", "ers", "ic", "i", "man", "men", "woman", "women")
_PLACE_LETTERS = 4  # what Norway and Norwegian, Peru and Peruvian have in common


class FidelityOptions(Config):
    """The rule `fidelity` has no options."""


def score(table: pa.Table, options: FidelityOptions) -> pa.Table:
    """SCORES of `generated` against `seed_text`; all null where the seed text is null or has no words.

    - `length_ratio`: words of the generated text / words of the seed text (str.split).
    - `source_numbers`: different numbers and dates that the source gives exactly (`synth.text.mentions.Number.exact`; a
      date counts as its day, its month and its year); `kept_numbers`: those that the generated text has too, in
      whatever form; `number_recall`: their share, null when the source has none.
    - `numbers_checked`: different numbers of the generated text, the exact ones and the invented ones.
      `numbers_invented`: those that are no number of the source, nor one of its numbers, years apart, rounded to one to
      three digits and at most 5% away behind a word that says so (about, nearly, more than). A small count in words (two
      to ten) is only held to be invented when the source has another count of the same things and nowhere this number:
      prose says `two reasons` of what its source only lists. What follows from the source's numbers, a sum or a
      difference, is invented here. `invented_numbers`: these, as written.
    - The same for named things. Names with the same last word are one name of the source, kept when the generated text
      has any of its words. A name is invented when the source lacks one of its words, whatever their case; people stand
      for their country (Norwegian, Norway) and initials for what they abbreviate.
    - `fact_recall`: kept numbers and names / numbers and names of the source, null when it has fewer than FEWEST_FACTS.
    - `content_recall`: share of the source's different content words, by their first STEM_LETTERS letters, that the
      generated text has; `content_precision`: share of the generated text's that the source has. Null without any.
    - `least_half_recall`: the same share of those words that stand in one half of the source only, for the half of which
      less is there: near 0 when the text stops in the middle. Null when a half has fewer than FEWEST_OWN_STEMS of its own.
    """
    texts = zip(table["generated"].to_pylist(), table["seed_text"].to_pylist(), strict=True)
    rows = [
        _compared(_Text(generated or ""), _Text(seed)) if seed and seed.strip() else {} for generated, seed in texts
    ]
    return pa.Table.from_pylist(rows, schema=SCORES)


class _Text:
    """What one text mentions, for comparing it with another."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _WORD.findall(text.casefold())
        self.words = set(self.tokens)
        self.stems = _stems(self.words)
        self.numbers = numbers(text)
        self.values = {_key(number) for number in self.numbers}
        self.names = names(text)

    def counts(self, number: Number) -> str:
        """The word behind a number, which it counts in `three hearts`; empty when that names nothing."""
        match = _THING.match(self.text, number.start + len(number.text))
        thing = match[1].casefold() if match else ""
        return "" if thing in FUNCTION_WORDS else thing

    def is_hedged(self, number: Number) -> bool:
        """Whether the text says that the number is rounded."""
        return bool(_HEDGE.search(self.text[max(0, number.start - _HEDGE_CHARACTERS) : number.start]))

    def has_word(self, word: str) -> bool:
        """Whether the text has this word of a name, or the people of that place, or the place of that people."""
        if word in self.words or word.removesuffix("s") in self.words or word + "s" in self.words:
            return True
        begins = word[:_PLACE_LETTERS]
        if _COUNTRIES.get(word, word) in self._countries or begins in self._peoples:
            return True
        return word.endswith(_OF_A_PLACE) and begins in self._places

    @cached_property
    def halves(self) -> tuple[set[str], set[str]]:
        """The stems that only the first half of the words has, and those that only the second has."""
        middle = len(self.tokens) // 2
        first, second = _stems(self.tokens[:middle]), _stems(self.tokens[middle:])
        return first - second, second - first

    @cached_property
    def rounded(self) -> set[Fraction]:
        """The numbers at fewer digits."""
        return {value for number in self.numbers for value in _roundings(number)}

    @cached_property
    def counted(self) -> dict[str, Number]:
        """What is counted, when there is more than one of it, with the first number that counts it."""
        return {self.counts(number).removesuffix("s"): number for number in reversed(self.numbers) if number.value > 1}

    @cached_property
    def abbreviations(self) -> set[str]:
        """The initials of three to six neighbouring words, with and without the function words."""
        every = "".join(word[0] for word in self.tokens)
        content = "".join(word[0] for word in self.tokens if word not in FUNCTION_WORDS)
        return {row[at : at + size] for row in (every, content) for size in (3, 4, 5, 6) for at in range(len(row))}

    @cached_property
    def name_initials(self) -> set[str]:
        """The first letters of each name."""
        return {_initials(name) for name in self.names}

    @cached_property
    def _name_words(self) -> set[str]:
        return {word for name in self.names for word in name.words}

    @cached_property
    def _countries(self) -> set[str]:
        return {_COUNTRIES.get(word, word) for word in self._name_words}

    @cached_property
    def _places(self) -> set[str]:
        return {word[:_PLACE_LETTERS] for word in self._name_words}

    @cached_property
    def _peoples(self) -> set[str]:
        return {word[:_PLACE_LETTERS] for word in self._name_words if word.endswith(_OF_A_PLACE)}


def _key(number: Number) -> tuple[str, int, int]:
    return number.kind, *number.value.as_integer_ratio()  # much faster to compare than Fractions


def _initials(name: Name) -> str:
    return "".join(word[0] for word in name.words)


def _compared(generated: _Text, seed: _Text) -> dict[str, Any]:
    stated = {_key(number) for number in seed.numbers if number.exact}
    named = _by_last_word(seed.names)
    kept_numbers = len(stated & generated.values)
    kept_names = sum(any(map(generated.has_word, words)) for words in named.values())
    facts = len(stated) + len(named)
    new_numbers = dict(_invented_numbers(generated, seed))
    checked = {_key(number) for number in generated.numbers if number.exact} | new_numbers.keys()
    new_names = list(_invented_names(generated, seed))
    shared = len(generated.stems & seed.stems)
    return {
        "length_ratio": len(generated.text.split()) / len(seed.text.split()),
        "source_numbers": len(stated),
        "kept_numbers": kept_numbers,
        "number_recall": _share(kept_numbers, len(stated)),
        "numbers_checked": len(checked),
        "numbers_invented": len(new_numbers),
        "invented_numbers": _evidence(new_numbers.values()),
        "source_names": len(named),
        "kept_names": kept_names,
        "name_recall": _share(kept_names, len(named)),
        "names_checked": len({name.words for name in generated.names}),
        "names_invented": len(new_names),
        "invented_names": _evidence(new_names),
        "fact_recall": _share(kept_numbers + kept_names, facts) if facts >= FEWEST_FACTS else None,
        "content_recall": _share(shared, len(seed.stems)),
        "least_half_recall": _least_half(generated, seed),
        "content_precision": _share(shared, len(generated.stems)),
    }


def _stems(words: Iterable[str]) -> set[str]:
    return {word[:STEM_LETTERS] for word in words if word.isalpha() and word not in FUNCTION_WORDS}


def _least_half(generated: _Text, seed: _Text) -> float | None:
    if min(map(len, seed.halves)) < FEWEST_OWN_STEMS:
        return None
    return min(len(half & generated.stems) / len(half) for half in seed.halves)


def _by_last_word(found: Collection[Name]) -> dict[str, set[str]]:
    """The words of the names that end alike: Marie Curie, Pierre Curie and Curie are one."""
    groups: dict[str, set[str]] = {}
    for name in found:
        groups.setdefault(name.words[-1], set()).update(name.words)
    return groups


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _evidence(offenders: Collection[str]) -> str | None:
    return "; ".join([*offenders][:MOST_OFFENDERS]) or None


def _invented_numbers(generated: _Text, seed: _Text) -> Iterator[tuple[tuple[str, int, int], str]]:
    """The numbers, each with what to say of it."""
    new = {_key(number): number for number in generated.numbers if _key(number) not in seed.values}
    for key, number in new.items():
        if not number.exact:
            thing = generated.counts(number)
            other = seed.counted.get(thing.removesuffix("s")) if thing and number.value > 1 else None
            if other:
                yield key, f"{number.text} {thing} (the source has {other.text})"
        elif number.kind != "number" or not (
            ("century", *key[1:]) in seed.values or (generated.is_hedged(number) and number.value in seed.rounded)
        ):
            yield key, f"{number.text} (not in the source)"


def _roundings(number: Number) -> Iterator[Fraction]:
    """The number at one, two and three digits, where that is at most 5% away. Years are not rounded."""
    value = number.value
    if number.kind != "number" or value < 1 or (1000 <= value < 2100 and number.text.isdigit()):
        return
    places = floor(log10(value))
    for digits in (1, 2, 3):
        step = Fraction(10) ** (places - digits + 1)
        rounded = round(value / step) * step
        if abs(rounded - value) <= _ROUNDED_WITHIN * value:
            yield rounded


def _invented_names(generated: _Text, seed: _Text) -> Iterator[str]:
    for words, name in {name.words: name for name in generated.names}.items():
        if not all(map(seed.has_word, words)) and not _is_abbreviated(name, seed):
            yield f"{name.text} (not in the source)"


def _is_abbreviated(name: Name, seed: _Text) -> bool:
    """Whether a name is an acronym of words of the source, or the words of an acronym of the source."""
    if len(name.words) > 1:
        return _initials(name) in seed.words
    word = name.words[0]
    if not name.text.isupper():
        return False
    return word in seed.name_initials or (len(word) > 2 and word in seed.abbreviations)
