"""A table of a passage's facts, with one question that the table alone answers.

After FinePhrase's table prompt (https://arxiv.org/abs/2604.13977). The schema makes every row as long as the heading; numbers
that the passage lacks drop the table; whether the answer can be computed from the table again is a finding.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, lru_cache, partial
from itertools import chain
from typing import Any, Literal

from pydantic import Field

from generators import common, pairs
from generators.segments import Segment
from generators.writing import Question, per_segment, write
from synth.ask import Ask, Completion, Family, Message
from synth.registry import Card, Spec
from synth.rows import Defect, Draft, Finding, Seed, compose
from synth.text.mentions import Number, names, numbers

NAME = "table_qa"
VERSION = 1
RENDERER_VERSION = 1

MIN_COLUMNS, MAX_COLUMNS = 2, 6
MIN_ROWS, MAX_ROWS = 2, 12
CELL_CHARS = 60
QUESTION_CHARS = 120
ANSWER_CHARS = 160


class Options(pairs.PairOptions):
    """Options of table_qa."""

    min_facts: int = Field(
        4,
        ge=0,
        description="A passage with fewer different names and numbers is not asked about: there is nothing to tabulate.",
    )
    vary: tuple[Literal["question", "arrangement", "audience"], ...] | None = Field(
        ("question",), description="Which of the family's axes are sampled by hash; none: all."
    )
    max_tokens: int = Field(1024, ge=1, description="Tokens of an answer. 1024 holds 12 rows of 4 columns.")
    temperature: float = Field(0.5, ge=0.0, le=5.0, description="Softmax temperature, as for faithful families.")
    top_p: float = Field(0.9, gt=0.0, le=1.0, description="Nucleus sampling, as for faithful families.")


@cache
def prompts() -> common.Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(common.Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    card = Card(
        "prose with four facts or more",
        "a table of its facts and a question that the table answers",
        "FinePhrase, arXiv 2604.13977",
    )
    return common.spec(NAME, (VERSION, RENDERER_VERSION), Options, generate, prompts(), card)


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """A table with its question; of a long seed one for each of its parts."""

    async def document(part: Seed, segment: Segment) -> Draft:
        if few := few_facts(part.text, options.min_facts):
            return Draft("", (), (), defect=few)

        async def finish(draft: Draft) -> Draft:
            return await _checked(ask, options, part, draft)

        return await write(ask, options, partial(question, part, options), claims=claims, finish=finish)

    return await per_segment(seed, options, document)


def few_facts(text: str, least: int) -> Defect | None:
    """A defect when a text has fewer than `least` different names and numbers: there is nothing to tabulate."""
    found = len({(one.kind, one.value) for one in numbers(text)}) + len({one.words for one in names(text)})
    if found >= least:
        return None
    return Defect("few_facts", f"the passage has {found} different names and numbers", float(found), float(least))


def claims(draft: Draft) -> list[str]:
    """What the document claims: each row of the table, and the question with its answer."""
    table = draft.payload
    listed = [
        "; ".join(f"{column}: {cell}" for column, cell in zip(table["columns"], row, strict=True) if cell)
        for row in table["rows"]
    ]
    return [*listed, f"{table['question']} {table['answer']}"]


# --- asking


def question(seed: Seed, options: Options, sample: int = 0) -> Question:
    """What is asked, and how the answer is read."""
    request, axes = common.worded(NAME, prompts(), seed.id, sample, options.vary, options.languages)
    asked = common.messages(prompts().system, request, seed.text)
    axes["layout"] = common.choose(list(LAYOUTS), NAME, "layout", seed.id)
    return Question(seed, asked, partial(draft, seed, asked, axes), schema(), prompts().criteria)


@cache
def schema() -> dict[str, Any]:
    """The JSON schema of the answer: one alternative for each number of columns, so that every row has as many cells."""
    return {"anyOf": [_of_width(width) for width in range(MIN_COLUMNS, MAX_COLUMNS + 1)]}


def _of_width(width: int) -> dict[str, Any]:
    cell = {"type": "string", "pattern": rf'^[^ "\\\n][^"\\\n]{{0,{CELL_CHARS}}}$'}
    row = {"type": "array", "minItems": width, "maxItems": width, "items": cell}
    fields = {
        "columns": row,
        "rows": {"type": "array", "minItems": MIN_ROWS, "maxItems": MAX_ROWS, "items": row},
        "question": {"type": "string", "pattern": rf'^[A-Z][^?"\\\n]{{8,{QUESTION_CHARS}}}\?$'},
        "answer": {"type": "string", "pattern": rf'^[^ "\\\n][^"\\\n]{{0,{ANSWER_CHARS}}}$'},
    }
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


# --- reading


def draft(seed: Seed, asked: Sequence[Message], axes: dict[str, str], completion: Completion) -> Draft:
    """The document that this answer makes."""
    if defect := completion.defect():
        return common.failed(completion, completion.text, defect, axes)
    table = tidied(completion.parsed)
    said = "\n".join([*chain(table["columns"], *table["rows"]), table["question"], table["answer"]])
    defect = common.prompt_echo(said, asked, seed.text) or table_defect(table, seed.text)
    if defect:
        return common.failed(completion, completion.text, defect, axes)
    table["fault"] = pair_fault(table, seed.text)
    made = rendered(seed, table, axes)
    if made.defect:
        return common.failed(completion, completion.text, made.defect, axes)
    return replace(made, ask_ids=(completion.ask_id,), reasoning=completion.reasoning)


def tidied(parsed: Mapping[str, Any]) -> dict[str, Any]:
    """The answer with cells, question and answer on one line each; empty columns, empty rows and repeated rows are left out."""
    columns = [tidy_cell(cell) for cell in parsed["columns"]]
    rows = [[tidy_cell(cell) for cell in row] for row in parsed["rows"]]
    filled = [at for at in range(len(columns)) if any(at < len(row) and row[at] for row in rows)]
    if all(len(row) == len(columns) for row in rows):
        columns = [columns[at] for at in filled]
        rows = [[row[at] for at in filled] for row in rows]
    distinct = {tuple(cell.casefold() for cell in row): row for row in rows if any(row)}
    return {
        "columns": columns,
        "rows": list(distinct.values()),
        "question": " ".join(parsed["question"].split()),
        "answer": pairs.tidy_answer(parsed["answer"], ANSWER_CHARS),
        "fault": None,
    }


_BREAK = re.compile(r"<br ?/?>", re.IGNORECASE)


def tidy_cell(cell: str) -> str:
    """A cell on one line, without the bars and line breaks of another table's markup around or in it."""
    return " ".join(_BREAK.sub(" ", cell).split()).strip("| ")


