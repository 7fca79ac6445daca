"""What near-duplicate removal is told to do: boilerplate, siblings, containment, templates, long lists of candidates."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dedup import MinHashConfig, ResolveConfig, find_duplicates, shingle_sets, word_shingles
from dedup.boilerplate import BOILERPLATE
from dedup.resolve import resolve
from tests import duplicates_oracle as oracle
from tests.duplicates_labelled import edited
from tests.test_dedup_resolve import SCHEMA, plain, real_texts

VOCABULARY = [f"word{plain(number)}" for number in range(300)]


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{"doc_id": f"d{at:05d}", **row} for at, row in enumerate(rows)], SCHEMA)


def reasons(table: pa.Table, config: ResolveConfig | None = None) -> list[str | None]:
    found: list[str | None] = find_duplicates(table, config or ResolveConfig())["reason"].to_pylist()
    return found


def own_words(rng: random.Random, count: int) -> str:
    return " ".join(f"{rng.choice(VOCABULARY)}{plain(rng.getrandbits(40))}" for _ in range(count))


def framed(count: int, family: str | None = None, own: int = 24, seed: int = 7) -> list[dict[str, Any]]:
    """Documents of `own` words each in a frame of 200 words that all share: raw similarity 0.77."""
    rng = random.Random(seed)
    opening, closing = own_words(rng, 100), own_words(rng, 100)
    return [{"text": f"{opening} {own_words(rng, own)} {closing}", "family": family} for _ in range(count)]


def test_boilerplate_of_a_family_is_not_compared() -> None:
    rows = framed(120, "letters")
    assert reasons(table_of(rows), ResolveConfig(boilerplate_share=1.0)).count("near_duplicate") > 100
    found = resolve(table_of(rows))
    assert found.duplicates["keep"].to_pylist() == [True] * 120
    assert found.boilerplate.schema == BOILERPLATE
    frame, _ = shingle_sets(pa.array([rows[0]["text"]]), 5)
    assert set(found.boilerplate["shingle"].to_pylist()) <= set(frame.tolist())
    assert len(found.boilerplate) == 2 * 96  # of each 100 words
    assert set(found.boilerplate["documents"].to_pylist()) == {120}
    assert set(found.boilerplate["family"].to_pylist()) == {"letters"}


def test_copies_of_a_text_make_no_boilerplate() -> None:
    """500 copies of one text among 120 others are one of 121 different contents."""
    rng = random.Random(2)
    rows = [{"text": own_words(rng, 60)} for _ in range(120)]
    rows += [{"text": rows[0]["text"]}] * 500
    found = resolve(table_of(rows))
    assert len(found.boilerplate) == 0
    assert found.duplicates["reason"].to_pylist().count("exact_duplicate") == 500


def test_a_family_below_the_floor_has_none() -> None:
    assert len(resolve(table_of(framed(99))).boilerplate) == 0
    assert len(resolve(table_of(framed(60, "a") + framed(60, "b"))).boilerplate) == 0
    assert len(resolve(table_of(framed(60, "a")), ResolveConfig(boilerplate_documents=60)).boilerplate) > 0


def test_a_given_list_is_taken_out_as_well_and_only_what_is_new_is_returned() -> None:
    """A second wave too small to show the boilerplate is compared as the first one was."""
    first, second = framed(140, "letters")[:130], framed(140, "letters")[130:]
    given = resolve(table_of(first)).boilerplate
    assert set(reasons(table_of(second))) == {None, "near_duplicate"}
    again = resolve(table_of(second), boilerplate=given)
    assert again.duplicates["reason"].to_pylist() == [None] * 10
    assert len(again.boilerplate) == 0
    other_family = [{**row, "family": "others"} for row in second]
    assert "near_duplicate" in resolve(table_of(other_family), boilerplate=given).duplicates["reason"].to_pylist()
    both = resolve(table_of(first + second), boilerplate=given.slice(10))
    assert sorted(both.boilerplate["shingle"].to_pylist()) == sorted(given["shingle"].to_pylist()[:10])


def test_a_document_that_is_all_boilerplate_is_an_exact_duplicate_or_stays() -> None:
    """Four shingles of its own are left of each: too few to compare, though two have the same ones."""
    rows = framed(120, own=30)
    frame = rows[0]["text"].split()
    bare = " ".join(frame[:100] + frame[130:])  # where opening and closing meet there are four shingles
    rows += [{"text": bare}, {"text": bare.upper()}, {"text": f"{bare} {frame[-1]}"}]
    found = resolve(table_of(rows)).duplicates.to_pylist()[120:]
    assert [row["reason"] for row in found] == [None, "exact_duplicate", None]
    fewer = reasons(table_of(rows), ResolveConfig(min_shingles=1))
    assert fewer[120] == "near_duplicate"


@pytest.mark.parametrize(
    ("families", "roots", "changed", "expected"),
    [
        pytest.param(("a", "b"), ("r", "s"), 11, "near_duplicate", id="other seeds"),
        pytest.param(("a", "b"), ("r", "r"), 11, None, id="siblings are nearer to each other by design"),
        pytest.param(("a", "a"), ("r", "r"), 11, None, id="in one family too"),
        pytest.param(("a", "b"), (None, None), 11, "near_duplicate", id="no root is no sibling"),
        pytest.param(("a", "b"), ("r", "r"), 4, "near_duplicate", id="near siblings"),
    ],
)
def test_siblings_have_their_own_threshold(families: Any, roots: Any, changed: int, expected: str | None) -> None:
    words = own_words(random.Random(3), 400).split()
    other = list(words)
    for at in range(0, changed * 10, 10):  # 11 words: J = 0.76; 4: J = 0.90
        other[at + 5] = own_words(random.Random(at), 1)[: len(other[at + 5])]
    texts = (" ".join(words) + ".", " ".join(other))
    rows = [
        {"text": text, "family": family, "root_id": root}
        for text, family, root in zip(texts, families, roots, strict=True)
    ]
    assert sorted(reasons(table_of(rows)), key=str) == sorted([None, expected], key=str)


@pytest.mark.parametrize(
    ("family", "root", "expected"),
    [
        pytest.param("a", "r", "contained", id="same family"),
        pytest.param("b", "r", None, id="a sibling of another family may be a part"),
        pytest.param("b", "s", "contained", id="another seed"),
    ],
)
def test_half_of_a_document_is_contained_in_it(family: str, root: str, expected: str | None) -> None:
    text = real_texts(1, 600)[0]
    half = " ".join(text.split()[150:450])
    rows = [{"text": text, "family": "a", "root_id": "r"}, {"text": half, "family": family, "root_id": root}]
    rows += [{"text": other} for other in real_texts(6, 600)[1:]]
    found = find_duplicates(table_of(rows)).to_pylist()[1]
    assert found["reason"] == expected
    if expected:
        assert (found["partner_id"], found["containment"]) == ("d00000", 1.0)
        assert found["doc_shingles"] == len(word_shingles(half))
        assert found["jaccard"] == found["doc_shingles"] / found["partner_shingles"] < 0.6


def test_what_two_survivors_hold_together_is_in_neither() -> None:
    texts = real_texts(2, 300)
    middle = " ".join([*texts[0].split()[150:], *texts[1].split()[:150]])
    rows = [{"text": f"{text} and a few words more"} for text in texts] + [{"text": middle}]
    assert reasons(table_of(rows)) == [None, None, None]


def test_a_template_keeps_as_many_as_it_may() -> None:
    """In the order of precedence; what is released counts; other families have no limit."""
    rows = [{**row, "released": at in (40, 41)} for at, row in enumerate(framed(60, "letters"))]
    rows += framed(30, "others", seed=8)
    rows += [{"text": text, "family": "letters"} for text in real_texts(3)]
    surely = MinHashConfig(bands=28, rows=4)  # two of them share no band with a probability of 1e-5
    config = ResolveConfig(max_per_template={"letters": 5}, jaccard=0.95, minhash=surely)
    found = {row["doc_id"]: row for row in find_duplicates(table_of(rows), config).to_pylist()}
    by_length = sorted(range(60), key=lambda at: (at not in (40, 41), -len(rows[at]["text"].encode()), f"d{at:05d}"))
    kept = {f"d{at:05d}" for at in by_length[2:5]}
    for at in set(range(60)) - {40, 41}:
        one = found[f"d{at:05d}"]
        assert (one["reason"], one["keep"]) == ((None, True) if one["doc_id"] in kept else ("template_limit", False))
        if not one["keep"]:
            assert one["partner_id"] == f"d{by_length[0]:05d}"
            assert 0.5 < one["jaccard"] < 0.95
    assert {found[f"d{at:05d}"]["reason"] for at in range(60, 93)} == {None}


def test_long_lists_lose_no_more_than_they_should() -> None:
    """400 near-copies of 8 texts of one length stand in lists far longer than what each is compared with. The rules of all
    pairs: whoever stays is near to no other survivor."""
    rng = random.Random(11)
    bases = [own_words(rng, 200) for _ in range(8)]
    rows = [{"text": edited(base, 1, VOCABULARY, rng)} for base in bases for _ in range(400)]
    table = table_of(rows)
    config = ResolveConfig(boilerplate_share=1.0)
    found = find_duplicates(table, config)
    by_id = dict(zip(table["doc_id"].to_pylist(), rows, strict=True))
    kept = [{**by_id[row["doc_id"]], **row, "released": False} for row in found.to_pylist() if row["keep"]]
    again = oracle.find_duplicates(kept, config)
    left = sum(row["keep"] for row in again.values())
    assert 8 <= left <= len(kept) <= 1.1 * left + 2
    ids = np.random.default_rng(5).permutation(len(table))
    shuffled = find_duplicates(table.take(pa.array(ids)), config)
    assert shuffled.sort_by("doc_id").equals(found.sort_by("doc_id"))


def test_equal_sets_are_no_copies() -> None:
    """Without digests, copies are looked for among texts with equal sets, and told by their digests."""
    three, four = (" ".join(["the ford lies below the mill and above the weir"] * times) for times in (3, 4))
    texts = {"a": three, "b": four, "c": four.upper(), "d": "", "e": "Oh!", "f": "oh"}
    table = pa.table({"doc_id": list(texts), "text": list(texts.values())})
    found = {row["doc_id"]: (row["partner_id"], row["reason"]) for row in find_duplicates(table).to_pylist()}
    assert found["a"] == ("b", "near_duplicate")
    assert found["c"] == ("b", "exact_duplicate")
    assert found["f"] == ("e", "exact_duplicate")
    assert found["b"] == found["d"] == found["e"] == (None, None)
