"""The rule `arithmetic`: equations and totals are counted, and the wrong ones are named."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

import filters.rules  # noqa: F401  adds the bundled rules
from filters.registry import apply_rule, rules

TABLE = "| a | n |\n|---|---|\n| x | 1 |\n| y | 2 |\n| Total | 4 |\n"


@pytest.mark.parametrize(
    ("text", "checked", "wrong", "named"),
    [
        pytest.param("16 - 3 = 13 eggs, and 13 * 2 = $26.", 2, 0, None, id="right"),
        pytest.param("16 - 3 = 12", 1, 1, "16 - 3 = 12 (13)", id="wrong"),
        pytest.param(
            "1 / 3 = 0.4. And 1 + 1.5 = 3\nand 2 - 4.25 = 2",
            3,
            3,
            "1 / 3 = 0.4 (1/3); 1 + 1.5 = 3 (2.5); 2 - 4.25 = 2 (-2.25)",
            id="several",
        ),
        pytest.param("5 +\t3 = 9", 1, 1, "5 + 3 = 9 (8)", id="on-one-line"),
        pytest.param(TABLE, 1, 1, "n total = 4 (3)", id="total-of-a-table"),
        pytest.param("Nothing is counted here; x = 5.", 0, 0, None, id="no-equation"),
        pytest.param("", 0, 0, None, id="empty"),
        pytest.param(None, 0, 0, None, id="null"),
    ],
)
def test_scores(text: str | None, checked: int, wrong: int, named: str | None) -> None:
    spec = rules.get("arithmetic")
    table = pa.table({"generated": pa.array([text], pa.large_string())})
    (row,) = apply_rule(spec, table, spec.Options()).to_pylist()
    expected: dict[str, Any] = {"equations_checked": checked, "equations_wrong": wrong, "wrong_equations": named}
    assert row == expected


def test_types_without_rows() -> None:
    spec = rules.get("arithmetic")
    scores = apply_rule(spec, pa.table({"generated": pa.array([], pa.large_string())}), spec.Options())
    assert scores.schema.types == [pa.int64(), pa.int64(), pa.large_string()]
