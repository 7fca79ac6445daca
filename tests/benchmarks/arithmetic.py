"""The arithmetic check on GSM8K: what it sees, what it finds of planted errors, and what it says of untouched solutions.

    python -m tests.benchmarks.arithmetic

What counts as an equation in the prose is not decided by the checker. GSM8K's calculator marks do that: in
`16 - 3 - 4 = $<<16-3-4=9>>9` a mark stands between the equals sign and the result. The equation stands in the prose if,
with the marks taken off, (1) an equals sign ends the text before the mark, but for a currency sign, (2) the mark holds an
operator, (3) the same numbers, in the mark's order, are the last ones before that sign in its line, with an operator sign
or word between each two of them, and (4) a number follows. The marks are never shown to the checker.

A planted error changes the number that follows to another one chosen by a hash: its last digit, all its digits, or one
digit more. `--show` prints what was flagged and what was missed.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

from synth.text.arithmetic import check_equations
from synth.text.table_sums import check_table_sums
from tests.gsm8k import FOLDER

_MARK = re.compile(r"<<([^<>]*)>>")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
_OPERATOR = re.compile(r"[-+*/×÷−–xX]|\b(?:times|plus|minus|of|by)\b")
_SIGN = re.compile(r"=\s*\$?\s*\Z")
_PROSE = (
    "The river rises in the hills, runs past two old mills and a small town, and reaches the sea after ninety miles. "
)


@dataclass(frozen=True)
class Marked:
    """An equation that stands in the prose of `text`: where its sign and its result are."""

    text: str
    sign: int
    result: tuple[int, int]


@dataclass(frozen=True)
class Figures:
    """What was counted over some splits."""

    solutions: int
    flagged_solutions: int
    marks: int
    in_prose: int
    seen: int
    changed: int
    found: int

    @property
    def flagged_share(self) -> float:
        """Share of untouched solutions in which at least one equation is called wrong."""
        return self.flagged_solutions / self.solutions

    @property
    def found_share(self) -> float:
        """Share of the changed results, among all equations that stand in the prose, that are called wrong."""
        return self.found / self.changed

    @property
    def seen_share(self) -> float:
        """Share of the equations that stand in the prose that are checked."""
        return self.seen / self.in_prose


def solutions(split: str) -> Iterator[str]:
    """The solutions of a split with their marks."""
    for line in (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
        yield json.loads(line)["answer"].rsplit("\n####", 1)[0]


def marked(solution: str) -> list[Marked | None]:
    """For each mark of a solution: the equation that stands there in the prose, or None."""
    text = _MARK.sub("", solution)
    found: list[Marked | None] = []
    removed = 0
    for mark in _MARK.finditer(solution):
        found.append(_marked(text, mark.start() - removed, mark[1]))
        removed += len(mark[0])
    return found


def _marked(text: str, at: int, mark: str) -> Marked | None:
    sign = _SIGN.search(text, max(0, at - 4), at)
    result = _NUMBER.match(text, at)
    left = mark.partition("=")[0]
    numbers = [_plain(number) for number in _NUMBER.findall(left)]
    if sign is None or result is None or len(numbers) < 2:
        return None
    line = text[text.rfind("\n", 0, sign.start()) + 1 : sign.start()]
    stands = [*_NUMBER.finditer(line)][-len(numbers) :]
    between = [line[first.end() : second.start()] for first, second in pairwise(stands)]
    same = [_plain(number[0]) for number in stands] == numbers
    return Marked(text, sign.start(), result.span()) if same and all(map(_OPERATOR.search, between)) else None


def _plain(number: str) -> float:
    return float(number.replace(",", ""))


def planted(equation: Marked) -> str:
    """The text with another result in the equation: chosen by a hash of the text and the place."""
    start, end = equation.result
    written = equation.text[start:end]
    seed = int.from_bytes(sha256(f"{start} {equation.text}".encode()).digest()[:8])
    new = _other(written, seed)
    return equation.text[:start] + new + equation.text[end:]


def _other(written: str, seed: int) -> str:
    way, seed = seed % 3, seed // 3
    if way == 2:
        return f"{seed % 9 + 1}{written.replace(',', '')}" if written[0] != "." else f"{seed % 9 + 1}{written}"
    digits = [at for at, character in enumerate(written) if character.isdecimal()]
    changed = list(written)
    for at in digits if way == 1 else digits[-1:]:
        choices = [digit for digit in "123456789" if digit != written[at]]
        changed[at] = choices[seed % len(choices)]
        seed //= 8
    return "".join(changed)


def measure(splits: tuple[str, ...], show: bool = False) -> Figures:
    """Count over whole splits; `show` prints what was flagged and what was missed."""
    texts = [solution for split in splits for solution in solutions(split)]
    flagged = marks = in_prose = seen = found = 0
    for solution in texts:
        text = _MARK.sub("", solution)
        equations = check_equations(text)
        wrong = [equation.text for equation in equations if not equation.correct]
        flagged += bool(wrong)
        if wrong and show:
            print("flagged:", "; ".join(wrong))
        for mark in marked(solution):
            marks += 1
            if mark is None:
                continue
            in_prose += 1
            seen += any(e.start < mark.sign < e.start + len(e.text) >= mark.result[1] for e in equations)
            hit = _is_found(mark)
            found += hit
            if not hit and show:
                print("missed: ", repr(mark.text[max(0, mark.sign - 70) : mark.result[1] + 25]))
    return Figures(len(texts), flagged, marks, in_prose, seen, in_prose, found)


def _is_found(equation: Marked) -> bool:
    return any(
        not found.correct and found.start < equation.sign < found.start + len(found.text)
        for found in check_equations(planted(equation))
    )


def documents_per_second(documents: list[str]) -> float:
    """How many of these the checks of equations and of tables do in a second of one core."""
    start = time.process_time()
    for document in documents:
        check_equations(document)
        check_table_sums(document)
    return len(documents) / (time.process_time() - start)


def main() -> None:
    """Measure all of GSM8K and the speed, and print."""
    figures = measure(("train", "test"), show="--show" in sys.argv)
    print(f"calculator marks                      {figures.marks}")
    print(f"  equations that stand in the prose   {figures.in_prose}")
    print(f"  of these checked                    {figures.seen} ({figures.seen_share:.2%})")
    print(f"changed results flagged               {figures.found} of {figures.changed} ({figures.found_share:.2%})")
    print(
        f"untouched solutions flagged           {figures.flagged_solutions} of {figures.solutions} ({figures.flagged_share:.2%})"
    )
    texts = [_MARK.sub("", solution) for solution in solutions("test")]
    four = ["\n".join(texts[at : at + 4]) for at in range(0, len(texts), 4)]
    size = sum(map(len, four)) // len(four)
    print(f"solutions joined, {size} characters     {documents_per_second(four):.0f} documents/s")
    print(
        f"prose without a sign, 3,000 characters {documents_per_second([(_PROSE * 30)[:3000]] * 2000):.0f} documents/s"
    )


if __name__ == "__main__":
    main()
