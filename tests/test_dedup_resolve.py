"""Verdicts: exact, justified by a survivor, and the same whatever the order of the rows."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
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
    word_shingles,
)
from dedup.candidates import candidate_groups
from synth.errors import IntegrityError, SourceError, SynthError

Row = dict[str, Any]
ROOT = Path(__file__).parent.parent

# One row per band: a pair at J >= 0.5 shares none of 112 values with probability 2^-112, so nothing is missed.
CERTAIN = MinHashConfig(permutations=112, bands=112, rows=1, shingle_words=2)


def rows_of(*texts: str, released: Sequence[int] = ()) -> list[Row]:
    return [{"doc_id": f"d{at:05d}", "text": text, "released": at in released} for at, text in enumerate(texts)]


def verdicts(rows: Sequence[Row], config: ResolveConfig | None = None) -> dict[str, Row]:
    table = pa.Table.from_pylist(
        list(rows), pa.schema([("doc_id", "string"), ("text", "string"), ("released", "bool")])
    )
    found = find_duplicates(table, config or ResolveConfig())
    assert found.schema == DUPLICATES
    return {row["doc_id"]: row for row in found.to_pylist()}


def kept(rows: Sequence[Row], config: ResolveConfig | None = None) -> list[str]:
    return [doc_id for doc_id, row in verdicts(rows, config).items() if row["keep"]]


def similarity(left: str, right: str, size: int) -> float:
    one, other = word_shingles(left, size), word_shingles(right, size)
    return len(one & other) / len(one | other) if one or other else 0.0


def brute_force(rows: Sequence[Row], threshold: float, size: int) -> dict[str, Row]:
    """All pairs, from the definition."""
    survivors: list[Row] = []
    verdicts = {}
    for row in sorted(rows, key=lambda row: (not row["released"], -len(row["text"].encode()), row["doc_id"])):
        digest = exact_digest(row["text"])
        copies = [one for one in survivors if exact_digest(one["text"]) == digest != exact_digest("")]
        near = [(similarity(row["text"], one["text"], size), -at, one) for at, one in enumerate(survivors)]
        near = [found for found in near if found[0] >= threshold]
        verdict = {"doc_id": row["doc_id"], "keep": True, "cluster_id": row["doc_id"]}
        verdict |= {"partner_id": None, "jaccard": None, "reason": None}
        if copies or near:
            jaccard, _, partner = (1.0, 0, copies[0]) if copies else max(near, key=lambda found: found[:2])
            reason = "exact_duplicate" if copies else "near_duplicate"
            verdict |= {"keep": False, "cluster_id": partner["doc_id"], "partner_id": partner["doc_id"]}
            verdict |= {"jaccard": jaccard, "reason": reason}
        if row["released"] or verdict["keep"]:
            survivors.append(row)
        if not row["released"]:
            verdicts[row["doc_id"]] = verdict
    return verdicts


@st.composite
def corpora(draw: st.DrawFn) -> list[Row]:
    """Small sets of texts that share much: edits of few bases over few words, with noise that normalisation removes."""
    word = st.sampled_from(["ant", "bee", "Cat", "dog", "é", "北"])
    bases = draw(st.lists(st.lists(word, max_size=14), min_size=1, max_size=3))
    rows = []
    for at in range(draw(st.integers(0, 10))):
        words = list(draw(st.sampled_from(bases)))
        for _ in range(draw(st.integers(0, 2))):
            words.insert(draw(st.integers(0, len(words))), draw(word))
        text = draw(st.sampled_from([" ", ", ", "\n"])).join(words) + draw(st.sampled_from(["", ".", " ?!"]))
        rows.append({"doc_id": f"d{at}", "text": text, "released": draw(st.integers(0, 3)) == 0})
    return draw(st.permutations(rows))


@settings(max_examples=150, deadline=None)
@given(corpora(), st.sampled_from([0.5, 0.6, 0.75, 1.0]))
def test_verdicts_are_those_of_all_pairs(rows: list[Row], threshold: float) -> None:
    expected = brute_force(rows, threshold, CERTAIN.shingle_words)
    found = verdicts(rows, ResolveConfig(jaccard=threshold, minhash=CERTAIN))
    assert found == expected
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


def edited(text: str, edits: int, rng: random.Random) -> str:
    words = text.split()
    for at in rng.sample(range(len(words)), edits):
        words[at] = f"edit{rng.getrandbits(32):08x}"
    return " ".join(words)


def real_corpus() -> list[Row]:
    """200 passages; of each a copy that differs in layout, one with 1 word edited, and one with 4 to 20."""
    rng = random.Random(5)
    texts = []
    for text in real_texts(200):
        texts += [text, text.replace(" ", "\n").upper(), edited(text, 1, rng), edited(text, rng.randrange(4, 20), rng)]
    return rows_of(*texts)


def test_every_drop_is_justified_and_close_pairs_are_found() -> None:
    rows = real_corpus()
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
        assert (verdict["reason"] == "exact_duplicate") == (exact_digest(text) == exact_digest(partner))
        assert len(partner.encode()) >= len(text.encode())
    ids = list(by_id)
    for at in range(0, len(rows), 4):
        # The passage, its copy and its single edit (J about 0.967) leave one survivor at most: the fourth may cover all.
        assert sum(found[doc_id]["keep"] for doc_id in ids[at : at + 3]) <= 1
    expected = brute_force_kept_near(rows)
    missed = expected - {doc_id for doc_id, verdict in found.items() if not verdict["keep"]}
    assert len(missed) <= 0.1 * len(rows) / 4


def brute_force_kept_near(rows: Sequence[Row]) -> set[str]:
    """The ids that all pairs within each passage's four variants would drop; the passages themselves do not overlap."""
    dropped: set[str] = set()
    for at in range(0, len(rows), 4):
        found = brute_force(rows[at : at + 4], 0.75, 5)
        dropped |= {doc_id for doc_id, verdict in found.items() if not verdict["keep"]}
    return dropped


