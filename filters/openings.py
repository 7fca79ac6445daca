"""How a generated text begins and ends, so that templates can be counted in SQL: texts from one mould share these words."""

from __future__ import annotations

import re

import pyarrow as pa

from synth.config import Config
from synth.text.words import normal_words

SCORES = pa.schema([("opening", pa.large_string()), ("ending", pa.large_string())])
WORDS = 12  # of an opening and of an ending
CHARACTERS = 200  # of either, at most: where no blanks are written, a word may be a paragraph
MIN_WORDS = 5  # of a text, for it to have either

# Marks of lists and headings, labels of questions and answers, numbers of questions. Each alternative begins otherwise, and
# none is tried twice: linear.
_LABELS = re.compile(
    r"(?:[\W_]+|(?:question|q|answer|a|problem|exercise|example|solution)[ \t]*+\d{0,6}+[ \t*_]*+[:.)](?=[\s*_])"
    r"|(?:question|problem|exercise|example)[ \t]++\d{1,6}+[ \t*_]*+\n|\d{1,6}+[*_]{0,3}+[:.)](?=[\s*_]))*+",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")


class OpeningOptions(Config):
    """The rule `openings` has no options."""


def score(table: pa.Table, options: OpeningOptions) -> pa.Table:
    """`opening` and `ending`: the first and the last WORDS words of `generated`, joined by blanks; null below MIN_WORDS words.
    No more than CHARACTERS characters of either.

    Words are compared as `synth.text.words.normal_words`, with every number as 0. Marks and labels at the text's start, such
    as `**Q1:**`, `Question 2.`, `3)` and `- `, are not part of the opening.
    """
    return pa.Table.from_pylist([_row(text or "") for text in table["generated"].to_pylist()], schema=SCORES)


def _row(text: str) -> dict[str, str | None]:
    labels = _LABELS.match(text)
    words = normal_words(text[labels.end() :] if labels else text)
    if len(words) < MIN_WORDS:
        return {"opening": None, "ending": None}
    opening, ending = (_NUMBER.sub("0", " ".join(some)) for some in (words[:WORDS], words[-WORDS:]))
    return {"opening": opening[:CHARACTERS].strip(), "ending": ending[-CHARACTERS:].strip()}
