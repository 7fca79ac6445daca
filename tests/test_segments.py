"""Cutting: every byte in one segment, whole lines where they fit, never over the cap; and the estimate of tokens."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.segments import cut, estimated_tokens
from synth.tokens import load_tokenizer
from synth.weights import locate

PASSAGES = Path(__file__).parents[1] / "synth/data/passages.jsonl"


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=400), st.integers(2, 40))
def test_segments_are_the_text(text: str, cap: int) -> None:
    segments = cut(text, cap)
    raw = text.encode()
    assert all(raw[one.start_byte : one.end_byte].decode() == one.text == one.text.strip() != "" for one in segments)
    assert all(estimated_tokens(one.text) <= cap for one in segments)
    assert [(one.order, one.of) for one in segments] == [(at, len(segments)) for at in range(len(segments))]
    ends = [0, *(one.end_byte for one in segments)]
    starts = [*(one.start_byte for one in segments), len(raw)]
    left_out = b"".join(raw[end:start] for end, start in zip(ends, starts, strict=True))
    assert left_out.decode().strip() == ""


@given(st.lists(st.text(alphabet="abc def.", min_size=1, max_size=30), max_size=30), st.integers(20, 60))
def test_lines_that_fit_stay_whole(lines: list[str], cap: int) -> None:
    text = "\n".join(lines)
    cut_lines = [line.strip() for one in cut(text, cap) for line in one.text.split("\n") if line.strip()]
    assert cut_lines == [line.strip() for line in lines if line.strip()]


def test_segments_are_about_equally_long() -> None:
    text = "\n".join("Ten words stand in this line and no one more." for _ in range(100))
    sizes = [estimated_tokens(one.text) for one in cut(text, 500)]
    assert len(sizes) == 3 and min(sizes) > 0.85 * max(sizes)


@pytest.mark.parametrize(
    ("line", "cap", "expected"),
    [
        pytest.param("One is here. Two is there. Three is gone.", 10, 2, id="at-sentences"),
        pytest.param("a b c d e f g h i j", 5, 2, id="at-words"),
        pytest.param("x" * 60, 5, 3, id="inside-a-word"),
        pytest.param("文" * 20, 5, 4, id="no-spaces"),
    ],
)
def test_a_line_over_the_cap_is_cut_where_it_hurts_least(line: str, cap: int, expected: int) -> None:
    segments = cut(line, cap)
    assert len(segments) == expected and "".join(one.text for one in segments).replace(" ", "") == line.replace(" ", "")


@pytest.mark.parametrize("text", ["", "  \n\n "])
def test_nothing_is_no_segment(text: str) -> None:
    assert cut(text, 100) == []


@pytest.mark.timeout(60)  # what is quadratic takes hours
def test_a_hostile_text_is_cut_in_linear_time() -> None:
    for text in ("x" * 1_000_000, "\n" * 300_000, ". " * 300_000, "文" * 300_000, " " * 300_000 + "x"):
        segments = cut(text, 1000)
        assert "".join("".join(one.text.split()) for one in segments) == "".join(text.split())


def test_the_estimate_is_near_what_a_tokenizer_counts() -> None:
    tokenizer = load_tokenizer(locate("smollm2-135m-instruct-q4_1"))
    passages = [json.loads(line)["text"] for line in PASSAGES.read_text(encoding="utf-8").splitlines()]
    for texts, low, high in ((passages, 0.94, 1.16), (list(topics.values()), 1.1, 2.4)):
        ratios = [estimated_tokens(text) / len(tokenizer.encode(text).ids) for text in texts]
        assert low <= min(ratios) and max(ratios) <= high
    assert sum(ratios) / len(ratios) < 1.31
