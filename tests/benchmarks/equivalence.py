"""Answer equivalence on the gold answers of GSM8K: the same number in other words, wrong numbers, and hostile input.

    python -m tests.benchmarks.equivalence

Every distinct gold is tried once in every form and counted as often as it occurs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from generators.verify.equivalence import final_answer, same_answer
from tests.gsm8k import problems

FORMS = (
    *(
        "{n}",
        " {n} ",
        "{grouped}",
        "${grouped}",
        "${n}.00",
        "{n}.0",
        "{n}.",
        "{grouped} dollars",
        "{n} eggs",
        "{n} duck eggs",
    ),
    *("{n} dollars per day", "$ {n}", "**{n}**", "**{grouped}** dollars.", r"\boxed{{{n}}}", r"$\boxed{{{grouped}}}$"),
    *("= {n}", "x = {n}", "{double}/2", r"\frac{{{double}}}{{2}}", "{n} USD", "{n}%", r"\${n}", r"{n} \text{{ miles}}"),
    *(
        "{n}e0",
        "2 * {n} - {n}",
        "{n} hours",
        "{n}kg",
        "The answer is {n}.",
        "#### {grouped}",
        "about {n} people",
        "{latex}",
    ),
)
ENDS = (
    *(
        "#### {}",
        "The answer is {}.",
        "Answer: {}",
        "**Answer:** {}",
        "**Final answer: {}**",
        r"So it is \boxed{{{}}}.",
    ),
    *(
        "### Answer\n{}",
        "The final answer is ${} dollars.",
        "Therefore, it is {} in all.",
        "So the total is 0 + {} = {}.",
    ),
)
HOSTILE = (
    *("(" * 10_000, "9^9^9^9", "1/0", "9" * 10_000, "1e999999999", "x^999999", "nan", "inf", "-inf", "٣", "{" * 10_000),
    *(
        "(a+b+c+d+f+g+h+j)^64",
        "((x+y)^8+(x-y)^8)^4/(x+y+z)^5",
        "1/(a+b)" * 20,
        "sqrt(" * 150,
        "-" * 10_000,
        "$" * 10_000,
    ),
    *(
        r"\frac{" * 2_000,
        r"\text{" * 2_000,
        "1," * 5_000,
        "= " * 5_000,
        "and " * 2_500,
        "one " * 2_500,
        "1 hour " * 1_000,
    ),
    *(
        "sqrt(x+1)^64+sqrt(y+1)^64",
        "(sqrt2+sqrt3+sqrt5+sqrt7+x)^9",
        "1_" * 400,
        "* " * 400,
        "1:" * 400,
        "~" * 800,
        '" ' * 400,
    ),
    *(r"\text{" * 100 + "}" * 100, r"\frac{1}{" * 60 + "}" * 60, "((x+1)^64)^64", "(9^60)^64", "x^(1/2)", "2^x", "0^0"),
)


def written(number: Fraction) -> str:
    """A number in digits: decimals where it is no whole one (its decimals must end within 28 digits)."""
    return f"{Decimal(number.numerator) / Decimal(number.denominator):f}"


def forms(number: Fraction) -> Iterator[str]:
    """A number in every form that can carry it: .00 can only follow a whole number."""
    n = written(number)
    whole, dot, decimals = n.partition(".")
    grouped = f"{int(whole):,}" if whole not in ("-0", "") else whole
    fields = {
        "n": n,
        "grouped": grouped + dot + decimals,
        "double": written(2 * number),
        "latex": grouped.replace(",", "{,}") + dot + decimals,
    }
    for form in FORMS:
        if not (dot and "{n}." in form):
            yield form.format(**fields)


def wrong(number: Fraction) -> set[Fraction]:
    """Numbers that a slip makes of this one."""
    digits = str(abs(number.numerator))
    sign = -1 if number < 0 else 1
    slips = {number + 1, number - 1, number * 10, number / 10, number / 100, -number}
    slips |= {Fraction(sign * int(digits[:at] + digits[at + 1 :])) for at in range(len(digits)) if len(digits) > 1}
    slips |= {
        Fraction(sign * int(digits[:at] + digits[at + 1] + digits[at] + digits[at + 2 :]))
        for at in range(len(digits) - 1)
    }
    return slips - {number}


def golds() -> Counter[str]:
    """Gold answers and how often they occur."""
    return Counter(problem.gold for split in ("train", "test") for problem in problems(split))


def numbers() -> None:
    """Right and wrong numbers in all forms."""
    started = time.perf_counter()
    accepted, refused, false, tried = 0, [], [], 0
    counted = golds()
    for gold, times in counted.items():
        number = Fraction(gold.replace(",", ""))
        for text in forms(number):
            right = same_answer(text, gold)
            accepted += times if right else 0
            refused += [] if right else [(gold, text)]
        for other in wrong(number):
            for text in forms(other):
                tried += times
                false += [(gold, text)] if same_answer(text, gold) else []
    total = accepted + sum(counted[gold] for gold, _ in refused)
    seconds = time.perf_counter() - started
    print(f"golds {counted.total():,} ({len(counted):,} distinct)")
    print(f"right: {accepted:,} of {total:,} accepted {refused[:5]}")
    print(f"wrong: {sum(counted[gold] for gold, _ in false):,} of {tried:,} accepted {false[:5]}; {seconds:.1f} s")


def solutions() -> None:
    """The final answer of every solution, marked in several ways."""
    started = time.perf_counter()
    found, missed, bare = 0, [], [0, 0]
    every = [problem for split in ("train", "test") for problem in problems(split)]
    for problem in every:
        for end in ENDS:
            answer = final_answer(f"{problem.solution}\n{end.format(problem.gold, problem.gold)}")
            right = answer is not None and same_answer(answer, problem.gold)
            found += right
            missed += [] if right else [(end, problem.gold, answer)]
        answer = final_answer(problem.solution)
        bare[0] += answer is not None
        bare[1] += answer is not None and same_answer(answer, problem.gold)
    print(
        f"final answers: {found:,} of {len(every) * len(ENDS):,} found {missed[:5]}; {time.perf_counter() - started:.1f} s"
    )
    print(
        f"without any mark: {bare[0]:,} of {len(every):,} solutions have a closing sentence, {bare[1]:,} of them give the gold"
    )


def hostile() -> None:
    """The slowest of the hostile answers."""
    slowest = (0.0, "")
    for text in HOSTILE:
        started = time.perf_counter()
        assert (
            not same_answer(text, "18") and not same_answer(text, "x + 1") and not same_answer(text + " ,", "(a+b)^8")
        )
        final_answer(text * 10)
        slowest = max(slowest, (time.perf_counter() - started, text[:30]))
    print(f"hostile: {len(HOSTILE)} refused, the slowest in {slowest[0]:.2f} s: {slowest[1]}")


if __name__ == "__main__":
    hostile()
    solutions()
    numbers()
