"""Arithmetic in prose: right equations are called right, wrong ones wrong, and what is no equation is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from synth.text.arithmetic import check_equations
from synth.text.table_sums import check_table_sums
from tests.benchmarks.arithmetic import measure
from tests.gsm8k import problems

RIGHT = r"""
16 - 3 - 4 = 9
9 * 2 = $18
$1,200.50 x 3 = $3601.5
2/5 of 40 = 16
50% of 80 = 40
20% * 30 = 6
20 percent of 50 = 10
1/2 + 1/4 = 3/4
1 1/2 + 2 = 3 1/2
½ + ¼ = ¾
1½ + 1 = 2½
3*4 = 12 + 1 = 13
Total = 3 + 4 = 7 = 7
5 apples * 3 = 15 apples
12 inches / 4 inches = 3
60 miles / hour * 2 hours = 120 miles
$5/hour * 8 hours = $40
6 ft. * 4 ft. = 24 sq. ft.
$240 (house and food) + $9 (phone) = $249
So 5-ounce bags * 2 = 10 ounces
(3 + 4) * 2 = 14
2(3+4) = 14
10 - 2*3 = 4
5 * -3 = -15
-3 + 4 = 1
3 × 4 = 12
12 ÷ 4 = 3
7 − 2 = 5
100 – 10 = 90
2^3 = 8
2**3 = 8
2³ = 8
2^3^2 = 512
10/3 = 3.33
10/3 = 3.333...
2/3 = 0.67
2/3 = 0.66
1/8 = 0.12
0 - 1/8 = -0.13
1/3 = 33.3%
4,000,000 / 3 = 1.33 million
1/8 = 0.13
50% = 0.5
0.5 = 50%
1/4 = 25%
100% - 20% = 80%
30/40 = 75%
30/40 * 100 = 75%
30 / 40 x 100% = 75%
25 / 1/3 = 75
1.5 million * 2 = 3,000,000
1 million + 2 million = 3 million
5k + 3k = 8k
$12 \times 4 = 48$
\(12 \div 4 = 3\)
\frac{1}{2} + \frac{1}{4} = \frac{3}{4}
\$5 + \$3 = \$8
**3 + 4 = 7**
3 + 4 = **7**
- 3 + 4 = 7
* 3 + 4 = 7
1. 3 + 4 = 7
| 3 + 4 = 7 | 5 |
`3 + 4 = 7`
Yes, 3 + 4 = 7!
100 stickers / 3 friends = 33 stickers with 1 left over
16 plus 4 equals 20
So 16 plus 4 is 20.
Then 10 minus 5 times 2 is 0
Half of 40 is 20.
half of 40 = 20
a third of 10 is 3.33
A third of 100 is 33.
So 20% of $50 is $10.
The sum of 3 and 4 is 7.
The difference between 3 and 10 is 7.
7 boxes x 12 = 84 pencils
""".strip().splitlines()

WRONG = r"""
16 - 3 - 4 = 10
She has 9 eggs * $2 = $19.
20% * 30 = 600
20% of 30 = 7
half of 40 = 30
Half of 40 is 30.
So 16 plus 4 is 21.
The sum of 3 and 4 is 8.
3 + 4 = **8**
2/3 = 0.68
10/3 = 4
1/3 = 0.4
1/3 = 34.3%
$12 \times 4 = 49$
\frac{1}{2} + \frac{1}{4} = \frac{3}{5}
3*4 = 12 + 1 = 14
3 + 4 = 7 = 8
5 km + 3 km = 9 km
0.5 = 40%
50% = 0.4
25% of 80 = 25
5m + 3m = 9m
90 minutes / 60 = 2.5 hours
- 3 + 4 = 8
1,000 * 3 = 30,000
1/2 + 1/4 = 2/6
""".strip().splitlines()

NO_EQUATION = r"""
x = 5
n + 2 = 7
f(3) = 4
f(3) + 1 = 9
E = mc^2
1/2 mv^2 = 10
1 + 1 == 3
key=5
4915/2**14 at prec=13
top 10/15/20% = 41.0/39.8/38.7
v1.2 = 3
2024-01-02 = 5
http://a.b/?a=1&b=2
3 + 4 <= 8
3 + 4 >= 6
3 + 4 != 8
1:3 = 4:12
12 eggs = 1 dozen
5 km = 5000 m
50 cents * 4 = $2
5 feet + 6 inches = 66 inches
3 days + 4 hours = 76 hours
50 + 20% = 60
for i = 1 to 10
2x + 3 = 7
5a + 3 = 12
9s + 13 = 130
2g + 80 - 4g = 70
y = 3 + 4 = 2z
H2O + 2 = 5
2H2 + O2 = 2H2O
A1 + B2 = 5
C(5,2) = 10
5! = 120
17 mod 5 = 2
17 % 5 = 2
19 5-ounce bags + 2 = 21 bags
|3-5| = 2
sqrt(16) + 2 = 6
√16 + 2 = 6
log 100 + 2 = 4
10:30 - 9:30 = 1
9am - 5pm = 8 hours
1/4 = 3 people
1/4 is equal to $15
20% = $30
If 20% = 30 then 100% = 150
pages 10-20 = 10 pages
on day 1 * 2 = 20 pages
twice 5 + 3 = 13
half of 6 + 4 = 5
the average of 4 + 6 = 5
the price * 3 = 9
In 2020 the price * 3 = 9
4 more than half of 40 is 24.
twice the sum of 3 and 4 is 14
5 times 3 is 10 more than 5
Half of 40 is 20% of 100.
10 / 3 = 3 remainder 1
100 / 6 = 16 and 2/3
3,5 + 1,5 = 5
14, 400 / 80 = 180
192.168.0.1 + 1 = 5
8/2(2+2) = 1
-2^2 = 4
5 / 0 = 0
9^99999 = 5
1e5 + 3 = 9
5'10" + 2 = 72
p < 0.05, n = 30
2*30 = 60 = 1 hour
""".strip().splitlines()


@pytest.mark.parametrize("text", [*RIGHT, "5 + 3\n= 8", "3 + 4 = 7\n75% of them"])
def test_right(text: str) -> None:
    found = check_equations(text)
    assert found
    assert all(equation.correct for equation in found)


@pytest.mark.parametrize("text", WRONG)
def test_wrong(text: str) -> None:
    assert any(not equation.correct for equation in check_equations(text))


@pytest.mark.parametrize("text", NO_EQUATION)
def test_left_alone(text: str) -> None:
    assert [equation for equation in check_equations(text) if not equation.correct] == []


def test_an_equation_is_told_where_it_stands() -> None:
    text = "She sold 16 - 3 - 4 = 10 eggs for 9 * 2 = $18."
    first, second = check_equations(text)
    assert [(first.text, first.left, first.right, first.correct)] == [("16 - 3 - 4 = 10 eggs", 9, 10, False)]
    assert text[first.start :].startswith(first.text)
    assert (second.text, second.left, second.right, second.correct) == ("9 * 2 = $18", 18, 18, True)


def test_an_equation_said_in_words_is_found_once() -> None:
    assert len(check_equations("So 16 plus 4 equals 20. So 16 plus 4 is 20. So half of 40 equals 20.")) == 3


@dataclass(frozen=True)
class Rendered:
    """An expression as it is written, and what it is worth. The flags say when it needs brackets."""

    text: str
    value: Fraction
    is_sum: bool = False
    is_compound: bool = False


def _decimal(value: Fraction, places: int) -> str:
    sign, scaled = "-" * (value < 0), round(abs(value) * 10**places)
    whole, rest = divmod(scaled, 10**places)
    return f"{sign}{whole}" + (f".{rest:0{places}d}" if places else "")


@st.composite
def atoms(draw: st.DrawFn) -> Rendered:
    kind = draw(st.sampled_from(["integer", "thousands", "decimal", "dollars", "fraction", "mixed", "vulgar", "latex"]))
    number = draw(st.integers(2, 9999))
    if kind == "thousands":
        return Rendered(f"{number * 1000:,}", Fraction(number * 1000))
    if kind == "decimal":
        return Rendered(_decimal(Fraction(number, 100), 2), Fraction(number, 100))
    top, bottom = draw(st.sampled_from([(1, 2), (1, 4), (3, 4), (2, 5)]))
    if kind == "fraction":
        return Rendered(f"{top}/{bottom}", Fraction(top, bottom), is_compound=True)
    if kind == "mixed":
        return Rendered(f"{number} {top}/{bottom}", number + Fraction(top, bottom))
    if kind == "vulgar":
        return Rendered("½", Fraction(1, 2))
    if kind == "latex":
        return Rendered(rf"\frac{{{top}}}{{{bottom}}}", Fraction(top, bottom))
    return Rendered(f"${number}" if kind == "dollars" else str(number), Fraction(number))


def _bracketed(part: Rendered, when: bool) -> str:
    return f"({part.text})" if when else part.text


@st.composite
def joined(draw: st.DrawFn, parts: st.SearchStrategy[Rendered]) -> Rendered:
    left, right = draw(parts), draw(parts)
    operator = draw(st.sampled_from("+-*/"))
    signs = {"+": ["+", "plus"], "-": ["-", "−", "–", "minus"], "*": ["*", "×", "x", r"\times", "times"]}
    sign = draw(st.sampled_from(signs.get(operator, ["/", "÷", "divided by"])))
    tight = operator in "*/"
    shown = _bracketed(left, tight and left.is_sum)
    other = _bracketed(right, ((tight or operator == "-") and right.is_sum) or (operator == "/" and right.is_compound))
    assume(operator != "/" or right.value != 0)
    value = {
        "+": left.value + right.value,
        "-": left.value - right.value,
        "*": left.value * right.value,
        "/": left.value / (right.value or 1),
    }[operator]
    space = draw(st.sampled_from(["", " "])) if sign in "+-*×" and not other.startswith("½") else " "
    return Rendered(f"{shown}{space}{sign}{space}{other}", value, not tight, True)


expressions = joined(st.recursive(atoms(), joined, max_leaves=4))


@settings(max_examples=400, deadline=None)
@given(
    expressions,
    st.sampled_from(["", "So she has ", "Total: ", "* ", "He paid (", "It rained, and thus "]),
    st.sampled_from([".", "", " apples.", "\n75 of them", ", 3 more.", ")", " in all"]),
    st.sampled_from([" = ", "=", " equals ", " = $", " =$"]),
    st.integers(1, 10**6),
)
def test_only_a_changed_result_is_wrong(written: Rendered, before: str, after: str, sign: str, change: int) -> None:
    assume(abs(written.value) < 10**15)
    places = 0 if written.value.denominator == 1 else 4
    right = _decimal(written.value, places)
    wrong = _decimal(written.value + (-change if written.value < 0 else change), places)
    (found,) = check_equations(f"{before}{written.text}{sign}{right}{after}")
    assert (found.correct, found.left) == (True, written.value)
    (found,) = check_equations(f"{before}{written.text}{sign}{wrong}{after}")
    assert not found.correct


TABLE = """Sales by town.

