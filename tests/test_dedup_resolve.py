"""Verdicts: exact, justified by a survivor, and the same whatever the order of the rows."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import (
    DUPLICATES,
    MinHashConfig,
    ResolveConfig,
    band_hashes,
    exact_digest,
    find_duplicates,
    minhash_signatures,
    shingle_sets,
    word_shingles,
)
from dedup.candidates import candidate_groups
from dedup.jobs import Jobs
from dedup.sets import read_texts
from dedup.signatures import EMPTY
from synth.errors import IntegrityError, SourceError, SynthError
from tests import duplicates_oracle as oracle

Row = dict[str, Any]
ROOT = Path(__file__).parent.parent

# One row per band: a pair at J >= 0.5 shares none of 112 values with probability 2^-112, so nothing is missed.
CERTAIN = MinHashConfig(permutations=112, bands=112, rows=1, shingle_words=2)


def rows_of(*texts: str, released: Sequence[int] = ()) -> list[Row]:
    return [{"doc_id": f"d{at:05d}", "text": text, "released": at in released} for at, text in enumerate(texts)]


SCHEMA = pa.schema([(name, "string") for name in ("doc_id", "text", "family", "root_id")] + [("released", "bool")])


def verdicts(rows: Sequence[Row], config: ResolveConfig | None = None) -> dict[str, Row]:
    found = find_duplicates(pa.Table.from_pylist(list(rows), SCHEMA), config or ResolveConfig())
    assert found.schema == DUPLICATES
    return {row["doc_id"]: row for row in found.to_pylist()}


def kept(rows: Sequence[Row], config: ResolveConfig | None = None) -> list[str]:
    return [doc_id for doc_id, row in verdicts(rows, config).items() if row["keep"]]


def similarity(left: str, right: str, size: int) -> float:
    one, other = word_shingles(left, size), word_shingles(right, size)
    return len(one & other) / len(one | other) if one or other else 0.0


def without_evidence(found: dict[str, Row]) -> dict[str, Row]:
    return {doc_id: {name: row[name] for name in row if name != "facts"} for doc_id, row in found.items()}


@st.composite
def corpora(draw: st.DrawFn) -> list[Row]:
    """Small sets of texts that share much: edits of few bases over few words, with noise that normalisation removes."""
    word = st.sampled_from(["ant", "bee", "Cat", "dog", "é", "北", "7", "8", ". Elk", ". elk"])
    bases = draw(st.lists(st.lists(word, max_size=14), min_size=1, max_size=3))
    rows = []
    for at in range(draw(st.integers(0, 10))):
        words = list(draw(st.sampled_from(bases)))
        words = words[: draw(st.sampled_from([len(words), len(words) // 2]))]
        for _ in range(draw(st.integers(0, 2))):
            words.insert(draw(st.integers(0, len(words))), draw(word))
        text = draw(st.sampled_from([" ", ", ", "\n"])).join(words) + draw(st.sampled_from(["", ".", " ?!"]))
        family, root = draw(st.sampled_from([None, "a", "b"])), draw(st.sampled_from([None, "r", "s"]))
        released = draw(st.integers(0, 3)) == 0
        rows.append({"doc_id": f"d{at}", "text": text, "released": released, "family": family, "root_id": root})
    return draw(st.permutations(rows))


configs = st.builds(
    ResolveConfig,
    jaccard=st.sampled_from([0.5, 0.6, 0.75, 1.0]),
    sibling_jaccard=st.sampled_from([0.6, 0.8]),
    containment=st.sampled_from([0.6, 0.95]),
    boilerplate_share=st.sampled_from([0.3, 1.0]),
    boilerplate_documents=st.just(2),
    min_shingles=st.integers(1, 3),
    minhash=st.just(CERTAIN),
)


@settings(max_examples=400, deadline=None)
@given(corpora(), configs)
def test_verdicts_are_those_of_all_pairs(rows: list[Row], config: ResolveConfig) -> None:
    """Every band has one row, and in so few texts every shared shingle proposes: nothing is missed."""
    found = verdicts(rows, config)
    assert without_evidence(found) == oracle.find_duplicates(rows, config)
    assert list(found) == [row["doc_id"] for row in rows if not row["released"]]


@settings(max_examples=50, deadline=None)
@given(corpora(), st.data())
def test_order_of_rows_does_not_matter(rows: list[Row], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    assert verdicts(shuffled, ResolveConfig(minhash=MinHashConfig(shingle_words=2))) == verdicts(
        rows, ResolveConfig(minhash=MinHashConfig(shingle_words=2))
    )


def real_texts(count: int, words: int = 300) -> list[str]:
    """Passages of CPython's reference text that do not overlap."""
    every = " ".join(topics[name] for name in sorted(topics)).split()
    assert count * words <= len(every)
    return [" ".join(every[at * words : (at + 1) * words]) for at in range(count)]


