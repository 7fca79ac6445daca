"""Shingles are those of the definition; signatures equal datasketch's bit for bit over the same shingle hashes, estimate without
bias, and match as often as the theory says."""

from __future__ import annotations

import math
import random
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import datasketch
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dedup import (
    SHINGLE_VERSION,
    MinHashConfig,
    band_hashes,
    exact_digest,
    exact_digests,
    minhash_signatures,
    shingle_sets,
    sketches,
    word_shingles,
)
from dedup.kernels import BASE, FOLD
from flows.steps import sign
from flows.steps.sign import SignWork
from synth import rows
from synth.config import parse
from synth.errors import RecipeError

EMPTY = 2**32 - 1
ALL_BITS = 2**64 - 1
TEXTS = [
    "",
    "too short for one",
    "five words are just enough",
    "The same sentence again and again and again and again, and then another one about Zürich.",
    "人工智能正在改变世界，也改变了我们学习语言的方式。",
    "cafe\u0301 au lait, cafe\u0301 noir, cafe\u0301 crème et cafe\u0301 cre\u0300me",
    f"a {'b' * 8} {'c' * 7} {'d' * 9} {'e' * 16} {'f' * 17} {'g' * 1000} {'é' * 4} {'h' * 8}",
    " ".join(f"word{number}" for number in range(3000)),
]


def mixed(value: int) -> int:
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & ALL_BITS
    value = (value ^ value >> 27) * 0x94D049BB133111EB & ALL_BITS
    return value ^ value >> 31


def token_hash(token: bytes) -> int:
    value = 0
    for at in range(0, len(token), 8):
        value = (value ^ int.from_bytes(token[at : at + 8], "little")) * int(FOLD) & ALL_BITS
        value ^= value >> 32
    return mixed(value)


def shingle_hash(shingle: bytes) -> int:
    """The definition in `dedup.kernels`, word for word."""
    value = 0
    for token in shingle.split(b" "):
        value = (value * int(BASE) + token_hash(token)) & ALL_BITS
    return mixed(value)


def by_datasketch(text: str, config: MinHashConfig) -> np.ndarray:
    sketch = datasketch.MinHash(
        num_perm=config.permutations,
        seed=config.seed,
        scheme="affine32",
        hashfunc=lambda shingle: shingle_hash(shingle) & 0xFFFFFFFF,
    )
    sketch.update_batch(sorted(word_shingles(text, config.shingle_words)))
    return sketch.hashvalues


def sets_of(texts: pa.Array | pa.ChunkedArray, size: int, workers: int = 1) -> list[list[int]]:
    hashes, offsets = shingle_sets(texts, size, workers)
    assert (hashes.dtype, offsets.dtype, len(offsets)) == (np.uint64, np.int64, len(texts) + 1)
    assert (offsets[0], offsets[-1]) == (0, len(hashes))
    return [hashes[start:end].tolist() for start, end in pairwise(offsets.tolist())]


def sets_by_definition(texts: Sequence[str | None], size: int) -> list[list[int]]:
    return [sorted({shingle_hash(shingle) for shingle in word_shingles(text or "", size)}) for text in texts]


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_shingle_sets_are_those_of_the_definition(size: int) -> None:
    texts = [*TEXTS, None, "again and " * 2000, "word" * 3, " ".join(map(str, range(5_000)))]
    expected = sets_by_definition(texts, size)
    assert sets_of(pa.array(texts), size) == expected
    assert sum(map(len, expected)) > 7_000


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text(max_size=60) | st.text(st.sampled_from("ab é北\u0301.\n"), max_size=200), max_size=4),
    st.integers(1, 4),
)
def test_shingle_sets_of_any_text_are_those_of_the_definition(texts: list[str], size: int) -> None:
    assert sets_of(pa.array(texts, pa.large_string()), size) == sets_by_definition(texts, size)


