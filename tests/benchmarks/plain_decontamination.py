"""The same rules in plain Python, by dictionaries of word n-grams: what the compiled search is measured and compared with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from filters.decontamination_grams import FULL_WORDS, PROMPT_WORDS, Item
from filters.decontamination_index import LEAST_COVERAGE, NEAR_WORDS
from filters.decontamination_words import words_of


class PlainIndex:
    """Which of `items` a text holds."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self._prompts: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
        self._full: dict[tuple[str, ...], set[int]] = defaultdict(set)
        self._short: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, item in enumerate(items):
            for at in range(len(item.prompt) - PROMPT_WORDS + 1):
                self._prompts[item.prompt[at : at + PROMPT_WORDS]].append((number, at))
            full = item.prompt + item.answer
            for at in range(len(full) - FULL_WORDS + 1):
                self._full[full[at : at + FULL_WORDS]].add(number)
            if item.answer and 0 < len(item.prompt) < PROMPT_WORDS:
                self._short[item.prompt].append(number)
        self._lengths = {len(prompt) for prompt in self._short}

    def names(self, text: str) -> set[str]:
        """The items that a text holds."""
        words = tuple(words_of(text))
        covered: dict[int, set[int]] = defaultdict(set)
        found: set[int] = set()
        for at in range(len(words)):
            for number, place in self._prompts.get(words[at : at + PROMPT_WORDS], ()):
                covered[number].update(range(place, place + PROMPT_WORDS))
            found |= self._full.get(words[at : at + FULL_WORDS], set())
            for length in self._lengths:
                found |= {one for one in self._short.get(words[at : at + length], ()) if self._is_near(one, words, at)}
        found |= {
            one for one, places in covered.items() if len(places) / len(self._items[one].prompt) >= LEAST_COVERAGE
        }
        return {self._items[number].name for number in found}

    def _is_near(self, number: int, words: tuple[str, ...], start: int) -> bool:
        item = self._items[number]
        end, size = start + len(item.prompt), len(item.answer)
        places = (*range(end - NEAR_WORDS, start - size + 1), *range(end, start + NEAR_WORDS - size + 1))
        return any(at >= 0 and words[at : at + size] == item.answer for at in places)
