"""The gates of a recipe that names none: Gopher's bounds on seeds and prose, looser ones where a family's form repeats.

They are for English (stop words) and name no language; a recipe for another language, for seeds that are bare topics, or
for tables and code names its own gates. They read the columns of the rule `statistics` and, for documents, of `copy`.
Whether an unknown licence is accepted is not theirs to say.
"""

from __future__ import annotations

from filters.gates import Gate

PROSE_FAMILIES = ("distill", "textbook")
"""Families whose generated text is running prose, so that prose heuristics hold for it."""

REPETITION_BOUNDS = {  # Rae et al. 2021 (https://arxiv.org/abs/2112.11446), table A1
    "duplicate_line_ratio": 0.30,
    "duplicate_paragraph_ratio": 0.30,
    "duplicate_line_char_ratio": 0.20,
    "duplicate_paragraph_char_ratio": 0.20,
    "top_2gram_char_ratio": 0.20,
    "top_3gram_char_ratio": 0.18,
    "top_4gram_char_ratio": 0.16,
    "duplicate_5gram_char_ratio": 0.15,
    "duplicate_6gram_char_ratio": 0.14,
    "duplicate_7gram_char_ratio": 0.13,
    "duplicate_8gram_char_ratio": 0.12,
    "duplicate_9gram_char_ratio": 0.11,
    "duplicate_10gram_char_ratio": 0.10,
}


def _quality(families: tuple[str, ...] = ()) -> tuple[Gate, ...]:
    """Rae et al. 2021, appendix A.1.1, without the bound on words."""
    return (
        Gate(column="mean_word_length", min=3, max=10, families=families, reason="odd_word_length"),
        Gate(column="symbol_word_ratio", max=0.1, families=families, reason="many_symbols"),
        Gate(column="bullet_line_ratio", max=0.9, families=families, reason="mostly_bullets"),
        Gate(column="ellipsis_line_ratio", max=0.3, families=families, reason="cut_lines"),
        Gate(column="alpha_word_ratio", min=0.8, families=families, reason="few_letters"),
        Gate(column="stop_words", min=2, families=families, reason="few_stop_words"),
    )


def _repetition(families: tuple[str, ...] = ()) -> tuple[Gate, ...]:
    bounds = REPETITION_BOUNDS.items()
    return tuple(Gate(column=column, max=bound, families=families, reason=_repeats(column)) for column, bound in bounds)


def _repeats(column: str) -> str:
    unit = "lines" if "_line_" in column else "paragraphs" if "_paragraph_" in column else "ngrams"
    return f"repeated_{unit}"


DEFAULT_SEED_GATES: tuple[Gate, ...] = (
    Gate(column="words", min=50, reason="too_short"),  # Rae et al. 2021, appendix A.1.1: 50 to 100,000 words
    Gate(column="words", max=100_000, reason="too_long"),
    *_quality(),
    *_repetition(),
)
"""For seeds that are documents."""

DEFAULT_DOCUMENT_GATES: tuple[Gate, ...] = (
    # Gopher asks for 50 words of a web page. Two short questions with answers, or a passage of 80 words distilled to a
    # quarter (the strongest compression of the rewriting families), are whole documents at 20.
    Gate(column="words", min=20, reason="too_short"),
    Gate(column="words", max=100_000, reason="too_long"),
    *_quality(PROSE_FAMILIES),
    *_repetition(PROSE_FAMILIES),
    # Of the other families' text only a loop is refused. Questions open alike ("Question: What is the ..."), answers take
    # up the question's words and "Yes." recurs, so that good question-and-answer text breaks most bounds of table A1: four
    # plain pairs about one event reach 0.14 for 10-grams, one sentence said six times 0.56.
    Gate(column="duplicate_line_char_ratio", max=0.20, reason="repeated_lines"),
    Gate(column="duplicate_10gram_char_ratio", max=0.30, reason="repeated_ngrams"),
    # Above this a rewrite is a copy. Our own choice; to be calibrated per family on a release (`longest_copied_words` helps).
    Gate(column="copy_8gram_share", max=0.6, missing="keep", reason="copied"),
)
"""For documents of any family; prose heuristics for PROSE_FAMILIES only."""