def test_a_shingle_covers_its_tokens_their_order_and_where_they_end() -> None:
    texts = ["ab c d", "a bc d", "abc d e", "d c ab", "ab d c", "ab c e", "abcdefgh i j", "abcdefghi j k"]
    assert len({hashes for (hashes,) in sets_of(pa.array(texts), 3)}) == len(texts)
    inside, alone = sets_of(pa.array(["xy ab c d ef", "ab c d"]), 3)
    assert len(inside) == 3
    assert {*alone} < {*inside}


def test_shingle_hashes_are_well_mixed() -> None:
    """Of counting texts: no two collide, and each bit is set in half of them within 5 sigma."""
    hashes, _ = shingle_sets(pa.array([" ".join(map(str, range(200_000)))]), 2)
    assert len(hashes) == 199_999
    shares = [((hashes >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(64)]
    assert max(abs(share - 0.5) for share in shares) < 5 * 0.5 / math.sqrt(len(hashes))


@pytest.mark.timeout(60)
def test_repetition_costs_no_more_than_variety() -> None:
    """A million shingles of which two differ: a sort by insertion, or a table without room for equal ones, would take hours."""
    assert [len(one) for one in sets_of(pa.array(["ab cd " * 500_000, "ab " * 1_000_000]), 3)] == [2, 1]


def test_all_that_sign_needs_comes_at_once() -> None:
    texts = pa.chunked_array([[*TEXTS, None], ["…"], ["cafe\u0301 and the very same words " * 3] * 2000])
    for workers in (1, 3):
        found = sketches(texts, MinHashConfig(), workers)
        np.testing.assert_array_equal(found.signatures, minhash_signatures(texts))
        assert found.digests == exact_digests(texts)
        assert found.shingle_counts.tolist() == [len(one) for one in sets_of(texts, 5)]


def smallest(text: str) -> list[int]:
    """Twelve shingles at most, of the lowest eighth of all hashes."""
    hashes, _ = shingle_sets(pa.array([text], pa.large_string()), 5)
    return [one for one in sorted(hashes.tolist()) if one < 2**61][:12]


def test_the_step_signs_what_was_generated(tmp_path: Path) -> None:
    """Of a document that holds its passage, the rest; the definitions say what of it."""
    texts = [*TEXTS, "Passage.\n\nQuestion and answer that were made of it, five words and more."]
    parts = [{"role": "generated", "start_byte": 0, "end_byte": len(text.encode())} for text in texts]
    parts[-1]["start_byte"] = 10
    made = [{"id": f"d{at}", "text": text, "parts": [parts[at]]} for at, text in enumerate(texts)]
    rows.write_table(rows.table(made, rows.DOCUMENT), tmp_path / "documents.parquet")
    config = SignWork(minhash=MinHashConfig())
    counts = sign.run({"documents": tmp_path / "documents.parquet"}, config, tmp_path)
    assert (counts.items, counts.kept) == (len(texts), len(texts))
    expected = [
        {
            "doc_id": f"d{at}",
            "exact_digest": exact_digest(text),
            "shingle_count": len(word_shingles(text)),
            "text_bytes": len(text.encode()),
            "signature": by_datasketch(text, config.minhash).tolist(),
            "shingle_sample": smallest(text),
        }
        for at, text in enumerate([*TEXTS, texts[-1][10:]])
    ]
    assert rows.read_table(tmp_path / "signatures.parquet").to_pylist() == expected


def test_threads_change_nothing() -> None:
    texts = pa.array([f"{at} {TEXTS[at % len(TEXTS)]}" for at in range(3000)])
    np.testing.assert_array_equal(minhash_signatures(texts, workers=4), minhash_signatures(texts))
    assert sets_of(texts, 5, workers=4) == sets_of(texts, 5)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{len(text)} characters")
@pytest.mark.parametrize(
    "config",
    [
        pytest.param(MinHashConfig(), id="default"),
        pytest.param(MinHashConfig(permutations=256, bands=32, rows=8, shingle_words=3, seed=7), id="256 seed 7"),
        pytest.param(MinHashConfig(permutations=1, bands=1, rows=1, shingle_words=1, seed=2**32 - 1), id="one"),
    ],
)
def test_signatures_are_datasketchs(text: str, config: MinHashConfig) -> None:
    signature = minhash_signatures(pa.array([text]), config)
    assert signature.dtype == np.uint32
    assert signature.shape == (1, config.permutations)
    np.testing.assert_array_equal(signature[0], by_datasketch(text, config))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=4), st.integers(1, 3))
