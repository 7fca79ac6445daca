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

import secrets
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from synth.text.kernels import Marks, Measures

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

    The texts are measured by a compiled kernel, without the GIL. The first call of a process loads it (under 2 s); the
    first one of an installation compiles it (about 10 s) into numba's cache. TypeError for another type of array;
    pyarrow.ArrowInvalid (a ValueError) for a text that is not UTF-8.
    """
    from synth.text.buffers import text_bytes
    from synth.text.kernels import measure  # imports numba, which a process that measures nothing has no use for
    from synth.text.unicode_tables import character_tables

    measured = (measure(*batch, character_tables(), _marks(), _seed()) for batch in text_bytes(texts))
    return pa.Table.from_batches(map(_record_batch, measured), schema=STATISTICS)


@cache
def _seed() -> int:
    return secrets.randbits(63)


@cache
def _marks() -> Marks:
    from synth.text.kernels import Marks

    return Marks(
        bullet_words=np.array(sorted(map(ord, BULLET_WORDS))),
        bullet_starts=np.array([*map(ord, BULLET_STARTS)]),
        stop_words=np.array([int.from_bytes(word.encode(), "big") for word in sorted(STOP_WORDS)]),
        opening_words=OPENING_WORDS,
        top_words=max(TOP_NGRAMS),
        duplicate_words=max(DUPLICATE_NGRAMS),
    )


def _record_batch(measures: Measures) -> pa.RecordBatch:
    *counts, opening, opening_words = measures.counts
    stop_words, ratios = counts.pop(), [*measures.ratios]
    openings = pa.array(opening.view(np.uint64), mask=opening_words == 0)
    columns = [*counts, *ratios[:5], stop_words, *ratios[5:]]
    return pa.RecordBatch.from_arrays([*map(pa.array, columns), openings], schema=STATISTICS)
