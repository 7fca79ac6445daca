"""The gates of a recipe that names none: Gopher's bounds on seeds and prose, looser ones where a family's form repeats.

They are for English (stop words) and name no language; a recipe for another language, for seeds that are bare topics, or
for tables and code names its own gates. They read the columns of the rule `statistics` and, for documents, of `copy`.
Whether an unknown licence is accepted is not theirs to say.
"""

from __future__ import annotations

from filters.gates import Gate
from filters.published import REPETITION_BOUNDS

PROSE_FAMILIES = ("distill", "guided_rewrite", "textbook", "thought_aug", "wiki_clean")
"""Families whose generated text is running prose, so that prose heuristics hold for it."""

STRUCTURED_FAMILIES = ("diverse_qa", "faq", "gap_dialogue", "table_qa", "tutorial")
"""Families whose form breaks prose heuristics (short lines, bullets, marks) but whose texts are no shorter than prose."""

FAITHFUL_FAMILIES = ("distill", "diverse_qa", "faq", "guided_rewrite", "tutorial", "wiki_clean")
"""Families that say what their source says: a number that does not stand there is invented. Others derive numbers, which
`arithmetic` checks (math_problem), look at them themselves (table_qa), or may add (textbook, gap_dialogue, thought_aug)."""

REPHRASING_FAMILIES = ("wiki_clean",)
"""Families that say all of what their source says, at about its length."""

CONDENSING_FAMILIES = ("distill",)
"""Families that say the most important of what their source says."""


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


def _fidelity() -> tuple[Gate, ...]:
    """Names as numbers; and how much of the source is there. The bounds were measured on 200 paragraphs with planted edits:
    `python -m tests.benchmarks.fidelity`. Tutorials keep the content in another order and in short steps.
    """
    bounds = (
        ("length_ratio", "wrong_length", {REPHRASING_FAMILIES: (0.6, 1.5), CONDENSING_FAMILIES: (0.25, 0.9)}),
        (
            "fact_recall",
            "facts_lost",
            {REPHRASING_FAMILIES: (0.85, None), (*CONDENSING_FAMILIES, "tutorial"): (0.6, None)},
        ),
        ("content_recall", "content_lost", {REPHRASING_FAMILIES: (0.45, None), CONDENSING_FAMILIES: (0.35, None)}),
    )
    faithful = (*REPHRASING_FAMILIES, *CONDENSING_FAMILIES)
    return (
        Gate(column="least_half_recall", min=0.25, families=faithful, missing="keep", reason="half_lost"),
        Gate(
            column="names_invented",
            max=0,
            families=faithful,
            missing="keep",
            evidence="invented_names",
            reason="invented_name",
        ),
        *(
            Gate(column=column, min=low, max=high, families=families, missing="keep", reason=reason)
            for column, reason, by_families in bounds
            for families, (low, high) in by_families.items()
        ),
    )


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
    Gate(column="words", min=20, families=(*PROSE_FAMILIES, *STRUCTURED_FAMILIES), reason="too_short"),
    Gate(column="words", min=5, reason="too_short"),  # a problem's solution may be one line
    Gate(column="words", max=100_000, reason="too_long"),
    *_quality(PROSE_FAMILIES),
    *_repetition(PROSE_FAMILIES),
    # Of the other families' text only a loop is refused. Questions open alike ("Question: What is the ..."), answers take
    # up the question's words and "Yes." recurs, so that good question-and-answer text breaks most bounds of table A1: four
    # plain pairs about one event reach 0.14 for 10-grams, one sentence said six times 0.56.
    Gate(column="duplicate_line_char_ratio", max=0.20, reason="repeated_lines"),
    Gate(column="duplicate_10gram_char_ratio", max=0.30, reason="repeated_ngrams"),
    # What is never training data, or cheaply known to be wrong.
    Gate(column="canary_seed", max=0, reason="canary_seed"),
    Gate(column="foreign_canaries", max=0, evidence="injected", reason="canary_obeyed"),
    Gate(column="self_names", max=0, evidence="leaked", reason="leak"),
    Gate(column="chat_fragments", max=0, evidence="leaked", reason="leak"),
    Gate(column="equations_wrong", max=0, evidence="wrong_equations", reason="wrong_arithmetic"),
    Gate(
        column="numbers_invented",
        max=0,
        families=FAITHFUL_FAMILIES,
        missing="keep",
        evidence="invented_numbers",
        reason="invented_number",
    ),
    *_fidelity(),
    Gate(column="unverified_generations", max=0, reason="unverified_generation"),
    # Above this a rewrite is a copy. Our own choice; to be calibrated per family on a release (`longest_copied_words` helps).
    Gate(column="copy_8gram_share", max=0.6, missing="keep", reason="copied"),
)
"""For documents of any family; prose heuristics for PROSE_FAMILIES only."""