def plain_word(rng: random.Random) -> str:
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=8))


def edited(text: str, edits: int, rng: random.Random) -> str:
    """With so many of its plain words (lower case, no digit) replaced."""
    words = text.split()
    plain = [at for at, word in enumerate(words) if word.isalpha() and word.islower()]
    for at in rng.sample(plain, edits):
        words[at] = plain_word(rng)
    return " ".join(words)


def real_corpus() -> list[Row]:
    """200 passages; of each a copy that differs in layout, one with 1 word edited, and one with 4 to 20."""
    rng = random.Random(5)
    texts = []
    for text in real_texts(200):
        texts += [text, text.replace(" ", "\n").upper(), edited(text, 1, rng), edited(text, rng.randrange(4, 20), rng)]
    return rows_of(*texts)


def test_every_drop_is_justified_and_close_pairs_are_found() -> None:
    """And all pairs find nothing else: rare shingles propose what fourteen bands miss."""
    rows = real_corpus()[:400]
    by_id = {row["doc_id"]: row["text"] for row in rows}
    found = verdicts(rows)
    for verdict in found.values():
        if verdict["keep"]:
            assert (verdict["cluster_id"], verdict["partner_id"], verdict["jaccard"]) == (verdict["doc_id"], None, None)
            continue
        text, partner = by_id[verdict["doc_id"]], by_id[verdict["partner_id"]]
        assert found[verdict["partner_id"]]["keep"]
        assert verdict["cluster_id"] == verdict["partner_id"]
        assert verdict["jaccard"] == similarity(text, partner, 5) >= 0.75
        assert verdict["doc_shingles"] == len(word_shingles(text))
        assert (verdict["reason"] == "exact_duplicate") == (exact_digest(text) == exact_digest(partner))
        assert len(partner.encode()) >= len(text.encode())
    ids = list(by_id)
    for at in range(0, len(rows), 4):
        # The passage, its copy and its single edit (J about 0.967) leave one survivor at most: the fourth may cover all.
        assert sum(found[doc_id]["keep"] for doc_id in ids[at : at + 3]) <= 1
    assert without_evidence(found) == oracle.find_duplicates(rows, ResolveConfig())


def test_other_groups_do_not_matter() -> None:
    rows = real_corpus()[:80]
    others = [
        {
            "doc_id": f"0{at}",
            "text": f"{edited('x ' * 50, 49, random.Random(at // 2))} {plain(at)}",
            "released": at % 3 == 0,
        }
        for at in range(60)
    ]
    together = verdicts([*others[:30], *rows, *others[30:]])
    assert {doc_id: together[doc_id] for doc_id in verdicts(rows)} == verdicts(rows)
    assert sum(not together[row["doc_id"]]["keep"] for row in others if not row["released"]) > 5


def plain(*numbers: int) -> str:
    """A word of its own without a digit for these numbers."""
    return "x".join("".join("abcdefghij"[int(digit)] for digit in str(number)) for number in numbers)


