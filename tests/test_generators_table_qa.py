"""table_qa: what is asked, which tables are given up, whether an answer follows from its table, and the text."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from generators import table_qa
from generators.common import ECHO_WORDS
from generators.table_qa import LAYOUTS, Options
from synth.ask import Outcome
from synth.config import parse
from synth.engine.scripted_text import conforming_value
from synth.errors import RecipeError
from synth.rows import Draft, Seed, part_text
from synth.text.table_sums import check_table_sums
from tests.fake_ask import Answer, FakeAsk, completion

PASSAGE = (
    "Lake Baikal in Russia is the deepest lake in the world, with 1,642 metres, and holds 23 percent of the fresh water on "
    "the surface. Lake Tanganyika, which four countries share, is 1,470 metres deep. Lake Superior in North America has an "
    "area of 82.1 thousand square kilometres, but only 406 metres of depth."
)
GOOD: dict[str, Any] = {
    "columns": ["Lake", "Depth (m)"],
    "rows": [["Baikal", "1,642"], ["Tanganyika", "1,470"], ["Superior", "406"]],
    "question": "Which lake is deeper, Tanganyika or Superior?",
    "answer": "Tanganyika",
}
SEEDS = 500


def seed(identity: str = "seed-1", text: str = PASSAGE) -> Seed:
    return Seed(identity, identity, identity, 0, text)


def make(answers: Answer | list[Answer], options: Options | None = None, one: Seed | None = None) -> Draft:
    ask = FakeAsk(answers if isinstance(answers, list) else [answers])
    (draft,) = asyncio.run(table_qa.generate(one or seed(), ask, options or Options()))
    ask.done()
    return draft


def rule(draft: Draft) -> str | None:
    return draft.defect and draft.defect.rule


def request(one: Seed, sample: int = 0, options: Options | None = None) -> str:
    return table_qa.question(one, options or Options(vary=()), sample).messages[1]["content"].split("\n\n")[0]


def table(rows: Sequence[Sequence[str]], **fields: Any) -> dict[str, Any]:
    """A tidied table with two or more columns and a question that any table answers."""
    columns = ["Lake", "Depth", "Area", "Share"][: len(rows[0])]
    return {**GOOD, "columns": columns, "rows": [list(row) for row in rows], "fault": None, **fields}


def test_golden_text() -> None:
    """Changed on purpose? Raise table_qa.VERSION or RENDERER_VERSION."""
    draft = make(GOOD)
    assert draft.text == (
        "| Lake | Depth (m) |\n| --- | --- |\n| Baikal | 1,642 |\n| Tanganyika | 1,470 |\n| Superior | 406 |\n\n"
        "Which lake is deeper, Tanganyika or Superior?\nTanganyika"
    )
    assert draft.payload == {**GOOD, "fault": None}
    assert draft.axes == {"instruction": "7", "question": "comparison", "layout": "answer_below"}
    assert draft.ask_ids == ("ask-0",) and draft.defect is None
    assert part_text(draft.text, draft.parts, "generated") == draft.text
    assert [(one.rung, one.outcome, one.evidence["derivation"]) for one in draft.findings] == [
        ("table_answer", "passed", "entry")
    ]


# --- what is asked


def test_prompt_file_is_complete() -> None:
    prompts = table_qa.prompts()
    assert len(prompts.instructions) == len(set(prompts.instructions)) >= 10
    assert all(len(re.findall(r"\w+", text)) >= ECHO_WORDS for text in prompts.instructions)
    assert all(len(values) >= 4 for values in prompts.axes.values()) and len(prompts.criteria) == 4
    assert not any("{" in text or "<|" in text for text in (prompts.system, *prompts.instructions))


def test_every_paraphrase_is_used_and_none_prevails() -> None:
    counts = Counter(request(seed(str(at))) for at in range(SEEDS))
    assert set(counts) == set(table_qa.prompts().instructions) and max(counts.values()) <= SEEDS // 4


def test_axes_that_vary_are_in_the_request() -> None:
    words = request(seed(), options=Options(vary=None))
    for values in table_qa.prompts().axes.values():
        assert sum(f" {one}" in words for one in values.values()) == 1
    assert set(make(GOOD, Options(vary=None)).axes) == {"instruction", "layout", *table_qa.prompts().axes}


def test_an_unknown_axis_is_refused() -> None:
    with pytest.raises(RecipeError, match="vary"):
        parse(Options, {"vary": ["colour"]})


@pytest.mark.parametrize("number", range(len(table_qa.prompts().instructions)))
def test_every_instruction_in_an_answer_is_an_echo(number: int) -> None:
    wording = table_qa.prompts().instructions[number]
    one = next(seed(str(at)) for at in range(1000) if request(seed(str(at))) == wording)
    assert rule(make({**GOOD, "answer": f"{wording} Tanganyika."}, Options(vary=()), one)) == "prompt_echo"


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        pytest.param({}, True, id="good"),
        pytest.param({"columns": ["Lake", "Depth", "Area"]}, False, id="uneven"),
        pytest.param({"columns": ["Lake"], "rows": [["Baikal"], ["Superior"]]}, False, id="one-column"),
        pytest.param({"columns": ["a"] * 6, "rows": [["b"] * 6] * 12}, True, id="largest"),
        pytest.param({"columns": ["a"] * 7, "rows": [["b"] * 7] * 2}, False, id="seven-columns"),
        pytest.param({"rows": [["Baikal", "1,642"]]}, False, id="one-row"),
        pytest.param({"rows": [["a", "b"]] * 13}, False, id="thirteen-rows"),
        pytest.param({"rows": [["a", ""], ["b", "c"]]}, False, id="empty-cell"),
        pytest.param({"rows": [["a", "x" * 62], ["b", "c"]]}, False, id="endless-cell"),
        pytest.param({"rows": [["a", "x\ny"], ["b", "c"]]}, False, id="line-break"),
        pytest.param({"question": "The deepest lake"}, False, id="no-question"),
        pytest.param({"answer": ""}, False, id="no-answer"),
    ],
)
def test_the_schema(change: Mapping[str, Any], fits: bool) -> None:
    Draft202012Validator.check_schema(table_qa.schema())
    assert Draft202012Validator(table_qa.schema()).is_valid({**GOOD, **change}) is fits


def test_the_scripted_server_can_fill_the_schema() -> None:
    value = conforming_value(table_qa.schema(), "key", lambda draws, name: "text", ["lens", "light"])
    assert Draft202012Validator(table_qa.schema()).is_valid(value)


def test_options_reach_the_ask_and_accept_is_the_cheap_check() -> None:
    ask = FakeAsk([GOOD])
    asyncio.run(table_qa.generate(seed(), ask, Options()))
    (asked,) = ask.asked
    assert (asked.max_tokens, asked.temperature, asked.top_p) == (1024, 0.5, 0.9)
    assert asked.accept is not None
    assert asked.accept(completion(GOOD)) and not asked.accept(completion({**GOOD, "rows": [["Baikal", "1,643"]] * 2}))


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        pytest.param("Lakes are often deep and cold. " * 10, Options(), "few_facts", id="no-facts"),
        pytest.param("The lake of Baikal has 1,642 metres. " * 9, Options(), "few_facts", id="the-same-two-facts"),
        pytest.param("Deep.", Options(), "seed_too_short", id="short"),
    ],
)
def test_a_passage_without_facts_is_not_asked_about(text: str, options: Options, expected: str) -> None:
    draft = make([], options, seed(text=text))
    assert rule(draft) == expected and draft.ask_ids == ()


def test_facts_need_not_be_counted() -> None:
    text = "Lakes are often deep and cold, and people fish in them. " * 5
    assert table_qa.few_facts(text, 0) is None
    assert table_qa.few_facts(PASSAGE, 4) is None


# --- tidying


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        pytest.param(" a \n b\t", "a b", id="white-space"),
        pytest.param("| a |", "a", id="bars-around"),
        pytest.param("a|b", "a|b", id="bar-inside"),
        pytest.param("a<br>b<BR />c", "a b c", id="html"),
        pytest.param("|", "", id="bar-alone"),
    ],
)
def test_cells_are_tidied(cell: str, expected: str) -> None:
    assert table_qa.tidy_cell(cell) == expected


def test_empty_columns_empty_rows_and_repeated_rows_are_left_out() -> None:
    answer = {
        **GOOD,
        "columns": ["Lake", "", "Depth"],
        "rows": [["Baikal", " ", "1,642"], ["", "", ""], ["BAIKAL", "", "1,642"], ["Superior", "", "406"]],
        "answer": "Answer: Superior",
    }
    found = table_qa.tidied(answer)
    assert found["columns"] == ["Lake", "Depth"] and found["answer"] == "Superior"
    assert [row[1] for row in found["rows"]] == ["1,642", "406"]


# --- defects


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"rows": [["Baikal", "1,642", "x"], ["Superior", "406"]]}, "uneven_rows", id="uneven"),
        pytest.param({"rows": [["Baikal", "1,642"], ["baikal", "1,642"]]}, "no_table", id="one-row-left"),
        pytest.param({"rows": [["Baikal", " "], ["Superior", " "]]}, "no_table", id="one-column-left"),
        pytest.param({"columns": ["Lake", "lake"]}, "columns_alike", id="same-heading"),
        pytest.param({"columns": ["Lake", "|"]}, "columns_alike", id="no-heading"),
        pytest.param({"rows": [["Baikal", "1,643"], ["Superior", "406"]]}, "invented_number", id="invented"),
        pytest.param({"question": "What does the passage say of Baikal?"}, "no_pairs", id="about-the-task"),
        pytest.param({"answer": "Which lake is deeper, Tanganyika or Superior?"}, "no_pairs", id="question-again"),
        pytest.param({"answer": "Volcanic craters under European glaciers."}, "no_pairs", id="not-about-the-table"),
    ],
)
def test_tables_that_are_given_up(change: Mapping[str, Any], expected: str) -> None:
    draft = make({**GOOD, **change})
    assert rule(draft) == expected and "Tanganyika" in draft.text and set(draft.axes) >= {"layout", "question"}


@pytest.mark.parametrize("outcome", ["truncated_answer", "wrong_schema", "refused", "repetition"])
def test_an_answer_that_is_not_ok_keeps_its_text(outcome: Outcome) -> None:
    draft = make((outcome, '{"columns": ['))
    assert rule(draft) == outcome and draft.text == '{"columns": [' and draft.payload is None


@pytest.mark.parametrize(
    ("rows", "invented"),
    [
        pytest.param([["Baikal", "1,642 m"], ["Superior", "406"]], [], id="as-written"),
        pytest.param([["Baikal", "1642"], ["Superior", "406.0"]], [], id="written-otherwise"),
        pytest.param([["Baikal", "23%"], ["Superior", "82,100"]], [], id="percent-and-thousands"),
        pytest.param([["Baikal", "23"], ["Superior", "82.1"]], [], id="unit-in-the-heading"),
        pytest.param([["Baikal", "1,643"], ["Superior", "407 m"]], ["1,643", "407"], id="changed"),
        pytest.param([["Tanganyika", "4 countries"], ["Baikal", "two"]], [], id="words"),
        pytest.param([["Baikal", "1,642"], ["Tanganyika", "1,470"], ["Total", "3,112"]], [], id="total"),
        pytest.param([["Baikal", "1,642"], ["Tanganyika", "1,470"], ["Average", "1,556"]], [], id="mean"),
        pytest.param([["Baikal", "1,642"], ["Tanganyika", "1,470"], ["Total", "3,113"]], ["3,113"], id="wrong-total"),
        pytest.param([["Baikal", "1,642"], ["Tanganyika", "3,112"]], ["3,112"], id="sum-without-a-total-row"),
        pytest.param([["1", "Baikal"], ["2.", "Superior"], ["3", "Tanganyika"]], [], id="numbered-rows"),
        pytest.param([["1", "Baikal"], ["3", "Superior"]], ["1", "3"], id="numbers-that-skip"),
        pytest.param([["Total", "none"], ["Sum", "7"]], ["7"], id="total-of-nothing"),
    ],
)
def test_numbers_of_the_table_stand_in_the_source(rows: list[list[str]], invented: list[str]) -> None:
    found = table_qa.invented_numbers(table(rows), PASSAGE)
    assert found == invented
    defect = table_qa.table_defect(table(rows), PASSAGE)
    assert (defect and defect.evidence) == ("; ".join(invented) or None)


def test_numbers_of_the_heading_count_too() -> None:
    rows = [["Baikal", "1,642"], ["Superior", "406"]]
    assert table_qa.invented_numbers(table(rows, columns=["Lake", "Depth in 1999"]), PASSAGE) == ["1999"]


def test_a_total_that_is_accepted_is_one_that_the_rule_for_table_sums_accepts() -> None:
    rows = [["Baikal", "1,642"], ["Tanganyika", "1,470"], ["Superior", "406"], ["Total", "3,518"]]
    assert table_qa.invented_numbers(table(rows), PASSAGE) == []
    (equation,) = check_table_sums(table_qa.markdown(["Lake", "Depth"], rows))
    assert equation.correct


# --- the answer

LAKES = [["Baikal", "1,642", "Russia"], ["Superior", "406", "America"], ["Huron", "229", "America"]]


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        pytest.param("Which lake is the deepest?", "Lake Baikal.", "entry", id="name"),
        pytest.param("Which lake is the deepest?", "Lake Ladoga.", None, id="another-name"),
        pytest.param("How deep is Lake Baikal?", "It is 1642 metres deep.", "entry", id="number"),
        pytest.param("How deep is Lake Baikal?", "Baikal is very deep.", None, id="only-what-was-asked"),
        pytest.param("Which is deeper, Huron or Superior?", "Superior.", "entry", id="one-of-two"),
        pytest.param("Which is deeper, Huron or Superior?", "Superior, not Huron.", None, id="both-of-two"),
        pytest.param("How deep is Lake Baikal?", "1,643 metres.", None, id="wrong-number"),
        pytest.param("How many lakes are there?", "3", "count", id="count"),
        pytest.param("How many lakes are there?", "Three lakes.", "count", id="count-in-words"),
        pytest.param("How many lakes are in America?", "Two.", "count", id="count-of-some"),
        pytest.param("How many lakes are there?", "Five.", None, id="wrong-count"),
        pytest.param("How deep are all lakes together?", "2,277 metres.", "sum", id="sum"),
        pytest.param("How much deeper is Baikal than Superior?", "By 1,236 m.", "difference", id="difference"),
        pytest.param("How much deeper is Baikal than Superior?", "1,642 - 406 = 1,236", "difference", id="worked"),
        pytest.param("How much deeper is Baikal than Superior?", "By 1,237 m.", None, id="wrong-difference"),
        pytest.param("Which one is in Russia?", "One of them: Baikal.", "entry", id="one-counts-nothing"),
        pytest.param("Is Baikal deeper than Huron?", "Yes.", None, id="yes"),
    ],
)
def test_whether_the_answer_follows_from_the_table(question: str, answer: str, expected: str | None) -> None:
    found = table(LAKES, question=question, answer=answer)
    assert table_qa.derivation(found) == expected
    finding = table_qa.answer_finding(found)
    assert finding.rung == "table_answer" and finding.outcome == ("passed" if expected else "unsure")


def test_total_rows_are_not_counted_again() -> None:
    rows = [*LAKES, ["Total", "2,277", ""]]
    assert table_qa.derivation(table(rows, question="How many lakes?", answer="Three")) == "count"
    assert table_qa.derivation(table(rows, question="How many lakes?", answer="Four")) is None


def test_an_answer_that_cannot_be_computed_is_kept_and_labelled() -> None:
    draft = make({**GOOD, "question": "Is Baikal deeper than Lake Superior?", "answer": "Yes, by about 1,300 metres."})
    assert draft.defect is None
    assert [(one.rung, one.outcome) for one in draft.findings] == [("table_answer", "unsure")]


# --- candidates, checks, long seeds


def test_a_second_candidate_is_asked_for_after_a_defect() -> None:
    draft = make([("refused", "No."), GOOD], Options(candidates=2))
    assert draft.defect is None and draft.ask_ids == ("ask-0", "ask-1")


@pytest.mark.parametrize(
    ("action", "said", "outcome", "defect"),
    [
        pytest.param("drop", "Tanganyika", "passed", None, id="agrees"),
        pytest.param("label", "Superior", "failed", None, id="label"),
        pytest.param("drop", "Superior", "failed", "no_pairs", id="drop"),
    ],
)
def test_the_round_trip_sees_the_table_alone(action: Any, said: str, outcome: str, defect: str | None) -> None:
    ask = FakeAsk([GOOD, said])
    (draft,) = asyncio.run(table_qa.generate(seed(), ask, Options(verify={"round_trip_source": action})))
    assert rule(draft) == defect and GOOD["question"] in draft.text
    assert [(one.rung, one.outcome) for one in draft.findings] == [
        ("table_answer", "passed"),
        ("round_trip_source", outcome),
    ]
    seen = ask.asked[1].messages[1]["content"]
    assert "| Baikal | 1,642 |" in seen and "fresh water" not in seen
    assert draft.payload == {**GOOD, "fault": "round_trip_source" if defect else None}
    assert set(draft.ask_ids) == {"ask-0", "ask-1"}


def test_the_judge_gets_every_row_as_a_claim() -> None:
    found = table([["Baikal", "1,642"], ["Superior", ""]])
    assert table_qa.claims(Draft("", (), (), payload=found)) == [
        "Lake: Baikal; Depth: 1,642",
        "Lake: Superior",
        f"{GOOD['question']} {GOOD['answer']}",
    ]


def test_a_long_seed_gives_a_document_for_each_part_that_has_facts() -> None:
    text = f"{PASSAGE}\n{'Lakes are often deep and cold. ' * 15}"
    ask = FakeAsk([GOOD])
    drafts = asyncio.run(table_qa.generate(seed(text=text), ask, Options(segment_tokens=130)))
    ask.done()
    assert [rule(draft) for draft in drafts] == [None, "few_facts"]
    assert drafts[0].seed_span == (0, len(PASSAGE))


# --- the text


def test_every_layout_is_used() -> None:
    assert {make(GOOD, one=seed(str(at))).axes["layout"] for at in range(100)} == set(LAYOUTS)


TABLE = "| A |\n| --- |\n| b\\|c |\n| d{e} |"


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        pytest.param("answer_below", f"{TABLE}\n\nQ?\nX", id="answer_below"),
        pytest.param("bold", f"{TABLE}\n\n**Q?**\n\nX", id="bold"),
        pytest.param("caption", f"Table: A\n\n{TABLE}\n\nQ? X", id="caption"),
        pytest.param("letters", f"{TABLE}\n\nQ: Q?\nA: X", id="letters"),
        pytest.param("question_first", f"Q?\n\n{TABLE}\n\nX", id="question_first"),
        pytest.param("words", f"{TABLE}\n\nQuestion: Q?\nAnswer: X", id="words"),
    ],
)
def test_layouts(layout: str, expected: str) -> None:
    payload = {"columns": ["A"], "rows": [["b|c"], ["d{e}"]], "question": "Q?", "answer": "X", "fault": None}
    assert table_qa.rendered(seed(), payload, {"layout": layout}).text == expected


def read(text: str) -> list[list[str]]:
    """The table in a text, line by line: a plain reader to compare with."""
    lines = [line for line in text.split("\n") if line.startswith("| ")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return [[cell.strip().replace("\\|", "|") for cell in line] for line in cells]


CELL = st.text(st.sampled_from("ab1, |{}%*<>é\\-\n\u2028"), max_size=12).map(table_qa.tidy_cell)


@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1)))
@settings(max_examples=100, deadline=None)
def test_what_is_rendered_can_be_read_again(lines: list[list[str]]) -> None:
    columns, rows = lines[0], lines[1:]
    payload = {"columns": columns, "rows": rows, "question": "Q?", "answer": "X", "fault": None}
    for layout in LAYOUTS:
        draft = table_qa.rendered(seed(), payload, {"layout": layout})
        assert read(draft.text) == [columns, ["---"] * len(columns), *rows]
        assert part_text(draft.text, draft.parts, "generated") == draft.text and draft.payload == payload


@pytest.mark.parametrize(
    "hostile",
    ["| " * 50_000, "1 " * 10_000, "9" * 100_000, "1,0" * 10_000, "<br" * 30_000, "```\n" * 20_000, " " * 100_000],
    ids=["bars", "numbers", "digits", "groups", "html", "fences", "spaces"],
)
def test_hostile_answers_make_a_draft(hostile: str) -> None:
    rows = [[hostile, "1"], ["a", hostile]]
    assert make({**GOOD, "rows": rows, "answer": hostile}).ask_ids == ("ask-0",)
    assert make({**GOOD, "question": hostile}).ask_ids == ("ask-0",)


def test_many_rows_are_looked_at_in_linear_time() -> None:
    rows = [[str(number), str(3 * number)] for number in range(10_000)]
    assert table_qa.derivation(table(rows, answer="1")) == "entry"
    assert table_qa.derivation(table(rows, answer="30001")) is None
