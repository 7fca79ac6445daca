"""Answer equivalence: tables of what is the same and what is not, properties over rational numbers, hostile input, GSM8K.

All gold answers in all forms: `python -m tests.benchmarks.equivalence`.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators.verify.equivalence import final_answer, same_answer, vote
from generators.verify.expressions import same_value, value
from tests.benchmarks.equivalence import ENDS, HOSTILE, forms, golds, written, wrong
from tests.gsm8k import problems

SAME = r"""
18 | 18 dollars | 18 eggs | 18 duck eggs | $18 | $18.00 | 18.0 | 18. | **18** | \boxed{18} | = 18
18 | 18 dollars per day | 36/2 | 18 USD | eighteen | x = 18 | $18$ | \(18\) | The answer is 18. | #### 18 | `18`
18 | "18" | 9 * 2 = 18 | Total = 18 | about 18 | 18 years old | 18 in total | \text{18 eggs} | \boxed{\$18} | 1.8e1
18 | 1.8 x 10 | 1.8 \times 10^{1} | 1.8 × 10¹ | 18/1 | 20 - 2 | 3*(2+4) | sqrt(324) | US$18 | 18€ | 18 m/s | 18 km/h
18 | 18 m^2 | 18% | 18 percent
1,080 | 1080 | $1,080.00 | 1 080 | 1{,}080
1080 | one thousand eighty
105 | one hundred and five
25 | twenty-five
1500000 | 1.5 million
$1.5 million | 1,500,000
1/2 | \frac{1}{2} | \frac12 | \dfrac{1}{2} | 0.5 | .5 | ½
1 1/2 | 1½ | 1\frac{1}{2} | 3/2 | 1.5 | one and a half | 1 and 1/2
2/3 | two thirds
3/4 | three quarters
-5 | −5 | - 5 | negative five | minus 5
-$5 | -5
$-5 | -5
-1 1/2 | -1.5
1 hour | 60 minutes
1 hour 30 minutes | 1.5 hours
1 hour and 30 minutes | 90 min
5 feet, 6 inches | 66 in
$2 and 50 cents | $2.50
2 dozen eggs | 24 eggs
18 cents | $0.18
60 mph | 1 mile per minute
18 miles per hour | 18 mph
18 miles an hour | 18 mph
18 square meters | 18 m^2 | 18 m²
18 cm | 0.18 m
18cm | 18 cm
$18 per day | 18 dollars/day
$18/day | 18 dollars a day
18 eggs | 18 duck eggs
18 egg | 18 eggs
3:30 PM | 3:30 pm | 3:30 p.m.
5 pm | 5:00 PM
17:00 | 5 PM
3:30 | 3:30 am
5 | 5 pm
(B) | B | b
B. | (B)
Option B | B
(B) Paris | B
\text{(B)} | B
B) 18 | (B) 18
(1, 2) | (1,2) | 1, 2
{1, 2} | {2,1}
\{1, 2\} | {2, 1}
\{a, x\} | {x, a}
5\%of pay | 5%
1 and 2 | 2 and 1
1, 2, and 3 | 3, 2, 1
(1/2, 3) | (0.5, 3.0)
3:4 | 3 : 4 | 3 to 4
yes | Yes.
Yes, she can. | yes
True | true
Paris | paris.
The Eiffel Tower | eiffel tower
(x+1)^2 | x^2+2x+1
\frac{x^2-1}{x-1} | x+1
2xy | 2*y*x
\sqrt{8} | 2\sqrt{2}
\frac{\sqrt{2}}{2} | 1/\sqrt{2}
2\pi | 2π
25π square meters | 25 pi m^2
y = 2x + 1 | 2x+1
2^{10} | 1024
2**10 | 1024
x^2 y | y x^2
50% | 50 | 50 percent
10² | 100
5 - x | -x+5
(5) | 5
18 of the eggs | 18 eggs
\frac{36}{2} | 18
18 kilograms | 18000 g
\infty | ∞
90^\circ | 90 degrees
90° | 90
a+b | b+a
a bus | the bus
a dozen | 1 dozen
a dozen eggs | 12 eggs
18-year | 18 years
18 /day | 18 per day
- 18 dollars | -18
$18 \text{ dollars}$ | 18
"""

DIFFERENT = r"""
18 | 19 | -18 | 180 | 1.8 | 81 | 8
18 dollars | 18 eggs | 18 euros
1 hour | 60 | 60 seconds | 1 minute
5 meters | 5 square meters
5 m | 5 m^2
$18 | £18
50% | 0.5 | 1/2
3.33 | 10/3
0.333 | 1/3
0.333... | 0.333 | 1/3
(5) | -5
3:4 | 4:3 | 6:8 | 3/4 | 3, 4
3:30 PM | 3:30 AM
5 pm | 5 am
(B) | (C)
(B) 18 | (B) 19
B | 18
(1, 2) | (2, 1) | [1, 2] | 3
{1, 2} | {1, 3}
1, 2 | 1, 2, 3
x=1, y=2 | x=2, y=1
yes | no | true
Paris | London
x > 5 | 5 | x < 5
>5 | 5
at least 18 | 18
more than 18 | 18
18 or 19 | 18
18 and a half | 18
18 or so | 18
not 18 | 18
18 hundred | 18
18 thousand | 18
18 million | 18
18! | 18
5! | 5
18 squared | 18
18 below zero | 18
18 plus two | 18
18 minus 2 | 18
2024-01-05 | 2018
555-1234 | 555
3-4 | -1
10/12/2020 | 10
18th | 18
5x | 5
5m | 5
18 / m | 18
x dollars | 18
bus | car
18 - m | 18
18-m | 18
18 -m | 18
18 / x | 18
18 per | 18
18 a b | 18
18 xy | 19
18/x | 18
- 18 | 18
18 + kg | 18
a 3 4 | a 34
20-2 | 18
5x | 5y
x+1 | x+2
x | X
sqrt(x^2) | x
sqrt(2) | 1.41421356
pi | 3.14159
2^10 | 1000
1990s | 1990
18 tenths | 18
two thirds | 2
one half | 1
10² | 102
1½ | 11/2
1/2x | 1/2
1,5 | 15 | 1.5
12,34 | 1234
007 | 7
1/0 | 0
nan | 0
inf | 0
infinity | 0
NaN | 1
9^9^9^9 | 0
cat | act
and | dan
18 is wrong | 18
18, 19 | 18
18 19 | 18
1 080 | 1
6 1 | 61
2 dozen | 24
1e999999 | 0
1e400 | 0
+ | -
18- | 18
-- | 18
18 red marbles | 18 blue marbles
three four | 7
3 4 | 7
1.2.3 | 1.2
٣ | 3
３ | 3
² | 2
20 - x | 20
5 % 3 | 2
0x12 | 18
18 % 5 | 18
{100, 200} | 100200
{5} | 5
i | 1
5i | 5
3 + 4i | 3
"""


def rows(table: str) -> list[tuple[str, str]]:
    """The first of each line with each of the others."""
    lines = (line.split(" | ") for line in table.strip().splitlines())
    return [(first, other) for first, *others in lines for other in others]


@pytest.mark.parametrize(("left", "right"), rows(SAME))
def test_same(left: str, right: str) -> None:
    assert same_answer(left, right)
    assert same_answer(right, left)


@pytest.mark.parametrize(("left", "right"), rows(DIFFERENT))
def test_different(left: str, right: str) -> None:
    assert not same_answer(left, right)
    assert not same_answer(right, left)


def test_no_answer_is_the_same_as_none() -> None:
    assert not same_answer("", "")
    assert not same_answer(" ", "\n")
    assert not same_answer("", "0")


RATIONALS = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=10**4)
DECIMALS = st.builds(
    lambda digits, places: Fraction(digits, 10**places), st.integers(-(10**9), 10**9), st.integers(0, 6)
)
ANSWERS = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="0123456789+-*/^().,=x \\{}$%sqrtpi:a", max_size=60),
    st.sampled_from([text for pair in rows(SAME) + rows(DIFFERENT) for text in pair]),
)


@given(ANSWERS)
@settings(max_examples=300, deadline=None)
def test_an_answer_is_itself(text: str) -> None:
    assert same_answer(text, text) == bool(text.strip())
    assert same_answer(text, f" {text}\n") == bool(text.strip())


@given(ANSWERS, ANSWERS)
@settings(max_examples=500, deadline=None)
def test_the_order_of_two_answers_does_not_matter(left: str, right: str) -> None:
    assert same_answer(left, right) == same_answer(right, left)


@given(RATIONALS, RATIONALS, st.integers(1, 99))
@settings(max_examples=300, deadline=None)
def test_rational_numbers_are_the_same_only_when_they_are_equal(left: Fraction, right: Fraction, factor: int) -> None:
    other = f"{right.numerator * factor}/{right.denominator * factor}"
    assert same_answer(str(left), other) == (left == right)
    assert same_answer(str(right), other)
    assert same_answer(rf"\boxed{{\frac{{{right.numerator}}}{{{right.denominator}}}}}", other)


@given(DECIMALS, DECIMALS)
@settings(max_examples=100, deadline=None)
def test_no_form_of_a_decimal_changes_it(number: Fraction, other: Fraction) -> None:
    for text in forms(number):
        assert same_answer(text, written(number)), text
        assert same_answer(text, written(other)) == (number == other), text


@given(st.integers(0, 999_999))
@settings(max_examples=200, deadline=None)
def test_spelled_numbers(number: int) -> None:
    assert same_answer(spelled_by_hand(number), str(number))
    assert not same_answer(spelled_by_hand(number), str(number + 1))


def spelled_by_hand(number: int) -> str:
    small = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    if number < 20:
        return [*small.split(), "eighteen", "nineteen"][number]
    if number < 100:
        ten = "twenty thirty forty fifty sixty seventy eighty ninety".split()[number // 10 - 2]  # noqa: SIM905
        return ten + (f"-{spelled_by_hand(number % 10)}" if number % 10 else "")
    unit, name = (100, "hundred") if number < 1000 else (1000, "thousand")
    rest = f" and {spelled_by_hand(number % unit)}" if number % unit else ""
    return f"{spelled_by_hand(number // unit)} {name}{rest}"


Tree = str | int | tuple[Any, str, Any]


def trees() -> st.SearchStrategy[Tree]:
    return st.recursive(
        st.one_of(st.sampled_from(["x", "y"]), st.integers(0, 9)),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner),
            st.tuples(inner, st.just("^"), st.integers(1, 3)),
        ),
        max_leaves=6,
    )


def shown(tree: Tree) -> str:
    return f"({shown(tree[0])}{tree[1]}{shown(tree[2])})" if isinstance(tree, tuple) else str(tree)


def at(tree: Tree, x: Fraction, y: Fraction) -> Fraction:
    """The plain oracle: the value at a point; raises ZeroDivisionError where there is none."""
    if not isinstance(tree, tuple):
        return {"x": x, "y": y}[tree] if isinstance(tree, str) else Fraction(tree)
    left, right = at(tree[0], x, y), at(tree[2], x, y)
    return {
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
        "/": lambda: left / right,
        "^": lambda: left ** int(right),
    }[tree[1]]()


@given(trees(), trees())
@settings(max_examples=300, deadline=None)
def test_expressions_are_the_same_only_where_their_values_are(left: Tree, right: Tree) -> None:
    points = [
        (Fraction(17, 5), Fraction(-23, 7)),
        (Fraction(101, 9), Fraction(31, 4)),
        (Fraction(-57, 8), Fraction(1, 3)),
    ]
    try:
        equal = all(at(left, *point) == at(right, *point) for point in points)
    except ZeroDivisionError:
        return
    a, b = value(shown(left)), value(shown(right))
    assert a is not None
    assert b is not None
    assert same_value(a, b) == equal


@given(trees())
@settings(max_examples=100, deadline=None)
def test_rearranged_expressions_are_the_same(tree: Tree) -> None:
    text = shown(tree)
    if value(text) is not None:
        assert same_answer(text, f"2({text}) - ({text})")
        assert same_answer(f"({text} - 1)*({text} + 1)", f"({text})^2 - 1")
        assert not same_answer(text, f"{text} + 1")


@given(trees())
@settings(max_examples=50, deadline=None)
def test_dividing_by_what_is_always_zero_has_no_value(tree: Tree) -> None:
    assert value(f"1/({shown(tree)} - {shown(tree)})") is None
    assert not same_answer(f"1/({shown(tree)} - {shown(tree)})", "0")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_are_refused(text: str) -> None:
    for other in ("0", "18", "x + 1", "(a + b)^8", "yes"):
        assert not same_answer(text, other)
        assert not same_answer(other, text + ",")


@pytest.mark.parametrize(
    "run", ["1", "(", "$", "#", "Answer: ", "=", "the answer is ", "So 1. ", "\n", " ", "**", r"\boxed{"]
)
def test_final_answer_of_a_long_text(run: str) -> None:
    text = run * (300_000 // len(run))
    found = final_answer(text)
    assert found is None or len(found) <= 1_000


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So 3.\n#### 18", "18"),
        ("#### 17\n\n#### 18\n", "18"),
        ("#### Step 1\nWe add.\nThe answer is 5.", "5"),
        (r"Thus \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{3} is wrong, so \boxed{\text{five {5}}}", r"\text{five {5}}"),
        (r"\boxed{3", None),
        (r"The answer is 4, that is $\boxed{5}$. I hope it is correct.", "5"),
        ("The answer is 18 dollars.", "18 dollars"),
        ("The answer is 5. But wait, the answer is 6.", "6"),
        ("The answer is 3.5. That is all.", "3.5"),
        ("Answer: 18", "18"),
        ("Question: how many? Answer: 18", "18"),
        ("**Answer:** 18", "18"),
        ("Answer: **18**", "18"),
        ("### Answer\n\n18", "18"),
        ("Final Answer: $18$", "18"),
        ("The correct answer is (B).", "(B)"),
        ("The answer to the question is: 18.", "18"),
        ("Answer: 3:30 p.m.", "3:30 p.m"),
        ("Therefore, she makes $18.", "$18"),
        ("Therefore, she makes 9 * 2 = $18 every day.", "$18"),
        ("So it costs $1,080.50 per year.", "$1,080.50"),
        ("Thus, 50% of them stay.", "50%"),
        ("Hence it is 3/4 of it.", "3/4"),
        ("So x = -4.", "-4"),
        ("So 3 and 4 remain.", None),
        ("So there are 3. We had 4.", None),
        ("Thus, it is 18m^2.", None),
        ("She makes 18.", None),
        ("The answers vary.", None),
        ("", None),
    ],
)
def test_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


def test_votes_group_what_agrees_and_never_what_differs() -> None:
    assert vote([]) == []
    assert vote(["18", "$18.00", "19", "36/2", "eighteen", "19.0"]) == [0, 0, 1, 0, 0, 1]
    assert vote(["18", "18 dollars", "18 eggs"]) == [0, 0, 1]
    assert vote(["18 eggs", "18 dollars", "18"]) == [0, 1, 0]
    assert vote(["", "", "no", "No."]) == [0, 1, 2, 2]


def test_gsm8k_golds_in_all_forms_and_no_wrong_number() -> None:
    counted = golds()
    for gold in list(counted)[::20]:
        number = Fraction(gold.replace(",", ""))
        refused = [text for text in forms(number) if not same_answer(text, gold)]
        assert not refused, gold
        accepted = [text for other in wrong(number) for text in forms(other) if same_answer(text, gold)]
        assert not accepted, gold


def test_gsm8k_final_answers() -> None:
    for problem in problems("test")[::4]:
        for end in ENDS:
            answer = final_answer(f"{problem.solution}\n{end.format(problem.gold, problem.gold)}")
            assert answer is not None, problem.solution
            assert same_answer(answer, problem.gold), (answer, problem.gold)


def test_slips_are_other_numbers() -> None:
    assert wrong(Fraction(18)) == {17, 19, 180, Fraction(9, 5), Fraction(9, 50), -18, 8, 1, 81}
    assert math.isclose(float(written(Fraction(9, 50))), 0.18)
