"""Totals of Markdown tables, added up again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from typing import NamedTuple

from synth.text.quantities import Equation

_RULE = re.compile(r"[\s|:-]*-[\s|:-]*")
_CELL = re.compile(
    r"[$€£]?\s?(?P<number>-?(?:[0-9]{1,15}|[0-9]{1,3}(?:,[0-9]{3}){1,5})(?:\.(?P<decimals>[0-9]{1,9}))?)(?:\s[a-z.]+)?",
    re.I,
)
_TOTAL = re.compile(r"(?:(?:grand|sub|overall)[\s-]?)?(?:total|sum)s?\b", re.IGNORECASE)
_BLANK = frozenset(("", "-", "–", "—", "n/a", "N/A"))
# Columns whose last row is not their sum, whatever it is called.
_NO_SUM = re.compile(
    r"average|avg|mean|median|rate|ratio|percent|%|\bper\b|/|price|each|\bunit\b|year|rank|max|min|cumulative|running|balance|index|date|no\.|#|age\b|score|grade",
    re.IGNORECASE,
)


class _Row(NamedTuple):
    """A line of a table: its cells without emphasis, and where each begins in the text."""

    cells: list[str]
    starts: list[int]


def check_table_sums(text: str) -> list[Equation]:
    """One equation for each column of numbers in each table whose last row is called a total; the text is "Sales total = 50".

    Left out are columns of percentages, averages, prices and the like, and those with anything but numbers and blanks.
    """
    if "|" not in text:
        return []
    return [equation for table in _tables(text) for equation in _sums(table)]


def _tables(text: str) -> Iterator[list[_Row]]:
    """The tables with a ruled line below the header and at least two rows before the last: header, then body."""
    offset, lines = 0, []
    for line in text.splitlines(keepends=True):
        lines.append((offset, line))
        offset += len(line)
    for piped, group in groupby(lines, key=lambda line: "|" in line[1]):
        block = [*group] if piped else []
        if len(block) >= 5 and _RULE.fullmatch(block[1][1].strip()):
            yield [_row(line, start) for start, line in (block[0], *block[2:])]


def _row(line: str, offset: int) -> _Row:
    cells, starts = [], []
    for cell in line.split("|"):
        cells.append(cell.strip(" \t\r\n*_"))
        starts.append(offset + len(cell) - len(cell.lstrip(" \t*_")))
        offset += len(cell) + 1
    if not cells[0]:
        cells, starts = cells[1:], starts[1:]
    return _Row(cells, starts)


def _sums(table: Sequence[_Row]) -> Iterator[Equation]:
    header, *body, last = table
    if not last.cells or not _TOTAL.match(last.cells[0]):
        return
    partial = [bool(row.cells) and _TOTAL.match(row.cells[0]) is not None for row in body]
    for column in range(1, min(len(header.cells), len(last.cells))):
        shown = _CELL.fullmatch(last.cells[column])
        if shown is None or _NO_SUM.search(header.cells[column]) or any(len(row.cells) <= column for row in body):
            continue
        cells = [row.cells[column] for row in body]
        found = [_CELL.fullmatch(cell) for cell in cells]
        if any(match is None and cell not in _BLANK for match, cell in zip(found, cells, strict=True)):
            continue
        numbers = [_number(match) for match in found]
        if sum(match is not None for match in found) > 1:
            equation = f"{header.cells[column]} total = {last.cells[column]}"
            yield _equation(equation, last.starts[column], numbers, partial, shown)


def _number(match: re.Match[str] | None) -> Fraction:
    return Fraction(match["number"].replace(",", "")) if match else Fraction(0)


def _equation(
    text: str, start: int, numbers: Sequence[Fraction], partial: Sequence[bool], shown: re.Match[str]
) -> Equation:
    """Rows that are totals themselves may be left out of the sum, or be all of it. Decimals may have been rounded."""
    right = _number(shown)
    without = sum((number for number, skipped in zip(numbers, partial, strict=True) if not skipped), Fraction(0))
    decimals = len(shown["decimals"] or "")
    rounding = Fraction(len(numbers) + 1, 2 * 10**decimals) if decimals else Fraction(0)
    whole = sum(numbers, Fraction(0))
    sums = (without, whole, whole - without)
    return Equation(text, start, without, right, any(abs(total - right) <= rounding for total in sums))
