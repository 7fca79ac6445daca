"""Statistics of texts: the quantities that published quality and repetition heuristics put bounds on.

All of them are defined on whitespace. A *word* is a maximal run of characters without Unicode whitespace (str.split). A
*line* is the words of one line of str.splitlines; lines without words are no lines. A *paragraph* is a maximal run of
lines with no blank line between them. The *size* of words, of a line or of a paragraph is its length in characters
(Unicode code points) when its words are joined by one space and its lines by one line break: padding changes nothing.
The *size of the text* is that of all its words. A ratio over nothing is 0, so an empty text has zeros everywhere.

A *normal word* has a letter or digit (str.isalnum): Gopher's and DCLM's words without symbols. *Punctuation* is what has
Unicode's general category P* and the rest of string.punctuation ($ + < = > ^ ` | ~). A *sentence* ends with a word whose
last character, CLOSING_QUOTES and closing brackets and quotation marks (categories Pe, Pf, Pi) aside, is one of
TERMINAL_MARKS, and has at least one normal word; what follows the last one is one too if it has a normal word. So "e.g."
and "3." end a sentence, and "v1.0" does not. Phrases are looked for in the words of a line joined by one space, the case
of ASCII letters apart, as parts of words too.

Sources: Gopher (Rae et al. 2021, https://arxiv.org/abs/2112.11446, appendix A.1.1 and table A1), C4 (Raffel et al. 2020,
https://arxiv.org/abs/1910.10683, section 2.2, and its published code), FineWeb (Penedo et al. 2024,
https://arxiv.org/abs/2406.17557, section 3.6), RefinedWeb (Penedo et al. 2023, https://arxiv.org/abs/2306.01116, appendix
G.2) with the settings that DCLM published (Li et al. 2024, https://arxiv.org/abs/2406.11794), SlimPajama (Soboleva et al.
2023). Where a paper leaves room, and where datatrove 0.10 decides otherwise, is said beside each column. Everywhere
datatrove's words are spaCy's tokens, which split off punctuation, and its lines keep their padding; those of its
repetition and FineWeb filters end at "\\n" alone. `python -m tests.benchmarks.text_statistics agreement` counts what each
difference does on real texts.
"""

from __future__ import annotations

import secrets
from functools import cache

import numpy as np
import pyarrow as pa

from synth.text.buffers import TextBytes, text_bytes
from synth.text.marks import DUPLICATE_NGRAMS, TOP_NGRAMS, marks

