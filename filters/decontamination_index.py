"""Items of evaluation sets, and which of them a text holds: hashes of word n-grams propose, the words themselves decide."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa

PROMPT_WORDS = 8  # n-grams that cover prompts; a prompt of fewer words is a short one
FULL_WORDS = 13  # n-grams of prompt and answer, one of which is enough
LEAST_COVERAGE = 0.5
NEAR_WORDS = 200  # a short prompt and its answer stand in a stretch of at most so many words
RULES = ("A", "B", "C")  # the strongest first

_Place = tuple[tuple[str, ...], list[int]]  # an n-gram and where it begins in a text, sorted
_Places = dict[tuple[int, tuple[str, ...]], list[int]]  # number and words of an n-gram -> where it begins in a text

_LAST = (0, 1 << 62, 0, 0, 0, 0)
_GRAMS_PER_WORD = 4  # of 64 bits, at most
_TABLE_CODES = 0x20000  # the planes of letters and of emoji
_DROPPED = re.compile("[\xad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_APOSTROPHES = "’‘ʼ"
_INNER = re.compile(r"(?<=[^\W_])'(?=[^\W_])|(?<=[0-9]),(?=[0-9])")
_WORD = re.compile(r"[^\W_]+")
_JAMO = ((0x1100, 0x1200), (0xA960, 0xA980), (0xD7B0, 0xD800))  # letters that join with their neighbours


def words_of(text: str) -> list[str]:
    """The words of `text` whatever its case, punctuation, blanks and Unicode form: runs of letters and digits in the form
    NFKC, case-folded.

    An apostrophe within a word and a comma between digits are left out (`don’t` gives `dont`, `1,000` gives `1000`), as are
    characters that cannot be seen (soft hyphens, zero-width ones); all else that is no letter or digit separates. A script
    that writes no blanks between words gives few, long words, of which little can be found.
    """
    return _WORD.findall(_INNER.sub("", _plain(text)))


def _plain(text: str) -> str:
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _DROPPED.sub("", text)).casefold())
    for mark in _APOSTROPHES:
        text = text.replace(mark, "'")
    return text


@lru_cache(maxsize=1)
def code_point_table() -> Any:
    """What `words_of` makes of single code points, for the kernel (uint32): SLOW where it depends on their neighbours."""
    from filters import decontamination_kernels as kernels

    codes = [code for code in range(_TABLE_CODES) if not 0xD800 <= code < 0xE000]
    table = np.full(_TABLE_CODES, kernels.SLOW, np.uint32)
    plain = _plain("\0".join(map(chr, codes))).split("\0")
    for code, made in zip(codes[1:], plain[2:], strict=True):  # NUL itself stands between the others: it gives two
        if made == "":
            table[code] = kernels.DROPPED
        elif len(made) == 1 and made.isalnum():
            table[code] = ord(made)
        elif made == "'":
            table[code] = kernels.APOSTROPHE
        elif made == ",":
            table[code] = kernels.COMMA
        elif not any(one.isalnum() or one in "'," or _is_mark(one) for one in made):
            table[code] = kernels.SEPARATOR
    table[0] = kernels.SEPARATOR
    table[list(_joining())] = kernels.SLOW
    return table


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _joining() -> Iterator[int]:
    """Code points that may become one with what stands before or after them."""
    for low, high in _JAMO:
        yield from range(low, high)
    for code in range(_TABLE_CODES):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<") and int(parts[1], 16) < _TABLE_CODES:
            yield int(parts[1], 16)
    yield from (code for code in range(_TABLE_CODES) if _is_mark(chr(code)) and not _DROPPED.match(chr(code)))


@dataclass(frozen=True, slots=True)
class Item:
    """One item of an evaluation set: its name, such as `gsm8k/17` (rows count from 0), and its words."""

    name: str
    prompt: tuple[str, ...]
    answer: tuple[str, ...]

    @property
    def can_be_found(self) -> bool:
        """Whether any rule can find it: a short prompt without an answer is found by none."""
        long_enough = len(self.prompt) >= PROMPT_WORDS or len(self.prompt) + len(self.answer) >= FULL_WORDS
        return long_enough or bool(self.prompt and self.answer)


@dataclass(frozen=True, slots=True)
class Hit:
    """An item that a text touches. `rule` is None when that is too little; `at_word` is where `ngram` begins in the text."""

    item: int
    rule: str | None
    coverage: float
    at_word: int
    ngram: tuple[str, ...]


class Index:
    """Which of `items` a text holds.

    A: 8-grams that the text shares with the prompt cover at least half of the prompt's words. B: a 13-gram of prompt and
    answer together stands in it. C, for a prompt of fewer than 8 words: all of it, and all of the answer, stand within a
    stretch of 200 words. Memory: some 50 bytes per word of the items.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        from filters import decontamination_kernels as kernels

        self.items = tuple(items)
        self.findable = sum(one.can_be_found for one in items)
        self._known: dict[str, str] = {}
        self._words = [self._known.setdefault(word, word) for one in items for word in (*one.prompt, *one.answer)]
        starts, lengths, owners = _postings(self.items)
        powers, prefixes = kernels.powers(FULL_WORDS), _prefixes(self._words)
        hashes = kernels.gram_hashes(prefixes, powers, starts, lengths)
        order = np.argsort(hashes, kind="stable")
        self._starts, self._of, self._gram_lengths = starts[order], owners[order], lengths[order]
        grams, firsts = np.unique(hashes[order], return_index=True)
        self._bounds = np.append(firsts, len(starts))
        heads = np.minimum(lengths, PROMPT_WORDS)
        proposed = np.unique(kernels.gram_hashes(prefixes, powers, starts, heads))
        shift = 64 - max(1, (len(proposed) // _GRAMS_PER_WORD).bit_length())
        scanned = [(length, FULL_WORDS if length == PROMPT_WORDS else 0) for length in np.unique(heads).tolist()]
        pairs = np.array(scanned, np.int64).reshape(-1, 2)
        self._arguments = (pairs, powers, grams, kernels.bloom_filter(proposed, shift), shift)
        self._offsets = [0, *accumulate(len(one.prompt) + len(one.answer) for one in items)]

    def look_up(self, words: Sequence[str]) -> list[Hit]:
        """The items that a text of these words touches: those of a rule first, strongest first, then by coverage and place."""
        from filters import decontamination_kernels as kernels

        places: _Places = {}
        for _, start, length, gram, _, _ in kernels.matches(_prefixes(words), *self._arguments).tolist():
            places.setdefault((gram, tuple(words[start : start + length])), []).append(start)
        return self._hits(places, words)

    def look_up_all(self, texts: pa.LargeStringArray) -> tuple[list[bool], dict[int, list[Hit]]]:
        """Whether each text has words; what those that touch items touch, by row: as `look_up` says of their `words_of`.

        `texts` has no nulls. Of a text that touches nothing Python sees nothing, of others the n-grams alone, but for texts
        with a short prompt, or with characters whose reading depends on their neighbours.
        """
        from filters import decontamination_kernels as kernels

        counts = np.zeros(len(texts), np.int64)
        _, offset_buffer, data_buffer = texts.buffers()
        offsets = _read_only(offset_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        data = _read_only(data_buffer, np.uint8)
        found = kernels.scan(data, offsets, code_point_table(), *self._arguments, counts)
        has_words, hits = (counts > 0).tolist(), {}
        by_text = np.split(found, np.flatnonzero(np.diff(found[:, 0])) + 1) if len(found) else []
        for rows in by_text:
            is_long = rows[:, 2].min() >= PROMPT_WORDS
            text = int(rows[0, 0])
            hits[text] = self._hits(_places(rows, data), ()) if is_long else self.look_up(words_of(texts[text].as_py()))
        for text in np.flatnonzero(counts < 0).tolist():
            words = words_of(texts[text].as_py())
            has_words[text], hits[text] = bool(words), self.look_up(words)
        return has_words, hits

    def _hits(self, places: _Places, words: Sequence[str]) -> list[Hit]:
        """`words` of the text are needed where `places` holds a short prompt."""
        touched: dict[int, dict[int, dict[int, _Place]]] = {}
        for (gram, ngram), starts in places.items():
            for posting in range(self._bounds[gram], self._bounds[gram + 1]):
                start, item = int(self._starts[posting]), int(self._of[posting])
                if self._gram_lengths[posting] == len(ngram) and self._stands(ngram, start):
                    by_length = touched.setdefault(item, {}).setdefault(len(ngram), {})
                    by_length[start - self._offsets[item]] = ngram, starts
        found = _Words(words)
        hits = [self._hit(item, grams, found) for item, grams in touched.items()]
        return sorted(hits, key=lambda hit: (hit.rule or "Z", -hit.coverage, hit.item))

    def _stands(self, ngram: tuple[str, ...], start: int) -> bool:
        """Whether it is exactly these words that stand at `start` among the words of all items."""
        return tuple(self._words[start : start + len(ngram)]) == ngram

    def _hit(self, number: int, grams: dict[int, dict[int, _Place]], words: _Words) -> Hit:
        """`grams`: length -> place in the item -> n-gram and places in the text. At most one length is below 8."""
        item = self.items[number]
        coverage = _covered(grams.get(PROMPT_WORDS, {})) / max(len(item.prompt), 1)
        rule, length = None, min(grams)
        if coverage >= LEAST_COVERAGE:
            rule = "A"
        elif FULL_WORDS in grams:
            rule, length = "B", FULL_WORDS
        ngram, starts = grams[length][min(grams[length])]
        at_word = starts[0]
        if rule is None and length < PROMPT_WORDS:
            near = words.near(starts, length, item.answer)
            if near is not None:
                rule, coverage, at_word = "C", 1.0, near
        return Hit(number, rule, coverage, at_word, ngram)


def _postings(items: Sequence[Item]) -> tuple[Any, Any, Any]:
    """Of every n-gram that is looked for: its start among the words of all items, its length, its item (int64)."""
    runs = []
    offset = 0
    for number, one in enumerate(items):
        short, full = len(one.prompt), len(one.prompt) + len(one.answer)
        if short >= PROMPT_WORDS:
            runs.append((offset, short - PROMPT_WORDS + 1, PROMPT_WORDS, number))
        elif one.prompt and one.answer:
            runs.append((offset, 1, short, number))
        if full >= FULL_WORDS:
            runs.append((offset, full - FULL_WORDS + 1, FULL_WORDS, number))
        offset += full
    table = np.array(runs, np.int64).reshape(-1, 4)
    first, sizes, lengths, owners = table.T
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(first, sizes) + within, np.repeat(lengths, sizes), np.repeat(owners, sizes)


def _prefixes(words: Sequence[str]) -> Any:
    from filters import decontamination_kernels as kernels

    return kernels.word_prefixes(np.frombuffer(" ".join(words).encode("utf-32-le"), np.uint32), len(words))


def _read_only(buffer: Any, kind: Any) -> Any:
    """The buffer as an array that cannot be written, so that the kernel is compiled for one kind of array only."""
    values = np.frombuffer(buffer, kind) if buffer else np.empty(0, kind)
    values.flags.writeable = False
    return values


def _places(rows: Any, data: Any) -> _Places:
    """The n-grams of one text that `kernels.scan` found: their words read anew from `data`, those that overlap together."""
    places: _Places = {}
    run: list[tuple[int, int, int]] = []
    first_byte = end_byte = end_word = -1
    ordered = rows[np.lexsort((rows[:, 2], rows[:, 1]))].tolist()
    for _, start, length, gram, first, end in [*ordered, _LAST]:
        if run and start >= end_word:
            words = words_of(data[first_byte:end_byte].tobytes().decode())
            for at, size, number in run:
                ngram = tuple(words[at - run[0][0] : at - run[0][0] + size])
                places.setdefault((number, ngram), []).append(at)
            run, end_word, end_byte = [], -1, -1
        if not run:
            first_byte = first
        run.append((start, length, gram))
        end_word, end_byte = max(end_word, start + length), max(end_byte, end)
    return places


def _covered(starts: Iterable[int]) -> int:
    """How many words lie in an 8-gram at one of `starts`."""
    covered = end = 0
    for start in sorted(starts):
        covered += start + PROMPT_WORDS - max(start, end)
        end = start + PROMPT_WORDS
    return covered


class _Words:
    """Where words stand in a text; looked at once, and only if asked."""

    def __init__(self, words: Sequence[str]) -> None:
        self._text = words
        self._of_word: dict[str, list[int]] | None = None

    def near(self, prompts: Sequence[int], length: int, answer: tuple[str, ...]) -> int | None:
        """The first place in `prompts` (sorted) of a prompt of `length` words that has the answer before or after it, apart
        from it, both within NEAR_WORDS words; None when there is none."""
        found: list[int] = []
        for start in self._occurrences(answer):
            end = start + len(answer)
            before = bisect_right(prompts, start - length) - 1
            if before >= 0:
                first = bisect_left(prompts, end - NEAR_WORDS)
                found += prompts[first : first + 1] if first <= before else []
            after = bisect_left(prompts, end)
            if after < len(prompts) and prompts[after] + length - start <= NEAR_WORDS:
                found.append(prompts[after])
        return min(found, default=None)

    def _occurrences(self, wanted: tuple[str, ...]) -> Iterator[int]:
        if self._of_word is None:
            self._of_word = {}
            for at, word in enumerate(self._text):
                self._of_word.setdefault(word, []).append(at)
        for start in self._of_word.get(wanted[0], ()):
            if tuple(self._text[start : start + len(wanted)]) == wanted:
                yield start