def table_defect(table: Mapping[str, Any], source: str) -> Defect | None:
    """What is wrong with a tidied table: its shape, or a number that its source does not give."""
    columns, rows = table["columns"], table["rows"]
    if uneven := [row for row in rows if len(row) != len(columns)]:
        return Defect("uneven_rows", "rows are not as long as the heading", float(len(uneven)), 0.0)
    if len(columns) < MIN_COLUMNS or len(rows) < MIN_ROWS:
        why = f"{len(rows)} different rows of {len(columns)} columns are left of the table"
        return Defect("no_table", why, float(len(rows)), float(MIN_ROWS))
    if len({column.casefold() for column in columns} - {""}) < len(columns):
        return Defect("columns_alike", "two columns have the same heading, or one has none")
    if invented := invented_numbers(table, source):
        why = "the table gives numbers that its source does not"
        return Defect("invented_number", why, float(len(invented)), 0.0, "; ".join(invented))
    return None


_NUMERAL = re.compile(r"[0-9](?:[0-9.,]*[0-9])?")
_TOTAL = re.compile(r"(?:(?:grand|overall|sub)[ -]?)?(?:totals?|sum|averages?|mean)\b", re.IGNORECASE)


def invented_numbers(table: Mapping[str, Any], source: str) -> list[str]:
    """The numbers of a table, as written, that stand neither in the source nor follow from it: a total or mean of its column,
    or the rows' own numbering.
    """
    known, numerals = _numbers_of(source)

    def stands(number: Number) -> bool:
        written = _NUMERAL.search(number.text)  # 5.2 under "millions" stands in "5.2 million"
        return not number.exact or (number.kind, number.value) in known or bool(written and written[0] in numerals)

    rows = table["rows"]
    invented = [one.text for column in table["columns"] for one in numbers(column) if not stands(one)]
    for column in zip(*rows, strict=True):
        if [cell.rstrip(".)") for cell in column] == [str(number) for number in range(1, len(rows) + 1)]:
            continue
        derived = _totals(rows, column)
        for row, cell in zip(rows, column, strict=True):
            allowed = derived if _TOTAL.match(row[0]) else frozenset()
            invented += [one.text for one in numbers(cell) if not stands(one) and one.value not in allowed]
    return list(dict.fromkeys(invented))


@lru_cache(maxsize=64)
def _numbers_of(source: str) -> tuple[frozenset[tuple[str, Fraction]], frozenset[str]]:
    """What a source gives: its numbers by kind and value, and its numerals as written."""
    return frozenset((one.kind, one.value) for one in numbers(source)), frozenset(_NUMERAL.findall(source))


def _totals(rows: Sequence[Sequence[str]], column: Sequence[str]) -> frozenset[Fraction]:
    """Sum and mean of a column's amounts, without rows that are totals themselves."""
    cells = [cell for row, cell in zip(rows, column, strict=True) if not _TOTAL.match(row[0])]
    amounts = [value for cell in cells if (value := amount(cell)) is not None]
    total = sum(amounts, Fraction(0))
    return frozenset({total, total / len(amounts)} if amounts else ())


def amount(cell: str) -> Fraction | None:
    """The number in a cell; None if it holds none or several."""
    found = numbers(cell)
    return found[0].value if len(found) == 1 else None


