"""The rule `openings`: texts from one mould share an opening, whatever their numbers, marks and labels."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import filters.rules  # noqa: F401  adds the bundled rules
from filters.openings import CHARACTERS, MIN_WORDS, WORDS
from filters.registry import apply_rule, rules
from synth.text.words import normal_words


def openings(*texts: str | None) -> list[dict[str, Any]]:
    spec = rules.get("openings")
    return apply_rule(spec, pa.table({"generated": pa.array(texts, pa.large_string())}), spec.Options()).to_pylist()


LONG = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen."


@pytest.mark.parametrize(
    ("text", "opening", "ending"),
    [
        pytest.param(
            LONG,
            "one two three four five six seven eight nine ten eleven twelve",
            "three four five six seven eight nine ten eleven twelve thirteen fourteen",
            id="long",
        ),
        pytest.param("Only these five words here.", *["only these five words here"] * 2, id="short"),
        pytest.param("Only four words here.", None, None, id="too-short"),
        pytest.param("", None, None, id="empty"),
        pytest.param(None, None, None, id="null"),
        pytest.param("… — !!", None, None, id="no-words"),
        pytest.param("In 1987, 3.5% of 1,200 people left.", *["in 0 0 of 0 people left"] * 2, id="numbers"),
        pytest.param("What IS a “Loom”, and why?", *["what is a loom and why"] * 2, id="case-and-marks"),
    ],
)
def test_openings_and_endings(text: str | None, opening: str | None, ending: str | None) -> None:
    assert openings(text) == [{"opening": opening, "ending": ending}]


@pytest.mark.parametrize(
    "label",
    ["Q: ", "Q1: ", "Q12. ", "q) ", "Question: ", "Question 3: ", "**Question 3:** ", "## Question 4\n", "1. ", "12) ", "(3) ",
     "- ", "* ", "• ", "# ", "> ", "### 2. ", "**Q:** ", "1. **Question:** ", "A: ", "Answer: ", "Problem 7. ", "Exercise 2:\n",
     "**1.** ", "\n\n"],
)  # fmt: skip
def test_labels_are_not_part_of_an_opening(label: str) -> None:
    text = "What does the keeper of the bridge do at dusk?"
    assert openings(label + text) == openings(text)


@pytest.mark.parametrize(
    "text",
    [
        "A bridge spans the wide river.",
        "Questions are asked by many people.",
        "Question everything that you read here.",
        "Answer the call of the sea.",
        "1984 is a novel about surveillance.",
        "3.5 million people live in it.",
        "Problem solving is a useful skill.",
        "Q is a letter of it.",
    ],
)
def test_words_that_look_like_labels_stay(text: str) -> None:
    first = text.split()[0].casefold()
    assert openings(text)[0]["opening"].split()[0] == ("0" if first[0].isdigit() else first)


def test_texts_from_one_mould_are_equal() -> None:
    one, two = openings(
        "Q1: In 1805 Tom had 12 apples. How many of them did he then sell to his neighbour?",
        "**Question 2.** In 99 Tom had 3.5 apples; how many of them did he then sell to his sister?",
    )
    assert one["opening"] == two["opening"]
    assert one["ending"] != two["ending"]


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("ab1 .:-\nqQ*é"), max_size=120))
def test_what_is_said_of_both(text: str) -> None:
    (found,) = openings(text)
    words = len(normal_words(text))
    if found["opening"] is None:
        assert found["ending"] is None
    else:
        assert words >= MIN_WORDS
        assert MIN_WORDS <= len(found["opening"].split()) <= WORDS
        assert not set(found["opening"] + found["ending"]) & set("123456789QAB\n")


@pytest.mark.parametrize(
    "piece", ["1", "1. ", "q: ", "q ", "a", " ", "- ", "*", "question ", "question 1 ", "1.", "q*", "=", "("]
)
def test_a_hostile_megabyte_ends(piece: str) -> None:
    (found,) = openings(piece * (2**20 // len(piece)) + "\n\nFive words at the end.")
    assert found["ending"].endswith("words at the end")
    assert max(len(found["opening"]), len(found["ending"])) <= CHARACTERS


def test_words_as_long_as_paragraphs_are_cut() -> None:
    (found,) = openings(" ".join([f"{number}{'語' * 300}" for number in range(6)]))
    assert found["opening"] == "0" + "語" * 199
    assert found["ending"] == "語" * 200
