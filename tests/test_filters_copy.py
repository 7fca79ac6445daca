"""The rule `copy`: planted copies are found, whatever their case and punctuation, and measured exactly."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import filters.rules  # noqa: F401  adds the bundled rules
from filters.registry import apply_rule, rules

SEED = (
    "The honeybee visits flowers within three kilometres of its hive. A forager that has found good nectar returns and "
    "dances on the comb; the angle of the dance against gravity gives the direction against the sun."
)
OWN = "Foragers tell one another where to fly, which is rare among insects and was decoded in the twentieth century."


def copy_of(generated: str | None, seed: str | None) -> dict[str, Any]:
    spec = rules.get("copy")
    table = pa.table({"generated": [generated], "seed_text": pa.array([seed], pa.large_string())})
    (row,) = apply_rule(spec, table, spec.Options()).to_pylist()
    return row


@pytest.mark.parametrize(
    ("generated", "seed", "share", "longest"),
    [
        pytest.param(SEED, SEED, 1.0, 36, id="whole"),
        pytest.param(
            SEED.upper().replace(".", " !").replace(";", " --"), SEED, 1.0, 36, id="case-and-punctuation-changed"
        ),
        pytest.param(OWN, SEED, 0.0, 1, id="own-words"),
        pytest.param("a b c d e f g h i j", "x b c d e f g h i y", 1 / 3, 8, id="one-8gram-of-three"),
        pytest.param("a b c d e f g h i j", "x b c d e f g h y", 0.0, 7, id="seven-words-are-no-8gram"),
        pytest.param(
            "a b c d e f g h a b c d e f g h", "a b c d e f g h", 2 / 9, 8, id="a-copy-made-twice-counts-twice"
        ),
        pytest.param("a b c", "z a b c", 0.0, 3, id="shorter-than-an-8gram"),
        pytest.param("e f g h a b c d", "a b c d e f g h", 0.0, 4, id="nothing-runs-across-the-border"),
        pytest.param("", SEED, 0.0, 0, id="empty-text"),
        pytest.param(None, SEED, 0.0, 0, id="null-text"),
        pytest.param("!!! …", SEED, 0.0, 0, id="text-without-words"),
        pytest.param(OWN, None, None, None, id="no-seed-text"),
        pytest.param(OWN, "", None, None, id="empty-seed-text"),
        pytest.param(OWN, " — ", None, None, id="seed-text-without-words"),
    ],
)
def test_copied(generated: str | None, seed: str | None, share: float | None, longest: int | None) -> None:
    assert copy_of(generated, seed) == {"copy_8gram_share": share, "longest_copied_words": longest}


def test_a_planted_copy_is_measured() -> None:
    copied = " ".join(SEED.split()[10:25])  # 15 words
    found = copy_of(f"{OWN} {copied} {OWN}", SEED)
    words = 2 * len(OWN.split()) + 15
    assert found == {"copy_8gram_share": (15 - 7) / (words - 7), "longest_copied_words": 15}


WORDS = st.lists(st.sampled_from("ab"), max_size=30) | st.lists(st.sampled_from("abcdefgh"), max_size=30)


@settings(max_examples=150, deadline=None)
@given(WORDS, WORDS, WORDS)
def test_copied_equals_the_oracle(own: list[str], shared: list[str], around: list[str]) -> None:
    generated, seed = own + shared, shared + around

    def windows(words: list[str], length: int) -> list[tuple[str, ...]]:
        return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]

    hits = [window in windows(seed, 8) for window in windows(generated, 8)]
    longest = max(
        (length for length in range(1, len(seed) + 1) if set(windows(generated, length)) & set(windows(seed, length))),
        default=0,
    )
    expected = {"copy_8gram_share": sum(hits) / len(hits) if hits else 0.0, "longest_copied_words": longest}
    found = copy_of(" ".join(generated), " ".join(seed))
    assert found == (expected if seed else dict.fromkeys(expected))


def test_two_long_loops_take_no_quadratic_time() -> None:
    found = copy_of("loop " * 20_000 + "end", "loop " * 30_000)
    assert found == {"copy_8gram_share": pytest.approx(1.0, abs=1e-3), "longest_copied_words": 20_000}