| Town | Sales | Share | Unit price | Note |
|:-----|------:|------:|-----------:|------|
| Aarau | $1,200 | 75% | 3 | open |
| Bern | 300.50 | 25% | 4 | |
| **Total** | **$1,500.50** | 90% | 9 | none |

The end.
"""


def test_totals_of_tables() -> None:
    (found,) = check_table_sums(TABLE)
    assert (found.text, found.left, found.right, found.correct) == (
        "Sales total = $1,500.50",
        Fraction("1500.5"),
        Fraction("1500.5"),
        True,
    )
    (found,) = check_table_sums(changed := TABLE.replace("$1,500.50", "$1,600.50"))
    assert not found.correct
    assert changed[found.start :].startswith("$1,600.50")


@pytest.mark.parametrize(
    ("rows", "verdicts"),
    [
        pytest.param("| a | 1 |\n| b | 2 |\n| Total | 3 |", [True], id="right"),
        pytest.param("a | 1\nb | 2\nTotal | 4", [False], id="without-outer-bars"),
        pytest.param("| a | 1 |\n| b | 2 |\n| c | 4 |", [], id="no-total"),
        pytest.param("| a | 1 |\n| b | two |\n| Total | 3 |", [], id="words-in-the-column"),
        pytest.param("| a | 1 |\n| b | - |\n| c | 2 |\n| Total | 4 |", [False], id="a-blank-is-nothing"),
        pytest.param("| a | 1 |\n| Subtotal | 1 |\n| b | 2 |\n| Sum | 3 |", [True], id="subtotals-are-not-added"),
        pytest.param("| a | 0.33 |\n| b | 0.33 |\n| c | 0.33 |\n| Total | 1.00 |", [True], id="rounded"),
        pytest.param("| a | 0.33 |\n| b | 0.33 |\n| c | 0.33 |\n| Total | 1.10 |", [False], id="more-than-rounded"),
    ],
)
def test_totals(rows: str, verdicts: list[bool]) -> None:
    rule = "| --- | --- |" if rows.startswith("|") else "--- | ---"
    head = "| Thing | Count |" if rows.startswith("|") else "Thing | Count"
    assert [equation.correct for equation in check_table_sums(f"{head}\n{rule}\n{rows}\n")] == verdicts


PIECES = [
    "1",
    "2",
    "30",
    ".5",
    "1/2",
    "+",
    "-",
    "*",
    "/",
    "^",
    "(",
    ")",
    "=",
    "=",
    "%",
    "$",
    "x",
    "a",
    "of",
    "apples",
    "the",
    " ",
]
PIECES += ["\n", ",", ".", "½", "²", r"\frac{1}{2}", "**", "|", "million", "is", "plus", "half of ", "{", "-5"]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=25), st.sampled_from(["", " "]))
def test_any_text_can_be_checked(pieces: list[str], space: str) -> None:
    text = space.join(pieces)
    for equation in check_equations(text):
        assert text[equation.start :].startswith(equation.text)
        assert equation.correct or equation.left != equation.right


@pytest.mark.parametrize(
    "unit", ["1", "=", "(", "1+", "1=", "1 1/", "1,", "|", "|1|\n", "**", "\\frac{", "half of ", "2^", "1 plus "]
)
def test_hostile_text_ends(unit: str) -> None:
    text = unit * (100_000 // len(unit)) + " = 5"
    check_equations(text)
    assert check_table_sums(text) == []


def test_gsm8k() -> None:
    assert len(problems("test")) == 1319  # skips where the files are missing
    figures = measure(("test",))
    assert figures.solutions == 1319
    assert figures.flagged_share <= 0.01
    assert figures.found_share >= 0.99
    assert figures.in_prose >= 0.9 * figures.marks
