"""The arithmetic of a generated text, done again."""

from __future__ import annotations

from fractions import Fraction

import pyarrow as pa

from synth.config import Config
from synth.text.arithmetic import check_equations
from synth.text.quantities import Equation
from synth.text.table_sums import check_table_sums

SCORES = pa.schema(
    [("equations_checked", pa.int64()), ("equations_wrong", pa.int64()), ("wrong_equations", pa.large_string())]
)


class ArithmeticOptions(Config):
    """The rule `arithmetic` has no options."""


def score(table: pa.Table, options: ArithmeticOptions) -> pa.Table:
    """`equations_checked`: how many equations and totals of tables in `generated` could be worked out; `equations_wrong`:
    how many of them do not hold; `wrong_equations`: these, each with what its left side comes to, as in "16 - 3 = 12 (13)".
    """
    return pa.Table.from_pylist([_row(text or "") for text in table["generated"].to_pylist()], schema=SCORES)


def _row(text: str) -> dict[str, int | str | None]:
    equations = [*check_equations(text), *check_table_sums(text)]
    wrong = [equation for equation in equations if not equation.correct]
    return {
        "equations_checked": len(equations),
        "equations_wrong": len(wrong),
        "wrong_equations": "; ".join(map(_shown, wrong)) or None,
    }


def _shown(equation: Equation) -> str:
    return f"{' '.join(equation.text.split())} ({_decimal(equation.left)})"


def _decimal(value: Fraction) -> str:
    """The value as a whole number or with up to four decimals; a fraction where these are too few or too many."""
    scaled = value * 10_000
    if value.denominator == 1 or scaled.denominator > 1:
        return str(value)
    whole, decimals = divmod(abs(int(scaled)), 10_000)
    return f"{'-' * (value < 0)}{whole}.{decimals:04d}".rstrip("0")
