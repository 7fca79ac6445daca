"""Facts: what numbers and names are, against the definition character by character; and when a text's are another one's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import find_duplicates
from dedup.facts import FactStreams, facts_in, first_lacking, is_cut_off, missing
from tests import duplicates_oracle as oracle

FACT = np.uint64(1 << 63)


def streams(*texts: str) -> FactStreams:
    counts, *found = facts_in(pa.array(texts, pa.large_string()))
    return FactStreams(*found, np.cumsum(counts) - counts, np.cumsum(counts))


def written(text: str) -> list[tuple[str, bool]]:
    """The capitalised words and numbers as they stand in the text, and whether they are facts."""
    found = streams(text)
    raw = text.encode()
    bounds = zip(found.first_bytes.tolist(), found.last_bytes.tolist(), found.hashes.tolist(), strict=True)
    return [(raw[start:end].decode(), bool(np.uint64(value) & FACT)) for start, end, value in bounds]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Rain fell on Rome.", ["Rome"], id="a sentence's first word is no name"),
        pytest.param("It rained! Rome? (Rome.) “Rome…”", [], id="nor after other ends and brackets"),
        pytest.param("of Dr. Brown, J. Smith and St. Ives", ["Dr", "Brown", "J", "Smith", "St", "Ives"], id="titles"),
        pytest.param("in Paris. Then it rained", ["Paris"], id="a longer name's full stop ends"),
        pytest.param("at 12:30 on 3/4, 1,000 or 3.5; 2-3", ["12:30", "3/4", "1,000", "3.5", "2-3"], id="joined"),
        pytest.param("it is -4 or −5, not 6-", ["-4", "−5", "6"], id="signs"),
        pytest.param("a B12 and 10km", ["B12", "10km"], id="letters with digits"),
        pytest.param("2023年5月，共3.5亿", ["2023", "5", "3.5"], id="digits among Han"),
        pytest.param("\u0664\u0662 \u0967 ½ Ⅷ", ["\u0664\u0662", "\u0967", "½", "Ⅷ"], id="numerals of Unicode"),
        pytest.param("of Élise, of E\u0301lise", ["Élise", "E\u0301lise"], id="accents"),
        pytest.param("- Apples\n- Pears of Kent", ["Kent"], id="a line begins a sentence"),
        pytest.param("", [], id="empty"),
    ],
)
def test_facts(text: str, expected: list[str]) -> None:
    assert [name for name, is_fact in written(text) if is_fact] == expected


pieces = st.sampled_from(
    ["Rome", "rome", "A", "St", "7", "42", *"-.,!?(:’。", " ", "  ", "\n", *"年éÉ½٣ßﬁⅧǅxİａＢ１🙂", "e\u0301", "\x00"]
)
texts = st.lists(pieces, max_size=14).map("".join)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_facts_are_those_of_the_definition(text: str) -> None:
    expected = oracle.facts(text)
    found = streams(text)
    assert [bool(value & FACT) for value in found.hashes] == [is_fact for _, is_fact in expected]
    names = {}
    for value, (name, _) in zip(found.hashes | FACT, expected, strict=True):
        assert names.setdefault(int(value), name) == name
    assert len(set(names.values())) == len(names)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_read(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert [is_fact for _, is_fact in written(text)] == [is_fact for _, is_fact in oracle.facts(text)]


@settings(max_examples=300, deadline=None)
@given(texts, texts)
def test_lacking_is_that_of_the_definition(text: str, other: str) -> None:
    ones, others = np.array([0], np.int32), np.array([1], np.int32)
    found = first_lacking(streams(text, other), ones, others)[0] >= 0
    assert (found and not is_cut_off(text, other)) == oracle.lacking(text, other) or is_cut_off(text, other)


@pytest.mark.parametrize(
    ("text", "other", "lacks"),
    [
        pytest.param("the sum of 5 and 6", "the sum of 5 and 6 and 7", [], id="all there"),
        pytest.param("the sum of 5 and 6 and 7", "the sum of 5 and 6", [2], id="one more"),
        pytest.param("from 5 to 6", "from 6 to 5", [1], id="swapped"),
        pytest.param("he saw Rome and rain", "he saw rain. Rome is old", [], id="a name there begins a sentence"),
        pytest.param("he saw ROME in １９", "he saw Rome in 19", [], id="case and width"),
        pytest.param("costs 1000", "costs 1,000", [0], id="written otherwise"),
    ],
)
def test_first_lacking(text: str, other: str, lacks: list[int]) -> None:
    found = first_lacking(streams(text, other), np.array([0], np.int32), np.array([1], np.int32)).tolist()
    assert found == (lacks or [-1])


def test_missing_names_what_stands_nowhere() -> None:
    found = streams("with 5 of Rome and 7 of Oslo and 8", "with Rome and 5")
    numbers = missing(found, np.array([0], np.int32), np.array([1], np.int32), 2)
    assert numbers.tolist() == [[2, 3]]  # 7 and Oslo; 8 has no room


STORY = "one two three four five six seven eight nine ten " * 3 + "and the keeper of the harbour paid "


@pytest.mark.parametrize(
    ("text", "other", "expected"),
    [
        pytest.param(STORY + "12", STORY + "1250 crowns for it", True, id="in a number"),
        pytest.param(STORY + "Wash", STORY + "Washington in the spring", True, id="in a name"),
        pytest.param(STORY + "12", STORY + "1250.", False, id="the other one ends there as well"),
        pytest.param(STORY + "12", STORY + "12 crowns for it", False, id="at the end of a word"),
        pytest.param(STORY + "13", STORY + "1250 crowns for it", False, id="another number"),
        pytest.param("12", "the 1250 crowns 12 x", True, id="short"),
    ],
)
def test_is_cut_off(text: str, other: str, expected: bool) -> None:
    assert is_cut_off(text, other) == expected == oracle.cut_off(text, other)


def test_a_copy_cut_inside_a_number_is_a_duplicate_and_another_number_is_none() -> None:
    whole = " ".join(f"the keeper {'abcdefghijklmnopqrstuvwxyz'[at]} of the house paid well" for at in range(26))
    whole += " and 1250 crowns more"
    texts = {"whole": whole, "cut": whole[: whole.index("50 crowns")], "other": whole.replace("1250", "1350")}
    table = pa.table({"doc_id": list(texts), "text": list(texts.values())})
    found = {row["doc_id"]: row["reason"] or row["spared"] for row in find_duplicates(table).to_pylist()}
    assert found == {"cut": "near_duplicate", "other": None, "whole": "other_facts"}
