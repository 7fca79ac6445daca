"""Which items of evaluation sets a text holds: hashes of word n-grams propose, the words themselves decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from filters.decontamination_grams import FULL_WORDS, PROMPT_WORDS, Item, prepared
from filters.decontamination_pairs import Touched
from filters.decontamination_words import code_point_table, plain, plain_table, spans_of

LEAST_COVERAGE = 0.5
NEAR_WORDS = 200  # a short prompt and its answer stand in a stretch of at most so many words
RULES = ("A", "B", "C")  # the strongest first

_NO_RULE = len(RULES)


@dataclass(frozen=True, slots=True)
class Hit:
    """An item that a text holds, by `rule`. `coverage`: the share of its prompt's words that the text shares; 1.0 for C.

    The stretch: of the parts of the text that shared n-grams cover without a gap (A: 8-grams of the prompt, B: 13-grams of
    prompt and answer) the longest, the first of equal ones; for C from the first to the last word of prompt and answer. It
    begins at word `at_word`, has `words` words and lies at these bytes. `ngram` begins it; for C it is the prompt.
    """

    item: int
    rule: str
    coverage: float
    ngram: str
    at_word: int
    words: int
    start_byte: int
    end_byte: int


class _Texts(NamedTuple):
    """The buffers of texts, and the table by which they are read."""

    data: Any
    offsets: Any
    table: Any


@dataclass(frozen=True, slots=True)
class Found:
    """What texts hold, row by row."""

    has_words: Any  # bool
    coverage: Any  # float64: the largest share of a prompt that the text shares, also where that is no hit
    hits: dict[int, list[Hit]]  # of texts that hold items: the strongest rule first, then by coverage and place


class Index:
    """Which of `items` a text holds.

    A: 8-grams that the text shares with the prompt cover at least half of the prompt's words. B: a 13-gram of prompt and
    answer together stands in it. C, for a prompt of fewer than 8 words: all of it, and all of the answer, stand apart within
    a stretch of 200 words. Memory: some 100 bytes per word of the items. `hash_bits` is for tests: no find depends on it.
    """

    def __init__(self, items: Sequence[Item], hash_bits: int = 64) -> None:
        self.items = [replace(one, prompt=(), answer=()) for one in items]  # their names; the words lie in `_words`
        self.findable = sum(one.can_be_found for one in items)
        self._sizes = np.array([(len(one.prompt), len(one.answer)) for one in items], np.int64).reshape(-1, 2)
        self._words, self._grams, self._postings = prepared(items, self._sizes, hash_bits)

    def look_up(self, texts: pa.LargeStringArray) -> Found:
        """What each of `texts` (none is null) holds. UnicodeDecodeError: one is not UTF-8.

        Python sees only hits, and texts with characters whose reading depends on their neighbours.
        """
        found = self._look_up(texts, code_point_table())
        slow = np.flatnonzero(found.has_words < 0)
        if len(slow):
            read = [texts[row].as_py() for row in slow.tolist()]
            again = self._look_up(pa.array(map(plain, read), pa.large_string()), plain_table())
            found.has_words[slow], found.coverage[slow] = again.has_words, again.coverage
            for row, hits in again.hits.items():
                spans = spans_of(read[row])
                found.hits[int(slow[row])] = [_placed(hit, spans) for hit in hits]
        return Found(found.has_words > 0, found.coverage, found.hits)

    def _look_up(self, texts: pa.LargeStringArray, table: Any) -> Found:
        """The same; `has_words` is the number of words, -1 where `table` cannot tell them."""
        from filters import decontamination_kernels as kernels

        counts, coverage = np.zeros(len(texts), np.int64), np.zeros(len(texts))
        if not len(texts):
            return Found(counts, coverage, {})
        _, offsets, data = texts.buffers()
        offsets = _read_only(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        read = _Texts(_read_only(data, np.uint8), offsets, table)
        rows = kernels.scan(read.data, read.offsets, read.table, self._words, self._grams, counts)
        hits: dict[int, list[Hit]] = {}
        if len(rows):
            touched = Touched(rows, self._grams, self._postings)
            for row, hit in self._judged(touched, read, coverage):
                hits.setdefault(row, []).append(hit)
        for one in hits.values():
            one.sort(key=lambda hit: (hit.rule, -hit.coverage, hit.item))
        return Found(counts, coverage, hits)

    def _judged(self, touched: Touched, read: _Texts, coverage: Any) -> Iterator[tuple[int, Hit]]:
        """Hits, each with its text; `coverage` is set for all texts that share something."""
        prompts = self._sizes[touched.item, 0]
        share = touched.covered() / np.maximum(prompts, 1)
        rule = np.where(share >= LEAST_COVERAGE, 0, np.where(touched.has(FULL_WORDS), 1, _NO_RULE))
        np.maximum.at(coverage, touched.text, share)
        for number, length in enumerate((PROMPT_WORDS, FULL_WORDS)):
            for pair, gram, *stretch in touched.stretches(rule == number, length):
                yield self._hit(touched, pair, number, float(share[pair]), gram, stretch)
        for pair, gram, *stretch in self._near(touched, rule == _NO_RULE, read):
            coverage[touched.text[pair]] = 1.0
            yield self._hit(touched, pair, 2, 1.0, gram, stretch)

    def _hit(
        self, touched: Touched, pair: int, rule: int, coverage: float, gram: int, stretch: Sequence[int]
    ) -> tuple[int, Hit]:
        return int(touched.text[pair]), Hit(int(touched.item[pair]), RULES[rule], coverage, self._said(gram), *stretch)

    def _near(self, touched: Touched, chosen: Any, read: _Texts) -> Iterator[list[int]]:
        """Of pairs of a text and an item with a short prompt, those with the answer beside it: pair, n-gram, and stretch."""
        from filters import decontamination_kernels as kernels

        pair, at = touched.occurrences(chosen, 1, PROMPT_WORDS - 1)
        if not len(pair):
            return
        item, first = touched.item[pair], np.cumsum(self._sizes.sum(1)) - self._sizes.sum(1)
        prompt, answer = self._sizes[item].T
        prompts = np.stack((touched.text[pair], touched.rows[at, 2], prompt, first[item] + prompt, answer), 1)
        stretches = kernels.answers_near(read.data, read.offsets, read.table, self._words, prompts, NEAR_WORDS)
        good = np.flatnonzero(stretches[:, 0] >= 0)
        _, firsts = np.unique(pair[good], return_index=True)
        for row in good[firsts].tolist():
            yield [int(pair[row]), int(touched.rows[at[row], 1]), *stretches[row].tolist()]

    def _said(self, gram: int) -> str:
        """The words of an n-gram."""
        bounds = self._words.bounds[self._grams.starts[gram] :][: self._grams.sizes[gram] + 1]
        codes = self._words.codes[bounds[0] : bounds[-1]].tobytes().decode("utf-32-le")
        edges = (bounds - bounds[0]).tolist()
        return " ".join(codes[low:high] for low, high in pairwise(edges))


def _placed(hit: Hit, spans: Sequence[tuple[int, int]]) -> Hit:
    """With its bytes by where its words lie."""
    return replace(hit, start_byte=spans[hit.at_word][0], end_byte=spans[hit.at_word + hit.words - 1][1])


def _read_only(buffer: Any, kind: Any) -> Any:
    """The buffer as an array that cannot be written, so that the kernel is compiled for one kind of array only."""
    values = np.frombuffer(buffer, kind) if buffer else np.empty(0, kind)
    values.flags.writeable = False
    return values