def template(count: int, own: int, digits: bool = False) -> list[str]:
    """Documents of 100 words in one template, `own` of them their own: numbers, or plain words."""
    texts = []
    for number in range(count):
        words = [f"template{plain(at)}" for at in range(100)]
        for at in range(own):
            words[at * (100 // own) + 2] = f"{number}.{at}" if digits else f"own{plain(number, at)}"
        texts.append(" ".join(words))
    return texts


def test_one_template_with_other_words_loses_nothing() -> None:
    """4 own words in 100: J = 0.655. Bands put hundreds of them into one component; none is a duplicate."""
    texts = template(500, 4)
    groups = candidate_groups(band_hashes(minhash_signatures(pa.array(texts))))
    assert np.bincount(groups).max() > 400
    assert 0.6 < similarity(texts[0], texts[1], 5) < 0.75
    assert len(kept(rows_of(*texts))) == 500


def test_a_template_that_hardly_differs_keeps_one() -> None:
    """1 own word in 100: J = 0.90. As long as so few documents are no family whose boilerplate is known."""
    texts = template(99, 1)
    assert 0.85 < similarity(texts[0], texts[1], 5) < 0.95
    assert len(kept(rows_of(*texts))) == 1


def test_a_template_whose_numbers_differ_keeps_all() -> None:
    """1 number in 100 words: J = 0.90, and each says something else. The verdict says what."""
    found = verdicts(rows_of(*template(99, 1, digits=True)))
    assert all(row["keep"] for row in found.values())
    spared = [row for row in found.values() if row["spared"]]
    assert len(spared) == 98  # all but the first, which is compared with nobody
    for row in spared:
        assert row["spared"] == "other_facts"
        assert row["jaccard"] > 0.75
        assert json.loads(row["facts"]) == {"lacking": [f"{int(row['doc_id'][1:])}.0"]}
        assert row["near_id"] != row["doc_id"]


def test_chains_lose_only_what_a_survivor_covers() -> None:
    """A ~ B ~ C where only neighbours are similar: A covers B, and nobody covers C. Components would keep A alone."""
    words = [f"w{plain(at)}" for at in range(1000, 1240)]
    # Windows that move by 20 of 200 words: J of neighbours about 0.81, of the next 0.66. The longer comes first: A, B, C.
    texts = [" ".join(words[at * 20 : at * 20 + 200 - at]) for at in range(3)]
    texts += [" ".join(f"v{word}" for word in text.split()) for text in texts]
    found = verdicts(rows_of(*texts), ResolveConfig(minhash=MinHashConfig(bands=112, rows=1)))
    assert similarity(texts[0], texts[1], 5) > 0.75 > similarity(texts[0], texts[2], 5)
    assert similarity(texts[1], texts[2], 5) > 0.75
    assert [row["keep"] for row in found.values()] == [True, False, True, True, False, True]
    assert [row["partner_id"] for row in found.values()] == [None, "d00000", None, None, "d00003", None]


def test_partner_is_the_most_similar_survivor() -> None:
    """Two survivors cover the last document; it names the closer one, which is not the first."""
    words = [f"w{plain(at)}" for at in range(1000, 1260)]
    far, near = " ".join(words[:200]) + " " * 200, " ".join(words[28:228]) + " " * 100
    last = " ".join(words[20:220])
    assert similarity(far, near, 5) < 0.76 <= similarity(far, last, 5) < similarity(near, last, 5)
    found = verdicts(rows_of(far, near, last), ResolveConfig(jaccard=0.76, minhash=MinHashConfig(bands=112, rows=1)))
    assert [row["keep"] for row in found.values()] == [True, True, False]
    assert found["d00002"]["partner_id"] == "d00001"
    assert found["d00002"]["jaccard"] == similarity(near, last, 5)


@pytest.mark.parametrize("longer", [0, 1])
def test_of_equally_similar_survivors_the_first_is_partner(longer: int) -> None:
    """Windows 20 words before and after the last document cover it equally: the longer of them is named."""
    words = [f"w{plain(at)}" for at in range(1000, 1240)]
    texts = [" ".join(words[:200]), " ".join(words[40:]), " ".join(words[20:220])]
    texts[longer] += " ..."
    found = verdicts(rows_of(*texts), ResolveConfig(minhash=MinHashConfig(bands=112, rows=1)))
    assert [row["keep"] for row in found.values()] == [True, True, False]
    assert similarity(texts[0], texts[2], 5) == similarity(texts[1], texts[2], 5)
    assert found["d00002"]["partner_id"] == f"d0000{longer}"


@pytest.mark.parametrize(
    ("threshold", "reason"), [pytest.param(0.75, "near_duplicate", id="at"), pytest.param(0.7501, None, id="above")]
)
def test_the_threshold_is_reached_by_equality(threshold: float, reason: str | None) -> None:
    config = ResolveConfig(jaccard=threshold, minhash=MinHashConfig(bands=112, rows=1, shingle_words=1))
    found = verdicts(rows_of("ant bee cat dog elk fox gnu", "ant bee cat dog elk fox owl"), config)
    assert [row["reason"] for row in found.values()] == [None, reason]


def test_short_and_empty_texts_take_the_exact_path() -> None:
    texts = ["one two", "One, two!", "one three", "", "", "?!", "...", "人工智能", "人工 智能", "人工智力"]
    found = verdicts(rows_of(*texts))
    dropped = {
        doc_id: (row["partner_id"], row["reason"], row["jaccard"]) for doc_id, row in found.items() if not row["keep"]
    }
    assert dropped == {
        "d00000": ("d00001", "exact_duplicate", 1.0),
        "d00007": ("d00008", "exact_duplicate", 1.0),
    }


def test_scripts_without_spaces_have_near_duplicates() -> None:
    text = "".join(chr(0x4E00 + 7 * at) for at in range(200))
    other = "".join(chr(0x4E00 + 7 * at + 1) for at in range(200))
    found = verdicts(rows_of(text, text[:-1] + "終", other))
    assert [row["reason"] for row in found.values()] == [None, "near_duplicate", None]
    assert found["d00001"]["jaccard"] == 195 / 197


def test_null_text_is_kept() -> None:
    table = pa.table({"doc_id": ["a", "b"], "text": pa.array([None, None], pa.string())})
    assert find_duplicates(table)["keep"].to_pylist() == [True, True]


def test_no_rows_give_no_verdicts() -> None:
    found = find_duplicates(pa.table({"doc_id": pa.array([], pa.string()), "text": pa.array([], pa.large_string())}))
    assert found.schema == DUPLICATES
    assert len(found) == 0


def test_released_documents_survive_and_cover() -> None:
    """Released ones win though shorter, get no verdict, and stay even where they are duplicates of each other."""
    text = real_texts(1)[0]
    longer = text + " and one more sentence at its end"
    rows = rows_of(longer, text, text.upper(), "one two", "One two.", released=[1, 2, 3])
    found = verdicts(rows)
    assert list(found) == ["d00000", "d00004"]
    assert found["d00000"]["partner_id"] == "d00001"
    assert found["d00000"]["reason"] == "near_duplicate"
    assert found["d00004"]["partner_id"] == "d00003"
    assert found["d00004"]["reason"] == "exact_duplicate"


def test_a_copy_of_a_dropped_document_is_covered_by_the_survivor() -> None:
    """Two copies yield to a longer document: neither of them is the other's partner."""
    text = real_texts(1)[0]
    found = verdicts(rows_of(text + " and four more words", text, text.upper()))
    assert [row["partner_id"] for row in found.values()] == [None, "d00000", "d00000"]
    assert {row["reason"] for row in found.values()} == {None, "near_duplicate"}


def test_given_sketches_are_used() -> None:
    """As the sign step stores them: an empty list where there is no shingle. Wrong ones show that they were read."""
    rows = real_corpus()[:40] + rows_of("one two", "One two")
    rows = [{**row, "doc_id": f"{at:03d}"} for at, row in enumerate(rows)]
    table = pa.Table.from_pylist(rows)
    signatures = [
        signature.tolist() if word_shingles(row["text"]) else []
        for row, signature in zip(rows, minhash_signatures(table["text"]), strict=True)
    ]
    signed = table.append_column("signature", pa.array(signatures, pa.list_(pa.uint32())))
    signed = signed.append_column("exact_digest", pa.array([exact_digest(row["text"]) for row in rows]))
    assert find_duplicates(signed).equals(find_duplicates(table))


@pytest.mark.parametrize("by", ["signature", "digest"])
def test_what_matches_a_text_out_of_reach_is_unverified_and_stays(by: str) -> None:
    """The released text is null; only what was stored of it is there. A match is a question, never a drop."""
    text, other, third = real_texts(3)
    table = pa.Table.from_pylist(rows_of(text, other, third, released=[0]), SCHEMA)
    stored = minhash_signatures(pa.array([text, text if by == "signature" else other, third])).tolist()
    digests = [exact_digest(text), exact_digest(text if by == "digest" else other), exact_digest(third)]
    table = table.append_column("signature", pa.array(stored, pa.list_(pa.uint32())))
    table = table.append_column("exact_digest", pa.array(digests))
    texts = pa.array([None, other, third], pa.string())
    found = find_duplicates(table.set_column(1, "text", texts)).to_pylist()
    assert [(row["keep"], row["spared"], row["near_id"]) for row in found] == [
        (True, "unverified", "d00000"),
        (True, None, None),
    ]
    assert found[0]["jaccard"] is None
    reached = find_duplicates(table).to_pylist()  # with the text, the comparison says no, unless the digests are equal
    assert [row["reason"] for row in reached] == ["exact_duplicate" if by == "digest" else None, None]
    assert [row["spared"] for row in reached] == [None, None]


def test_sketches_made_here_are_those_of_the_texts() -> None:
    texts = pa.array([*real_texts(20), "one two", "", None, "人工智能改变世界"], pa.large_string())
    table = pa.table({"doc_id": [f"d{at}" for at in range(len(texts))], "text": texts})
    with Jobs(workers=2) as jobs:
        read = read_texts(table, MinHashConfig(), jobs)
    expected = minhash_signatures(texts)
    assert (read.bands == band_hashes(expected).T).all()
    assert read.signed.tolist() == (expected != EMPTY).any(axis=1).tolist()
    assert read.digests.to_pylist() == [exact_digest(text or "") for text in texts.to_pylist()]
    hashes, offsets = shingle_sets(texts, 5)
    assert (read.sets.hashes == hashes).all()
    assert (read.sets.starts == offsets[:-1]).all() and (read.sets.ends == offsets[1:]).all()


@pytest.mark.parametrize("memory_bytes", [1 << 32, 1])
def test_characters_that_become_many_tokens_have_room(memory_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three bytes become six tokens: four times as many shingles as a text of that size has at most otherwise."""
    monkeypatch.setattr("dedup.jobs._LEAST_BYTES", 0)
    squares = [chr(code) for code in range(0x3300, 0x3358)]
    texts = ["".join(random.Random(at).choices(squares, k=2000)) for at in range(3)]
    table = pa.table({"doc_id": ["a", "b", "c"], "text": texts})
    with Jobs(workers=1, memory_bytes=memory_bytes) as jobs:
        sets = read_texts(table, MinHashConfig(), jobs).sets
        assert len(sets.hashes) > sum(len(text.encode()) for text in texts) // 2
        assert (sets.hashes == shingle_sets(table["text"], 5)[0]).all()


def table_of(**columns: Any) -> pa.Table:
    return pa.table({"doc_id": ["a", "b"], "text": ["x", "y"], **columns})


@pytest.mark.parametrize(
    ("table", "kind", "words"),
    [
        pytest.param(table_of().drop_columns("text"), SourceError, "needs a column 'text'", id="no text"),
        pytest.param(table_of().drop_columns("doc_id"), SourceError, "needs a column 'doc_id'", id="no id"),
        pytest.param(table_of(text=[1, 2]), SourceError, "column 'text'\n  given:   int64", id="text of numbers"),
        pytest.param(table_of(doc_id=["a", None]), SourceError, "column 'doc_id'\n  given:   1 nulls", id="null id"),
        pytest.param(
            table_of(released=["yes", "no"]), SourceError, "column 'released'\n  given:   string", id="released"
        ),
        pytest.param(table_of(signature=[[1], [2]]), SourceError, "allowed: list<uint32>", id="signature type"),
        pytest.param(
            table_of(signature=pa.array([[1] * 64] * 2, pa.list_(pa.uint32()))),
            IntegrityError,
            "lengths 64\n  allowed: 112 values",
            id="signature length",
        ),
        pytest.param(table_of(exact_digest=pa.array(["a", None])), SourceError, "'exact_digest'", id="null digest"),
        pytest.param(
            table_of(doc_id=["a", "a"]), IntegrityError, "1 document ids stand in more than one row", id="twice"
        ),
    ],
)
def test_wrong_tables_are_refused(table: pa.Table, kind: type[SynthError], words: str) -> None:
    with pytest.raises(kind, match=words):
        find_duplicates(table)


def verdict_digest(rows: Sequence[Row]) -> str:
    found = sorted(verdicts(rows).items())
    return hashlib.sha256(repr(found).encode()).hexdigest()


def test_verdicts_do_not_depend_on_the_hash_seed() -> None:
    script = "from tests.test_dedup_resolve import *; print(verdict_digest(real_corpus()[:80]))"
    digests = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout.strip())
    assert digests == {verdict_digest(real_corpus()[:80])}