def pair_fault(table: Mapping[str, Any], source: str) -> str | None:
    """Why the question and its answer are not worth keeping, as a word; None when they are. Numbers of the answer are left to
    `answer_finding`: they may be sums and counts.
    """
    said = [one.text for one in numbers(table["answer"])]
    there = "\n".join([source, *chain(table["columns"], *table["rows"]), *said])
    fault = pairs.pair_fault(table["question"], table["answer"], there)
    # "Which is deeper, A or B?" is answered with words of the question.
    return None if fault == "says_nothing" and derivation(table) else fault


# --- checks


async def _checked(ask: Ask, options: Options, seed: Seed, draft: Draft) -> Draft:
    """The draft with a finding on its answer, and with the round trips that the options name: the table is their source."""
    table_alone = replace(seed, text=markdown(draft.payload["columns"], draft.payload["rows"]))

    def again(asked: Sequence[Mapping[str, Any]]) -> Draft:
        return replace(draft, payload=dict(asked[0]), defect=pairs.none_left(asked))

    found = replace(draft, findings=(*draft.findings, answer_finding(draft.payload)))
    as_pairs = replace(found, payload=[draft.payload])
    checked = await pairs.check_round_trip(ask, options, table_alone, as_pairs, again)
    return found if checked is as_pairs else checked


def answer_finding(table: Mapping[str, Any]) -> Finding:
    """Whether the answer can be had from the table: `passed` with the way in its evidence, else `unsure`."""
    way = derivation(table)
    evidence = {"question": table["question"], "answer": table["answer"], "derivation": way}
    return Finding("table_answer", "passed" if way else "unsure", "rule", None, evidence)


def derivation(table: Mapping[str, Any]) -> str | None:
    """How the answer follows from the table: entry, count, sum or difference. None when this does not see it."""
    asked = {one.value for one in numbers(table["question"])}
    said = [one for one in numbers(table["answer"]) if one.value not in asked]
    if not any(one.exact for one in said) and _names_entry(table):
        return "entry"  # "one of them is Baikal" counts nothing
    known = _computable(table)
    ways = [_way(known, value) for value in {one.value for one in said}]
    return None if None in ways or not ways else max((way for way in ways if way), key=WAYS.index)


WAYS = ("entry", "count", "sum", "difference")


@dataclass(frozen=True)
class _Computable:
    """Numbers that a table gives, and the amounts of its columns, from which others follow. Total rows are only entries."""

    entries: frozenset[Fraction]
    counts: frozenset[int]
    columns: list[list[Fraction]]


def _computable(table: Mapping[str, Any]) -> _Computable:
    cells = chain(table["columns"], *table["rows"])
    body = [row for row in table["rows"] if not _TOTAL.match(row[0])]
    columns = list(zip(*body, strict=True))
    alike = [count for column in columns for count in Counter(column).values() if count > 1]
    return _Computable(
        frozenset(one.value for cell in cells for one in numbers(cell)),
        frozenset([len(body), *alike]),
        [[value for cell in column if (value := amount(cell)) is not None] for column in columns],
    )


def _way(known: _Computable, value: Fraction) -> str | None:
    if value in known.entries:
        return "entry"
    if value in known.counts:
        return "count"
    if any(column and value == sum(column, Fraction(0)) for column in known.columns):
        return "sum"
    return "difference" if any({one + value for one in column} & {*column} for column in known.columns) else None


def _names_entry(table: Mapping[str, Any]) -> bool:
    """Whether the answer holds an entry that the question does not, or one of several that it names."""
    entries = {_plain(cell) for row in table["rows"] for cell in row} - {""}
    question, answer = _plain(table["question"]), _plain(table["answer"])
    named = {entry for entry in entries if f" {entry} " in f" {question} "}
    said = {entry for entry in entries if f" {entry} " in f" {answer} "}
    within = any(f" {answer} " in f" {entry} " for entry in entries - named)
    return bool(said - named) or within or (len(named) > 1 and len(said) == 1)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


# --- rendering

LAYOUTS = {
    "answer_below": "{table}\n\n{question}\n{answer}",
    "bold": "{table}\n\n**{question}**\n\n{answer}",
    "caption": "Table: {caption}\n\n{table}\n\n{question} {answer}",
    "letters": "{table}\n\nQ: {question}\nA: {answer}",
    "question_first": "{question}\n\n{table}\n\n{answer}",
    "words": "{table}\n\nQuestion: {question}\nAnswer: {answer}",
}


def rendered(seed: Seed, table: Mapping[str, Any], axes: Mapping[str, str]) -> Draft:
    """The table with its question, in the layout of `axes`; a defect when the pair has a fault."""
    if nothing := pairs.none_left([table]):
        return Draft("", (), (), payload=dict(table), axes=axes, defect=nothing)
    said = LAYOUTS[axes["layout"]].format(
        table=markdown(table["columns"], table["rows"]),
        caption=", ".join(table["columns"]),
        question=table["question"],
        answer=table["answer"],
    )
    text, parts = compose([("generated", said)])
    return Draft(text, parts, (), payload=dict(table), axes=axes)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table in Markdown; a bar inside a cell is escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