def test_other_groups_do_not_matter() -> None:
    rows = real_corpus()[:80]
    others = [
        {"doc_id": f"0{at}", "text": f"{edited('x ' * 50, 49, random.Random(at // 2))} {at}", "released": at % 3 == 0}
        for at in range(60)
    ]
    together = verdicts([*others[:30], *rows, *others[30:]])
    assert {doc_id: together[doc_id] for doc_id in verdicts(rows)} == verdicts(rows)
    assert sum(not together[row["doc_id"]]["keep"] for row in others if not row["released"]) > 5


def template(count: int, facts: int) -> list[str]:
    """Documents of 100 words in one template, `facts` of them its own."""
    texts = []
    for number in range(count):
        words = [f"template{at}" for at in range(100)]
        for fact in range(facts):
            words[fact * (100 // facts) + 2] = f"fact{number}x{fact}"
        texts.append(" ".join(words))
    return texts


def test_one_template_with_other_facts_loses_nothing() -> None:
    """4 facts in 100 words: J = 0.655. Bands put hundreds of them into one component; none is a duplicate."""
    texts = template(500, 4)
    groups = candidate_groups(band_hashes(minhash_signatures(pa.array(texts))))
    assert np.bincount(groups).max() > 400
    assert 0.6 < similarity(texts[0], texts[1], 5) < 0.75
    assert len(kept(rows_of(*texts))) == 500


def test_a_template_that_hardly_differs_keeps_one() -> None:
    """1 fact in 100 words: J = 0.90."""
    texts = template(300, 1)
    assert 0.85 < similarity(texts[0], texts[1], 5) < 0.95
    assert len(kept(rows_of(*texts))) == 1


def test_chains_lose_only_what_a_survivor_covers() -> None:
    """A ~ B ~ C where only neighbours are similar: A covers B, and nobody covers C. Components would keep A alone."""
    words = [f"w{at:03d}" for at in range(240)]
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
    words = [f"w{at}" for at in range(260)]
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
    words = [f"w{at:03d}" for at in range(240)]
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
    found = verdicts(rows_of("ant bee cat dog", "ant bee cat"), config)
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
    no_sketch = table.append_column("signature", pa.array([[]] * len(rows), pa.list_(pa.uint32())))
    assert set(find_duplicates(no_sketch)["reason"].to_pylist()) == {None, "exact_duplicate"}


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


def test_identical_documents_take_linear_time() -> None:
    text = real_texts(1, words=60)[0]
    seconds = []
    for count in (2_500, 20_000):
        rows = rows_of(*[text] * count)
        start = time.process_time()
        assert kept(rows) == ["d00000"]
        seconds.append(time.process_time() - start)
    assert seconds[1] < 20 * seconds[0]


def test_near_identical_documents_take_linear_time() -> None:
    """One survivor covers all others: the posting lists stay as long as the survivors are many."""
    seconds = []
    for count in (250, 2_000):
        rows = rows_of(*template(count, 1))
        start = time.process_time()
        assert len(kept(rows)) == 1
        seconds.append(time.process_time() - start)
    assert seconds[1] < 20 * seconds[0]


def verdict_digest(rows: Sequence[Row]) -> str:
    found = sorted(verdicts(rows).items())
    return hashlib.sha256(repr(found).encode()).hexdigest()


def test_verdicts_do_not_depend_on_the_hash_seed() -> None:
    script = "from test_dedup_resolve import *; print(verdict_digest(real_corpus()[:80]))"
    digests = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout.strip())
    assert digests == {verdict_digest(real_corpus()[:80])}