def test_signatures_of_any_text_are_datasketchs(texts: list[str], shingle_words: int) -> None:
    config = MinHashConfig(permutations=32, bands=4, rows=8, shingle_words=shingle_words)
    signatures = minhash_signatures(pa.array(texts, pa.large_string()), config)
    assert signatures.shape == (len(texts), 32)
    for text, signature in zip(texts, signatures, strict=True):
        np.testing.assert_array_equal(signature, by_datasketch(text, config))


def test_golden_signature() -> None:
    """Stored signatures are compared with new ones: when this fails on purpose, raise SHINGLE_VERSION."""
    signature = minhash_signatures(pa.array(["five words are just enough for a golden signature"]))[0]
    assert signature[:4].tolist() == [1484408539, 469838033, 1482821001, 2256847309]
    assert band_hashes(signature[None])[0, :2].tolist() == [9019414775627153483, 9137657487437501432]
    assert sets_of(pa.array(["five words are just enough"]), 5) == [[13340147638079572968]]
    assert SHINGLE_VERSION == 2


def test_layout_does_not_matter() -> None:
    whole = minhash_signatures(pa.array(TEXTS, pa.large_string()))
    chunked = pa.chunked_array([pa.array(TEXTS[:2]), pa.array([], pa.string()), pa.array(TEXTS[2:])])
    np.testing.assert_array_equal(minhash_signatures(chunked), whole)
    np.testing.assert_array_equal(minhash_signatures(pa.array(["other", *TEXTS]).slice(1)), whole)


def test_texts_without_shingles_are_empty() -> None:
    signatures = minhash_signatures(pa.array([None, "", "…", "one two three four"], pa.string()))
    assert (signatures == EMPTY).all()
    assert minhash_signatures(pa.array([], pa.string())).shape == (0, 112)


def test_datasketch_loads_signatures_and_estimates_the_same() -> None:
    words = [f"word{number}" for number in range(400)]
    left, right = " ".join(words[:300]), " ".join(words[100:])
    ours = minhash_signatures(pa.array([left, right]))
    loaded = [datasketch.LeanMinHash(seed=1, hashvalues=one, scheme="affine32") for one in ours]
    estimate = loaded[0].jaccard(loaded[1])
    assert estimate == (ours[0] == ours[1]).mean()
    shingles = word_shingles(left), word_shingles(right)
    exact = len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])
    assert abs(estimate - exact) < 3 * math.sqrt(exact * (1 - exact) / 112)


def planted_pairs(jaccard: float, union: int, count: int) -> pa.Array:
    """Pairs of texts whose sets of words have exactly this similarity: text 2i and 2i + 1 are a pair."""
    shared = round(jaccard * union)
    assert shared == pytest.approx(jaccard * union)
    rng = random.Random(f"{jaccard} {union}")
    half = (union - shared) // 2
    texts = []
    for _ in range(count):
        words = rng.randbytes(6 * union).hex(" ", 6) + " "  # 12 characters and a space each
        alike, left = words[: 13 * shared], words[13 * shared : 13 * (shared + half)]
        texts += [alike + left, alike + words[13 * (shared + half) :]]
    return pa.array(texts, pa.large_string())


