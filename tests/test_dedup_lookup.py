"""Looking up new texts in an index: what it must propose, how little it keeps, and that halves are found in pools."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import MinHashConfig, minhash_signatures, shingle_sets, sketches
from dedup.jobs import Jobs
from dedup.lookup import near, query_of, shingle_postings
from dedup.signatures import SAMPLE_HIGHEST, SAMPLE_SHINGLES
from flows.cli import main
from flows.pools import index_rows
from synth import rows
from tests.benchmarks.lookup import part
from tests.test_dedup_resolve import real_texts

WORDS = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay"]


def texts_of(count: int) -> list[str]:
    """Texts of 400 real words (2.5 kB), in an order that nobody wrote: no two share anything."""
    words = " ".join(real_texts(20)).split()
    rng = random.Random(7)
    return [" ".join(rng.choices(words, k=400)) for _ in range(count)]


def index_of(texts: list[str]) -> pa.Table:
    table = pa.table({"id": [f"d{at}" for at in range(len(texts))], "text": pa.array(texts, pa.large_string())})
    return index_rows(table, "tag", 0, MinHashConfig(), 1)


def query(texts: list[str], containment: float = 0.95, **how: Any) -> Any:
    from dedup.pairs_kernels import Sets

    made = sketches(pa.array(texts, pa.large_string()))
    hashes, offsets = shingle_sets(pa.array(texts, pa.large_string()), 5)
    bands = band_rows(texts)
    with Jobs(workers=2, **how) as jobs:
        sets = Sets(hashes, offsets[:-1], offsets[1:])
        return query_of(bands, pa.chunked_array([made.digests]), sets, containment, MinHashConfig(), jobs)


def band_rows(texts: list[str]) -> np.ndarray:
    from dedup import band_hashes
    from dedup.signatures import EMPTY

    signatures = minhash_signatures(pa.array(texts, pa.large_string()))
    return band_hashes(signatures[(signatures != EMPTY).any(axis=1)]).ravel()


def needed(held: int, own: int, others: int, containment: float) -> int:
    """By the definition: as many as all but 3 % of binomial samples hold, and one at least."""
    share = containment * own / others
    if share > 1:
        return 0
    below = [
        sum(comb(held, k) * share**k * (1 - share) ** (held - k) for k in range(count)) for count in range(held + 1)
    ]
    return max(1, max(count for count in range(held + 1) if below[count] <= 0.03))


def slow_near(old: list[str], new: list[str], containment: float) -> tuple[list[int], list[list[int]]]:
    """In plain Python, from the sets."""
    hashes, offsets = shingle_sets(pa.array(old + new, pa.large_string()), 5)
    sets = [set(hashes[first:last].tolist()) for first, last in pairwise(offsets)]
    bands = set(band_rows(new).tolist())
    digests = set(sketches(pa.array(new, pa.large_string())).digests.to_pylist())
    found, owners = [], []
    for row, text in enumerate(old):
        sample = [one for one in sorted(sets[row]) if one <= int(SAMPLE_HIGHEST)][:SAMPLE_SHINGLES]
        mine = []
        for number in range(len(new)):
            own = sets[len(old) + number]
            hits = sum(one in own for one in sample)
            least = needed(len(sample), len(own), len(sets[row]), containment) if sample and own else 0
            if 0 < least <= hits:
                mine.append(number)
        digest = sketches(pa.array([text])).digests[0].as_py()
        is_equal = digest in digests and any(char.isalnum() for char in text)
        if mine or is_equal or set(band_rows([text]).tolist()) & bands:
            found.append(row)
            owners.append(mine)
    return found, owners


some_texts = st.lists(
    st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join) | st.sampled_from([" ".join(WORDS * 6), "one two", ""]),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(some_texts, some_texts, st.data())
def test_what_is_near_is_what_the_sets_say(old: list[str], new: list[str], data: st.DataObject) -> None:
    new = [*new, *(part(text, 0.5, random.Random(at)) for at, text in enumerate(old) if text)]
    containment = data.draw(st.sampled_from([0.6, 0.95, 1.0]))
    rows_, owners = near(index_of(old), query(new, containment))
    assert (rows_.tolist(), owners.to_pylist()) == slow_near(old, new, containment)


def test_the_query_does_not_depend_on_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = real_texts(30)
    monkeypatch.setattr("dedup.jobs._LEAST_BYTES", 0)
    asked, small = query(texts).asked, query(texts, memory_bytes=20_000).asked
    for one, other in zip(asked, small, strict=True):
        pairs = zip(one, other, strict=True) if isinstance(one, tuple) else [(one, other)]
        assert all(np.array_equal(*pair) for pair in pairs)


def test_of_a_shingle_that_many_have_the_first_are_asked_for() -> None:
    hashes = np.tile(np.array([3, 9], np.uint64), 50)
    starts = np.arange(0, 100, 2)
    values, counts, owners = shingle_postings(0, 2**61, hashes, starts, starts + 2)
    assert values.tolist() == [3, 9] and counts.tolist() == [32, 32]
    assert owners.tolist() == [*range(32), *range(32)]


def test_half_of_a_text_is_proposed_and_little_else() -> None:
    old, other = texts_of(120)[:60], texts_of(120)[60:]
    rng = random.Random(4)
    index = index_of(old + other)
    halves = [part(text, 0.5, rng) for text in old]
    rows_, owners = near(index, query(halves))
    hits = sum(row in mine for row, mine in zip(rows_.tolist(), owners.to_pylist(), strict=True))
    assert hits >= 0.95 * len(halves)
    assert sum(row >= len(old) for row in rows_.tolist()) <= 3, "texts that hold none of them are not read"


def test_an_index_takes_200_bytes_beside_the_signature(tmp_path: Path) -> None:
    texts = [f"{text} {at}" for at, text in enumerate(texts_of(400))]
    made = index_of(texts)
    made = made.set_column(
        0, "doc_id", pa.array([f"{random.Random(at).getrandbits(256):064x}" for at in range(len(texts))])
    )
    rows.write_table(made, tmp_path / "index.parquet")
    assert (tmp_path / "index.parquet").stat().st_size / len(texts) <= 448 + 200


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    texts = texts_of(40)
    file = tmp_path / "old.jsonl"
    file.write_text("".join(json.dumps({"id": f"t{at}", "text": text}) + "\n" for at, text in enumerate(texts)))
    assert main(["index", str(file), "--out", str(tmp_path / "pool")]) == 0
    return tmp_path / "pool"


def dedup_halves(folder: Path, pool: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    rng = random.Random(2)
    new = folder / "new.jsonl"
    halves = [part(text, 0.5, rng) for text in texts_of(40)]
    new.write_text("".join(json.dumps({"id": f"h{at}", "text": text}) + "\n" for at, text in enumerate(halves)))
    capsys.readouterr()
    assert main(["dedup", str(new), "--out", str(folder / "out"), "--against", str(pool), "--json"]) == 0
    found: list[dict[str, Any]] = rows.read_table(folder / "out/dedup.parquet").sort_by("doc_id").to_pylist()
    return found


def test_halves_of_a_pools_texts_are_dropped(tmp_path: Path, pool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = dedup_halves(tmp_path, pool, capsys)
    dropped = [row for row in found if row["reason"] == "contained"]
    assert len(dropped) >= 0.9 * len(found)
    assert all(row["partner_id"] == f"t{row['doc_id'][1:]}" and row["partner_pool"] == "pool" for row in dropped)


def test_halves_of_texts_out_of_reach_are_marked(
    tmp_path: Path, pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.jsonl").unlink()
    found = dedup_halves(tmp_path, pool, capsys)
    assert all(row["keep"] for row in found)
    marked = [row for row in found if row["spared"] == "unverified"]
    assert len(marked) >= 0.9 * len(found)
    assert all(row["near_id"] == f"t{row['doc_id'][1:]}" for row in marked)
