"""What was found in texts, seen as pairs of a text and an item that share n-grams: in columns, without a loop over either."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from filters.decontamination_grams import PROMPT_WORDS, Postings, ranges


class Touched:
    """Pairs of a text and an item that share n-grams, by text and item: `text[p]` and `item[p]` are those of pair `p`."""

    def __init__(self, rows: Any, grams: Any, postings: Postings) -> None:
        """`rows` of `kernels.scan`, at least one; `grams` that it looked for."""
        keys = rows[:, 0] * len(grams.starts) + rows[:, 1]
        order = np.argsort(keys, kind="stable")
        self.rows = rows[order]  # by text, n-gram and place
        keys, self._firsts, self._times = np.unique(keys[order], return_index=True, return_counts=True)
        text, gram = np.divmod(keys, len(grams.starts))
        sizes = postings.bounds[gram + 1] - postings.bounds[gram]
        found = np.repeat(np.arange(len(keys)), sizes)
        posting = ranges(postings.bounds[gram], sizes)
        item, place = postings.items[posting], postings.places[posting]
        order = np.lexsort((place, item, text[found]))
        text, item, self._found, self._places = text[found][order], item[order], found[order], place[order]
        self._lengths = grams.sizes[gram][self._found]
        new = np.append(True, (np.diff(text) != 0) | (np.diff(item) != 0))
        self._pairs = np.cumsum(new) - 1
        self.text, self.item = text[new], item[new]

    def covered(self) -> Any:
        """Of each pair how many words of the prompt lie in shared n-grams of PROMPT_WORDS words."""
        chosen = self._lengths == PROMPT_WORDS
        pairs, places = self._pairs[chosen], self._places[chosen]
        step = np.minimum(np.diff(places, prepend=0), PROMPT_WORDS)
        added = np.where(np.diff(pairs, prepend=-1) == 0, step, PROMPT_WORDS)
        return np.bincount(pairs, added, len(self.text))

    def has(self, length: int) -> Any:
        """Of each pair whether it shares an n-gram of `length` words."""
        return np.bincount(self._pairs[self._lengths == length], minlength=len(self.text)) > 0

    def occurrences(self, chosen: Any, least: int, most: int) -> tuple[Any, Any]:
        """Where n-grams of `least` to `most` words of the `chosen` pairs (bool) stand: the pair, and the row of `rows`; by
        pair and place in the text."""
        wanted = np.flatnonzero(chosen[self._pairs] & (self._lengths >= least) & (self._lengths <= most))
        found, times = self._found[wanted], self._times[self._found[wanted]]
        pairs, rows = np.repeat(self._pairs[wanted], times), ranges(self._firsts[found], times)
        order = np.lexsort((self.rows[rows, 2], pairs))
        return pairs[order], rows[order]

    def stretches(self, chosen: Any, length: int) -> Iterator[list[int]]:
        """Of each of the `chosen` pairs the longest part of the text that shared n-grams of `length` words cover without a
        gap, the first of equal ones: pair, n-gram at its beginning, first word, words, first byte, end."""
        pairs, at = self.occurrences(chosen, length, length)
        if not len(pairs):
            return
        starts = self.rows[at, 2]
        new = np.append(True, (np.diff(pairs) != 0) | (np.diff(starts) >= length))
        firsts = np.flatnonzero(new)
        lasts = np.append(firsts[1:], len(pairs)) - 1
        words = starts[lasts] + length - starts[firsts]
        order = np.lexsort((firsts, -words, pairs[firsts]))
        _, best = np.unique(pairs[firsts][order], return_index=True)
        for run in order[best].tolist():
            first, last = at[firsts[run]], at[lasts[run]]
            _, gram, start, begin, _ = self.rows[first].tolist()
            yield [int(pairs[firsts[run]]), gram, start, int(words[run]), begin, int(self.rows[last, 4])]