STATISTICS = pa.schema(
    [
        ("bytes", pa.int64()),
        ("characters", pa.int64()),
        ("bare_characters", pa.int64()),
        ("words", pa.int64()),
        ("normal_words", pa.int64()),
        ("lines", pa.int64()),
        ("paragraphs", pa.int64()),
        ("sentences", pa.int64()),
        ("mean_word_length", pa.float64()),
        ("symbol_word_ratio", pa.float64()),
        ("alpha_word_ratio", pa.float64()),
        ("bullet_line_ratio", pa.float64()),
        ("ellipsis_line_ratio", pa.float64()),
        ("stop_words", pa.int64()),
        ("stop_word_occurrences", pa.int64()),
        ("punctuated_line_ratio", pa.float64()),
        ("short_line_ratio", pa.float64()),
        ("newline_word_ratio", pa.float64()),
        ("lorem_ipsum", pa.int64()),
        ("curly_brackets", pa.int64()),
        ("c4_line_ratio", pa.float64()),
        ("c4_sentences", pa.int64()),
        ("c4_sentences_any_end", pa.int64()),
        ("refinedweb_removed_word_ratio", pa.float64()),
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

    - `bytes` (UTF-8) and `characters` (code points) of the text as it is, whitespace included; `words`; `lines`;
      `normal_words`; `paragraphs`; `sentences`. (datatrove counts a token as a word if it has a character beyond its own list
      of punctuation, and asks spaCy for sentences.)

    Gopher:
    - `mean_word_length`: characters per word, the punctuation attached to it included (datatrove splits it off).
    - `symbol_word_ratio`: the larger of `#` per word and ellipses ("..." without overlap, or "…") per word.
    - `alpha_word_ratio`: share of the words with at least one letter (str.isalpha).
    - `bullet_line_ratio`: share of the lines whose first word is one of BULLET_WORDS or starts with one of BULLET_STARTS
      (datatrove: lines that start with "•" or "-", a negative number or an option such as "-v" too).
    - `ellipsis_line_ratio`: share of the lines that end in "..." or "…".
    - `stop_words`: how many different ones of STOP_WORDS occur, case and surrounding punctuation apart (0 to 8; datatrove:
      in lower case only). `stop_word_occurrences`: how often they occur, as DCLM counts them (but not next to punctuation).
    - `duplicate_line_ratio`: lines equal to an earlier line / lines. `duplicate_line_char_ratio`: the size of those lines
      / the size of the text. The same for paragraphs. (datatrove divides by the characters of the text as it is; DCLM
      counts the first of equal lines too, as of equal N-grams below.)
    - `top_Ngram_char_ratio`: of the word N-grams that occur most often, and at least twice, the longest: its size x its
      occurrences / size of the text, at most 1; 0 when none occurs twice. (datatrove counts an N-gram that occurs once,
      and takes the first of those that occur equally often.)
    - `duplicate_Ngram_char_ratio`: characters of the words that lie in an N-gram equal to one that starts earlier, each
      word once however many such N-grams overlap on it, without spaces / size of the text. (datatrove walks from left to
      right and jumps over a duplicate, so it may miss one that overlaps it; never the other way.)

    FineWeb:
    - `punctuated_line_ratio`: share of the lines whose last character is one of TERMINAL_MARKS, no quote or bracket after it
      (datatrove: nor a space; without the ellipsis character).
    - `short_line_ratio`: share of the lines of at most 30 characters, by their size (datatrove: with their indentation).
    - `newline_word_ratio`: line feeds (U+000A, of blank lines too) / words.

    C4:
    - `lorem_ipsum`: how often the phrase occurs, over the end of a line too (datatrove: within a line that it did not drop
      before for its length, its end or a long word). `curly_brackets`: how often "{" occurs (datatrove: as lorem ipsum).
    - `c4_line_ratio`: share of the lines that C4's rules keep: its last character is one of LINE_ENDS, and the line does not
      end in "..."; at least 3 words; none of more than 1000 characters; no "javascript"; none of POLICY_PHRASES. (datatrove
      and C4's code remove citations such as "[1]" first, so that "end.[1]" ends in a full stop; here it does not.)
    - `c4_sentences`: sentences of the lines that are kept, each line by itself. `c4_sentences_any_end`: the same without the
      rule about the line's end, as FineWeb uses it.

    RefinedWeb:
    - `refinedweb_removed_word_ratio`: share of the words in lines that its line rules flag: more than half of the line's size
      is upper case (str.isupper); all characters are digits (str.isdigit); a single word; a counter: two normal words, and
      between the non-alphanumeric characters at their ends the first is a digit with digits, dots and commas after it and
      perhaps k, m or b at its end, the second one of COUNTER_WORDS (case of ASCII letters apart); or a line of at most 10
      words that starts with "sign-in", ends in "read more..." or has "items in cart". (DCLM cuts only these phrases out.)

    SlimPajama:
    - `bare_characters`: characters that are neither whitespace nor punctuation.

    - `opening_digest`: 64-bit FNV-1a of the first OPENING_WORDS normal words (`synth.text.words`) joined by one space,
      fewer when the text has fewer, null when it has none. Equal openings have equal digests: the share of the most
      frequent one measures collapse into a template.

    The texts are measured by a compiled kernel, without the GIL. The first call of a process loads it (under 2 s); the
    first one of an installation compiles it (some 15 s) into numba's cache. TypeError for another type of array;
    ValueError, which names the first such text, where a text is not UTF-8.
    """
    return pa.Table.from_batches(map(_measured, text_bytes(texts)), schema=STATISTICS)


@cache
def _seed() -> int:
    return secrets.randbits(63)


def _measured(texts: TextBytes) -> pa.RecordBatch:
    from synth.text.kernels import COUNTS, RATIOS, measure  # imports numba: not for a process that measures nothing
    from synth.text.unicode_tables import character_tables

    measures = measure(*texts, character_tables(), marks(), _seed())
    columns = dict(zip(COUNTS, measures.counts, strict=True))
    ngrams = [f"{'top' if n in TOP_NGRAMS else 'duplicate'}_{n}gram_char_ratio" for n in TOP_NGRAMS + DUPLICATE_NGRAMS]
    columns |= dict(zip([*RATIOS, *ngrams], measures.ratios, strict=True))
    none = columns.pop("opening_words") == 0
    columns["opening_digest"] = columns["opening_digest"].view(np.uint64)
    arrays = [pa.array(columns[name], mask=none if name == "opening_digest" else None) for name in STATISTICS.names]
    return pa.RecordBatch.from_arrays(arrays, schema=STATISTICS)