@pytest.mark.parametrize("jaccard", [0.7, 0.75, 0.8, 0.85])
def test_bands_match_as_often_as_the_theory_says(jaccard: float) -> None:
    """14 x 8 matches 56, 77, 92 and 98.8 % of pairs at these similarities (FineWeb); here within 3 sigma of 600 pairs."""
    config, pairs = MinHashConfig(shingle_words=1), 600
    hashes = band_hashes(minhash_signatures(planted_pairs(jaccard, 100, pairs), config), config)
    matched = (hashes[0::2] == hashes[1::2]).any(axis=1).mean()
    expected = 1 - (1 - jaccard**8) ** 14
    assert expected == pytest.approx({0.7: 0.564, 0.75: 0.772, 0.8: 0.924, 0.85: 0.988}[jaccard], abs=1e-3)
    assert abs(matched - expected) < 3 * math.sqrt(expected * (1 - expected) / pairs)


@pytest.mark.parametrize("union", [20, 200, 2_000, 20_000])
@pytest.mark.parametrize("jaccard", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_estimates_have_no_bias_and_the_variance_of_theory(jaccard: float, union: int) -> None:
    """A weak hash family shows here: variances of 2.1 to 2.7 times the theory's have shipped elsewhere. Ten signatures of 112
    values stand in one of 1120."""
    config, pairs = MinHashConfig(permutations=1120, bands=140, rows=8, shingle_words=1), 200
    signatures = minhash_signatures(planted_pairs(jaccard, union, pairs), config, workers=2)
    estimates = (signatures[0::2] == signatures[1::2]).reshape(pairs, 10, 112).mean(axis=2)
    deviation = math.sqrt(jaccard * (1 - jaccard) / 112)
    assert abs(estimates.mean() - jaccard) < 0.005
    assert estimates.std() < 1.15 * deviation


def test_memory_does_not_grow_with_shingles_times_permutations() -> None:
    """60,000 shingles x 112 permutations x 4 bytes are 27 MB at once; the text's tokens and their tables take about 7 MB."""
    text = pa.array([" ".join(f"{number:x}" for number in range(60_000))])
    minhash_signatures(text)  # the tables of code points stay
    tracemalloc.start()
    try:
        minhash_signatures(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12e6


SIGNATURES = hnp.arrays(np.uint32, (2, 12), elements=st.sampled_from([0, 1, 2, EMPTY]))


@given(SIGNATURES)
def test_band_hashes_are_equal_where_all_rows_of_the_band_are(signatures: np.ndarray) -> None:
    config = MinHashConfig(permutations=12, bands=4, rows=3)
    hashes = band_hashes(signatures, config)
    assert hashes.dtype == np.uint64
    bands = {(band, *one[3 * band : 3 * band + 3]) for one in signatures.tolist() for band in range(4)}
    assert len(np.unique(hashes)) == len(bands)
    for row in (0, 1):
        np.testing.assert_array_equal(band_hashes(signatures[row : row + 1], config)[0], hashes[row])


def test_band_hashes_are_well_mixed() -> None:
    """Counting signatures: no two bands collide, and each bit is set in half of the hashes within 5 sigma."""
    signatures = np.arange(20_000 * 8, dtype=np.uint32).reshape(20_000, 8)
    hashes = band_hashes(signatures, MinHashConfig(permutations=8, bands=4, rows=2)).ravel()
    assert len(np.unique(hashes)) == hashes.size
    shares = [((hashes >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(64)]
    assert max(abs(share - 0.5) for share in shares) < 5 * 0.5 / math.sqrt(hashes.size)


@pytest.mark.parametrize(
    ("given_fields", "words"),
    [
        pytest.param(
            {"permutations": 128}, "bands x rows equal to permutations, not 14 x 8", id="bands do not fill it"
        ),
        pytest.param({"bands": 0}, "minhash.bands: given 0", id="no band"),
        pytest.param({"shingle_words": 0}, "minhash.shingle_words: given 0", id="no word"),
        pytest.param({"seed": -1}, "minhash.seed: given -1", id="negative seed"),
        pytest.param({"shingle_word": 3}, "did you mean 'shingle_words'", id="unknown key"),
    ],
)
def test_wrong_configurations_are_refused(given_fields: dict[str, int], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse(MinHashConfig, given_fields, "minhash")
