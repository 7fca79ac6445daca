"""Strings for a schema's pattern: they match, they differ with the ask, and what cannot be made is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.engine.scripted_pattern import UnsupportedSchema, matching
from synth.engine.scripted_text import Draws

WORDS = ["river", "bridge", "comet", "violin", "harbour"]


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"^abc$", id="literal"),
        pytest.param(r"^(What|How many|Is it) [^?\"\\\n]{5,90}\?$", id="a question"),
        pytest.param(r"^[A-Z0-9][^\"\\\n]{0,120}$", id="an answer"),
        pytest.param(r"^\d{4}-\d{2}$", id="a date"),
        pytest.param(r"^(?:a|(b|c)d)+e*f?$", id="nested groups"),
        pytest.param(r"^.{30}$", id="exactly thirty"),
        pytest.param(r"^[xy]{12,20}$", id="few characters"),
        pytest.param(r"^a\.b\(c\)$", id="escapes"),
    ],
)
@given(key=st.text(max_size=5))
def test_strings_match_their_pattern(pattern: str, key: str) -> None:
    assert re.fullmatch(pattern, matching(pattern, Draws(key).below, WORDS))


def test_running_text_is_made_of_the_words_given() -> None:
    made = {matching(r"^[A-Z][^?\n]{20,90}\?$", Draws(str(key)).below, WORDS) for key in range(50)}
    assert len(made) > 40
    assert all(set(text[1:-1].split()) <= set(WORDS) | {"rive", ""} for text in made)


@pytest.mark.parametrize("pattern", [r"^(a$", r"^*a$", r"^a(?=b)$", r"^(a)\1$"], ids=["open", "repeat", "look", "back"])
def test_what_cannot_be_made_is_refused(pattern: str) -> None:
    with pytest.raises(UnsupportedSchema):
        matching(pattern, Draws("k").below, WORDS)
