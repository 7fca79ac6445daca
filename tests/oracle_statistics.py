"""The statistics of `synth.text.statistics`, one text at a time in plain Python: what its kernels must give, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from synth.text.statistics import (
    BULLET_STARTS,
    BULLET_WORDS,
    DUPLICATE_NGRAMS,
    ELLIPSES,
    OPENING_WORDS,
    STATISTICS,
    STOP_WORDS,
    TOP_NGRAMS,
)
from synth.text.words import normal_words


def oracle_statistics(texts: Iterable[str | None]) -> pa.Table:
    """One row of STATISTICS per text; a null counts as ""."""
    return pa.Table.from_pylist([_statistics(text or "") for text in texts], schema=STATISTICS)


def _statistics(text: str) -> dict[str, Any]:
    split_lines = [line.split() for line in text.splitlines()]
    lines = [line for line in split_lines if line]
    words = [word for line in lines for word in line]
    size = sum(map(len, words)) + max(len(words) - 1, 0)
    plain = normal_words(text)
    return {
        "bytes": len(text.encode()),
        "characters": len(text),
        "words": len(words),
        "lines": len(lines),
        "mean_word_length": _ratio(sum(map(len, words)), len(words)),
        "symbol_word_ratio": _ratio(max(text.count("#"), sum(map(text.count, ELLIPSES))), len(words)),
        "alpha_word_ratio": _ratio(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        "bullet_line_ratio": _ratio(sum(_is_bullet(line[0]) for line in lines), len(lines)),
        "ellipsis_line_ratio": _ratio(sum(line[-1].endswith(ELLIPSES) for line in lines), len(lines)),
        "stop_words": len(STOP_WORDS.intersection(plain)),
        **_duplicates("line", [" ".join(line) for line in lines], size),
        **_duplicates("paragraph", _paragraphs(split_lines), size),
        **_ngram_ratios(words, size),
        "opening_digest": _fnv1a(" ".join(plain[:OPENING_WORDS])) if plain else None,
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _is_bullet(word: str) -> bool:
    return word in BULLET_WORDS or word.startswith(BULLET_STARTS)


def _paragraphs(lines: Sequence[Sequence[str]]) -> list[str]:
    return ["\n".join(map(" ".join, run)) for filled, run in groupby(lines, key=bool) if filled]


def _duplicates(kind: str, items: Sequence[str], size: int) -> dict[str, float]:
    """`duplicate_<kind>_ratio` and `duplicate_<kind>_char_ratio` of a text of this size."""
    seen: set[str] = set()
    repeated = 0
    for item in items:
        if item in seen:
            repeated += len(item)
        seen.add(item)
    return {
        f"duplicate_{kind}_ratio": _ratio(len(items) - len(seen), len(items)),
        f"duplicate_{kind}_char_ratio": _ratio(repeated, size),
    }


def _ngram_ratios(words: Sequence[str], size: int) -> dict[str, float]:
    """All n-gram columns. An n-gram's number stands for its words: it is built from the numbers of its first n-1 words
    and its last one, so equal numbers mean equal words, without a hash."""
    ratios = {f"top_{n}gram_char_ratio": 0.0 for n in TOP_NGRAMS}
    ratios |= {f"duplicate_{n}gram_char_ratio": 0.0 for n in DUPLICATE_NGRAMS}
    vocabulary: dict[str, int] = {}
    word_ids = np.array([vocabulary.setdefault(word, len(vocabulary)) for word in words], dtype=np.int64)
    word_sizes = np.array([len(word) for word in words], dtype=np.int64)
    ids = word_ids
    for n in range(2, min(max(DUPLICATE_NGRAMS), len(words)) + 1):
        pairs = ids[:-1] * len(vocabulary) + word_ids[n - 1 :]
        _, first, ids, counts = np.unique(pairs, return_index=True, return_inverse=True, return_counts=True)
        if counts.max() == 1:
            break  # what does not occur twice is part of nothing longer that does
        if n in TOP_NGRAMS:
            ratios[f"top_{n}gram_char_ratio"] = _ratio(_top_size(word_sizes, n, first, counts, size), size)
        else:
            repeats = first[ids] != np.arange(len(ids))
            ratios[f"duplicate_{n}gram_char_ratio"] = _ratio(_covered_size(word_sizes, n, repeats), size)
    return ratios


def _top_size(word_sizes: Any, n: int, first: Any, counts: Any, size: int) -> int:
    """Characters of the longest of the most frequent n-grams, times its occurrences; not more than the text has."""
    ends = np.concatenate([[0], np.cumsum(word_sizes)])
    starts = first[counts == counts.max()]
    longest = (ends[starts + n] - ends[starts]).max() + n - 1
    return int(min(longest * counts.max(), size))


def _covered_size(word_sizes: Any, n: int, repeats: Any) -> int:
    """Characters of the words that lie in one of the marked n-grams (`repeats`: one bool per start)."""
    edges = np.zeros(len(word_sizes) + 1, dtype=np.int64)
    edges[: len(repeats)] += repeats
    edges[n:] -= repeats
    return int(word_sizes[np.cumsum(edges[:-1]) > 0].sum())


def _fnv1a(text: str) -> int:
    """64-bit FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/) of the text's UTF-8 bytes."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
