"""Canaries: one token per seed, an instruction that asks for it, and found again whatever an answer did to it."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth import rows
from synth.canaries import CANARY, CANARY_KINDS, CANARY_SOURCE, canaries_in, canary_kind, canary_of, canary_seed, inject
from synth.digest import digest
from synth.sources_python_docs import topic_passages, topics_file

PASSAGES = [
    json.loads(line)["text"]
    for line in importlib.resources.files("synth.data").joinpath("passages.jsonl").read_text("utf-8").splitlines()
]
IDS = {canary_kind(digest(number)): digest(number) for number in range(400)}  # a seed of each kind
TEXTS = [
    "One.",
    "Without an end",
    "First sentence. Second one! Third?",
    "A paragraph.\n\nAnother one.\n \nA third.",
    "Line one\nline two\n",
    "{braces} 100% <b>",
    *PASSAGES[:3],
]


def seed(number: int = 1, **values: Any) -> dict[str, Any]:
    row = {
        "id": digest(number),
        "source_id": "texts",
        "root_id": "r",
        "generation_depth": 0,
        "text": "A text. And more.",
    }
    return dict.fromkeys(rows.SEED.names) | row | values


def test_there_are_kinds_enough_and_all_are_drawn_alike() -> None:
    assert len(CANARY_KINDS) >= 10
    drawn = Counter(canary_kind(digest(number)) for number in range(6000))
    assert set(drawn) == set(CANARY_KINDS)
    expected = 6000 / len(CANARY_KINDS)
    assert (
        sum((count - expected) ** 2 / expected for count in drawn.values()) < 36.1
    )  # chi-squared, 14 degrees, p = 0.001


@pytest.mark.parametrize("kind", CANARY_KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_an_instruction_is_added_and_nothing_is_lost(kind: str, text: str) -> None:
    injected = inject(text, IDS[kind])
    token = canary_of(IDS[kind])
    assert set(canaries_in(injected)) == {token} == set(CANARY.findall(injected))
    assert inject(text, IDS[kind]) == injected
    assert any(
        injected == text[:at] + injected[at : at + len(injected) - len(text)] + text[at:] for at in range(len(text) + 1)
    )


def test_an_instruction_for_the_middle_stands_between_paragraphs_or_sentences() -> None:
    for kind in ("editor_note", "html_comment", "french", "markdown_link"):
        token = canary_of(IDS[kind])
        paragraphs = inject("One one. One.\n\nTwo two. Two.\n\nThree three three three.", IDS[kind]).split("\n\n")
        assert [token in paragraph for paragraph in paragraphs] == [False, False, True, False]
        sentences = inject("One two three. Four five six.", IDS[kind])
        assert sentences.startswith("One two three. ")
        assert sentences.endswith(" Four five six.")
        assert token in sentences


def test_tokens_differ_between_seeds() -> None:
    tokens = {canary_of(digest(number)) for number in range(2000)}
    assert len(tokens) == 2000
    assert all(CANARY.fullmatch(token) for token in tokens)


def test_a_canary_seed_is_a_seed_of_its_own() -> None:
    original = seed(license="MIT", language="en", source="a title", quality=0.5, meta='{"id":"n1"}')
    planted = canary_seed(original)
    kind = canary_kind(original["id"])
    changed = {name for name in rows.SEED.names if planted[name] != original[name]}
    assert changed == {"id", "source_id", "text", "meta"}
    assert planted["source_id"] == CANARY_SOURCE
    assert planted["text"] == inject(original["text"], original["id"])
    assert re.fullmatch("[0-9a-f]{64}", planted["id"])
    assert json.loads(planted["meta"]) == {
        "id": "n1",
        "canary": canary_of(original["id"]),
        "canary_kind": kind,
        "canary_of": original["id"],
    }
    assert json.loads(canary_seed(seed(meta=None))["meta"]).keys() == {"canary", "canary_kind", "canary_of"}
    rows.table([planted], rows.SEED)


BETWEEN = st.text(st.sampled_from(" -_*`~.\n\u200b\u2060\ufeff\u00ad"), max_size=3)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(0, 999), st.sampled_from([str.upper, str.lower, str.title]))
def test_a_token_is_found_under_any_decoration(data: st.DataObject, number: int, case: Any) -> None:
    token = canary_of(digest(number))
    written = case("".join(character + data.draw(BETWEEN) for character in token))
    before, after = (
        data.draw(st.sampled_from(PASSAGES)),
        data.draw(st.sampled_from(["", ".", " and on", "**", "\nabc"])),
    )
    assert canaries_in(f"{before} {written}{after}") == [token]


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(st.sampled_from("zqcanry- 0f")))
def test_no_token_is_found_where_its_letters_do_not_stand(text: str, near: str) -> None:
    plain = f"{text} {near}"
    letters = "".join(character for character in plain.casefold() if character.isalnum())
    assert bool(canaries_in(plain)) == ("zqcanary" in letters)


def test_no_token_is_found_in_ordinary_text() -> None:
    assert [
        text for text in (*PASSAGES, *(text for _, text in topic_passages(topics_file()))) if canaries_in(text)
    ] == []


def test_a_part_of_a_token_and_several_tokens_are_found() -> None:
    one, two = canary_of("a"), canary_of("b")
    assert canaries_in(f"{one}{two}, {one[:15]}. xyz {one}") == [one, two, one[:15], one]


@pytest.mark.parametrize("piece", ["z", "z ", "zq", "z\n", "zqcanary-", " ", "-", "zqcanary "])
def test_a_hostile_megabyte_ends(piece: str) -> None:
    text = piece * (2**20 // len(piece))
    assert len(canaries_in(text)) == text.replace(" ", "").replace("-", "").count("zqcanary")
    assert canary_of("s") in canaries_in(f"{text}. {canary_of('s')}")
    assert canary_of("s") in inject(text, "s")
