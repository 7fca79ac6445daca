"""Statistics of texts: the quantities that published quality and repetition heuristics put bounds on.

All of them are defined on whitespace. A *word* is a maximal run of characters without Unicode whitespace (str.split). A
*line* is the words of one line of str.splitlines; lines without words are no lines. A *paragraph* is a maximal run of
lines with no blank line between them. The *size* of words, of a line or of a paragraph is its length in characters
(Unicode code points) when its words are joined by one space and its lines by one line break: padding changes nothing.
The *size of the text* is that of all its words. A ratio over nothing is 0, so an empty text has zeros everywhere.

The definitions follow Gopher (Rae et al. 2021, https://arxiv.org/abs/2112.11446, appendix A.1.1 and table A1). Where the
paper leaves room, and where datatrove 0.10 (its Gopher filters) decides otherwise, is said beside each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from synth.text.words import normal_words

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})  # Rae et al. 2021, appendix A.1.1
TOP_NGRAMS = (2, 3, 4)  # Rae et al. 2021, table A1
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)  # Rae et al. 2021, table A1
OPENING_WORDS = 8  # enough to tell a template's opening from a common phrase
BULLET_WORDS = frozenset({"-", "*", "+", "–"})  # bullets only when they stand alone
BULLET_STARTS = ("•", "‣", "◦", "▪", "●")  # bullets also when the text follows at once
ELLIPSES = ("...", "…")

STATISTICS = pa.schema(
    [
        ("bytes", pa.int64()),
        ("characters", pa.int64()),
        ("words", pa.int64()),
        ("lines", pa.int64()),
        ("mean_word_length", pa.float64()),
        ("symbol_word_ratio", pa.float64()),
        ("alpha_word_ratio", pa.float64()),
        ("bullet_line_ratio", pa.float64()),
        ("ellipsis_line_ratio", pa.float64()),
        ("stop_words", pa.int64()),
        ("duplicate_line_ratio", pa.float64()),
        ("duplicate_line_char_ratio", pa.float64()),
        ("duplicate_paragraph_ratio", pa.float64()),
        ("duplicate_paragraph_char_ratio", pa.float64()),
        *((f"top_{n}gram_char_ratio", pa.float64()) for n in TOP_NGRAMS),
        *((f"duplicate_{n}gram_char_ratio", pa.float64()) for n in DUPLICATE_NGRAMS),
        ("opening_digest", pa.uint64()),
    ]
)

_BATCH_TEXTS = 1024  # texts that are Python strings at one time


def text_statistics(texts: pa.Array | pa.ChunkedArray) -> pa.Table:
    """One row of STATISTICS per text, in the order given. `texts` is string or large_string; a null counts as "".

    - `bytes` (UTF-8) and `characters` (code points) of the text as it is, whitespace included; `words`; `lines`.
    - `mean_word_length`: characters per word, the punctuation attached to it included (datatrove splits it off).
    - `symbol_word_ratio`: the larger of `#` per word and ellipses ("..." without overlap, or "…") per word.
    - `alpha_word_ratio`: share of the words with at least one letter (str.isalpha).
    - `bullet_line_ratio`: share of the lines whose first word is one of BULLET_WORDS or starts with one of BULLET_STARTS
      (datatrove: lines that start with "•" or "-", a negative number or an option such as "-v" too).
    - `ellipsis_line_ratio`: share of the lines that end in "..." or "…".
    - `stop_words`: how many different ones of STOP_WORDS occur, case and surrounding punctuation apart (0 to 8).
    - `duplicate_line_ratio`: lines equal to an earlier line / lines. `duplicate_line_char_ratio`: the size of those lines
      / the size of the text. The same for paragraphs. (datatrove divides by the characters of the text as it is.)
    - `top_Ngram_char_ratio`: of the word N-grams that occur most often, and at least twice, the longest: its size x its
      occurrences / size of the text, at most 1; 0 when none occurs twice. (datatrove counts an N-gram that occurs once,
      and takes the first of those that occur equally often.)
    - `duplicate_Ngram_char_ratio`: characters of the words that lie in an N-gram equal to one that starts earlier, each
      word once however many such N-grams overlap on it, without spaces / size of the text. (datatrove walks from left to
      right and jumps over a duplicate, so it may miss one that overlaps it; never the other way.)
    - `opening_digest`: 64-bit FNV-1a of the first OPENING_WORDS normal words (`synth.text.words`) joined by one space,
      fewer when the text has fewer, null when it has none. Equal openings have equal digests: the share of the most
      frequent one measures collapse into a template.
    """
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise TypeError(f"texts must be string or large_string, not {texts.type}")
    return pa.Table.from_pylist([_statistics(text) for text in _strings(texts)], schema=STATISTICS)


def _strings(texts: pa.Array | pa.ChunkedArray) -> Iterator[str]:
    for start in range(0, len(texts), _BATCH_TEXTS):
        for text in texts.slice(start, _BATCH_TEXTS).to_pylist():
            yield text or ""


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
