"""Sweeps: the drawn share is the share that a gate at that threshold would keep."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.gates import Gate, apply_gates
from flows.svg import line_chart
from flows.sweep import plot, scores_by_family, share_at, sweep, table

SCORES = st.lists(
    st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(-5, 5)), min_size=1, max_size=40
)


@given(scores=SCORES, now=st.one_of(st.none(), st.floats(-6, 6)), bound=st.sampled_from(["min", "max"]))
def test_each_point_is_what_a_gate_keeps(scores: list[float | None], now: float | None, bound: str) -> None:
    values = np.array([np.nan if score is None else score for score in scores])
    swept = sweep("x", "min" if bound == "min" else "max", {"f": values}, now)
    items = pa.table(
        {"item_id": [str(at) for at in range(len(scores))], "family": pa.nulls(len(scores), pa.string()), "x": values}
    )
    for threshold in [*swept.thresholds[::25], *([now] if now is not None else [])]:
        gate = Gate(column="x", reason="r", **{bound: float(threshold)})
        dropped = apply_gates(items, [gate], "document", "keep", frozenset()).num_rows
        assert share_at(swept, "f", float(threshold)) == pytest.approx(1 - dropped / len(scores))


def test_the_threshold_of_now_is_in_the_table_exactly_and_families_are_apart() -> None:
    parts = [(["a", "b", "a"], np.array([0.1, 0.9, 0.3])), (["b"], np.array([np.nan]))]
    swept = sweep("x", "min", scores_by_family(parts), 0.2)
    assert dict(table(swept))[0.2] == {"a": 0.5, "b": 0.5}
    assert swept.texts == {"a": 2, "b": 2}


def test_one_far_value_does_not_flatten_the_curve() -> None:
    swept = sweep("x", "max", {"f": np.append(np.linspace(0, 1, 999), 1e9)}, None)
    assert swept.thresholds[-1] < 2


@pytest.mark.parametrize("scores", [[], [np.nan], [0.5, 0.5]], ids=["none", "unscored", "equal"])
def test_little_to_draw_is_drawn_all_the_same(scores: list[float]) -> None:
    swept = sweep("x", "min", {"f": np.array(scores, np.float64)}, None)
    assert len(plot(swept)) == 18 and swept.thresholds[0] < swept.thresholds[-1]


def test_the_plot_marks_each_family_and_the_threshold() -> None:
    swept = sweep("words", "min", {"a": np.linspace(0, 100, 50), "b": np.linspace(50, 100, 50)}, 40.0)
    lines = plot(swept)
    assert "o" in lines[5] and any("x" in line for line in lines) and sum("|" in line for line in lines[:16]) >= 14
    assert lines[-2].strip().startswith("1.01") and "min words" in lines[-2]
    assert lines[-1].strip() == "o a (50)   x b (50)   | now: 40"


def test_the_svg_is_whole_and_names_are_escaped() -> None:
    xs = np.linspace(0, 1, 5)
    text = line_chart("kept <share>", "min a&b", xs, {"f<1>": 1 - xs, "g": xs}, 0.5)
    root = ElementTree.fromstring(text)
    kinds = [element.tag.rpartition("}")[2] for element in root]
    assert kinds.count("polyline") == 2
    words = [element.text for element in root if element.tag.endswith("text")]
    assert {"kept <share>", "min a&b", "f<1>", "now: 0.5"} <= set(words)
    points = next(element.get("points") for element in root if element.tag.endswith("polyline"))
    assert points is not None and points.split()[0].split(",") == ["64.0", "40.0"], (
        "all is kept at the left, at the top"
    )
