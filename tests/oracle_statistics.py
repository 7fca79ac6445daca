"""The statistics of `synth.text.statistics`, one text at a time in plain Python: what its kernels must give, bit for bit."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from synth.text.marks import (
    BOILERPLATE,
    BOILERPLATE_ENDS,
    BOILERPLATE_STARTS,
    BULLET_STARTS,
    BULLET_WORDS,
    CLOSING_QUOTES,
    COUNTER_WORDS,
    DUPLICATE_NGRAMS,
    ELLIPSES,
    LINE_ENDS,
    OPENING_WORDS,
    POLICY_PHRASES,
    STOP_WORDS,
    TERMINAL_MARKS,
    TOP_NGRAMS,
)
from synth.text.statistics import STATISTICS
from synth.text.words import normal_words

_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_COUNT = re.compile(r"[0-9][0-9.,]*[kmb]?")


def oracle_statistics(texts: Iterable[str | None]) -> pa.Table:
    """One row of STATISTICS per text; a null counts as ""."""
    return pa.Table.from_pylist([_statistics(text or "") for text in texts], schema=STATISTICS)


def _statistics(text: str) -> dict[str, Any]:
    split_lines = [line.split() for line in text.splitlines()]
    lines = [line for line in split_lines if line]
    words = [word for line in lines for word in line]
    size = sum(map(len, words)) + max(len(words) - 1, 0)
    plain = normal_words(text)
    paragraphs = _paragraphs(split_lines)
    return {
        "bytes": len(text.encode()),
        "characters": len(text),
        "bare_characters": sum(not (char.isspace() or is_punctuation(char)) for char in text),
        "words": len(words),
        "normal_words": sum(map(_is_normal, words)),
        "lines": len(lines),
        "paragraphs": len(paragraphs),
        "sentences": sentences(words),
        "mean_word_length": _ratio(sum(map(len, words)), len(words)),
        "symbol_word_ratio": _ratio(max(text.count("#"), sum(map(text.count, ELLIPSES))), len(words)),
        "alpha_word_ratio": _ratio(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        "bullet_line_ratio": _ratio(sum(_is_bullet(line[0]) for line in lines), len(lines)),
        "ellipsis_line_ratio": _ratio(sum(line[-1].endswith(ELLIPSES) for line in lines), len(lines)),
        "stop_words": len(STOP_WORDS.intersection(plain)),
        "stop_word_occurrences": sum(word in STOP_WORDS for word in plain),
        "punctuated_line_ratio": _ratio(sum(line[-1][-1] in TERMINAL_MARKS for line in lines), len(lines)),
        "short_line_ratio": _ratio(sum(len(" ".join(line)) <= 30 for line in lines), len(lines)),
        "newline_word_ratio": _ratio(text.count("\n"), len(words)),
        "lorem_ipsum": ascii_lower(" ".join(words)).count("lorem ipsum"),
        "curly_brackets": text.count("{"),
        **_c4(lines),
        "refinedweb_removed_word_ratio": _ratio(sum(len(line) for line in lines if is_removed(line)), len(words)),
        **_duplicates("line", [" ".join(line) for line in lines], size),
        **_duplicates("paragraph", paragraphs, size),
        **_ngram_ratios(words, size),
        "opening_digest": _fnv1a(" ".join(plain[:OPENING_WORDS])) if plain else None,
    }


@cache
def is_punctuation(char: str) -> bool:
    """Unicode's punctuation and what Python calls so."""
    return unicodedata.category(char).startswith("P") or char in string.punctuation


@cache
def is_closing(char: str) -> bool:
    """What may follow the mark that ends a sentence."""
    return char in CLOSING_QUOTES or unicodedata.category(char) in ("Pe", "Pf", "Pi")


def ascii_lower(text: str) -> str:
    """The text with its ASCII letters in lower case."""
    return text.translate(_ASCII_LOWER)


def _is_normal(word: str) -> bool:
    return any(map(str.isalnum, word))


def sentences(words: Sequence[str]) -> int:
    """How many sentences these words are."""
    found, is_open = 0, False
    for word in words:
        is_open |= _is_normal(word)
        last = next((char for char in reversed(word) if not is_closing(char)), "")
        if is_open and last in TERMINAL_MARKS:
            found, is_open = found + 1, False
    return found + is_open


def _c4(lines: Sequence[Sequence[str]]) -> dict[str, float]:
    plain = [line for line in lines if _is_plain(line)]
    kept = [line for line in plain if line[-1].endswith(LINE_ENDS) and not line[-1].endswith("...")]
    return {
        "c4_line_ratio": _ratio(len(kept), len(lines)),
        "c4_sentences": sum(map(sentences, kept)),
        "c4_sentences_any_end": sum(map(sentences, plain)),
    }


def _is_plain(line: Sequence[str]) -> bool:
    """Whether C4's rules keep the line, its end apart."""
    low = ascii_lower(" ".join(line))
    banned = any(phrase in low for phrase in ("javascript", *POLICY_PHRASES))
    return len(line) >= 3 and max(map(len, line)) <= 1000 and not banned


def is_removed(line: Sequence[str]) -> bool:
    """Whether RefinedWeb's line rules flag the line."""
    text = " ".join(line)
    low = ascii_lower(text)
    boilerplate = (
        low.startswith(BOILERPLATE_STARTS)
        or low.endswith(BOILERPLATE_ENDS)
        or any(phrase in low for phrase in BOILERPLATE)
    )
    return (
        len(line) == 1
        or sum(map(str.isupper, text)) > len(text) / 2
        or all(map(str.isdigit, "".join(line)))
        or (len(line) <= 10 and boilerplate)
        or _is_counter(line)
    )


def _is_counter(line: Sequence[str]) -> bool:
    words = [ascii_lower(_without_edges(word)) for word in line if _is_normal(word)]
    return len(words) == 2 and bool(_COUNT.fullmatch(words[0])) and words[1] in COUNTER_WORDS


def _without_edges(word: str) -> str:
    inside = [at for at, char in enumerate(word) if char.isalnum()]
    return word[inside[0] : inside[-1] + 1]


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
