"""math_problem: what is asked, what is checked, who wins the vote, and the text that is made of a solution."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from generators import math_problem
from generators.common import ECHO_WORDS
from generators.math_problem import LAYOUTS, Options
from generators.verify.equivalence import final_answer, same_answer
from synth.ask import Outcome
from synth.rows import Defect, Draft, Finding, Seed, part_text
from synth.text.arithmetic import check_equations
from tests.fake_ask import FakeAsk, completion
from tests.gsm8k import problems

PASSAGE = (
    "In summer a colony of honey bees may hold as many as 60,000 insects. The queen can lay more than 1,500 eggs in a single "
    "day, and a worker born in summer lives for only about 6 weeks. Nearly all of the bees in the colony are workers."
)
PROBLEM = "A queen lays 1,500 eggs a day for 6 days, and 2,000 of them are lost. How many eggs are left?"
STEPS = ["In 6 days she lays 1,500 * 6 = 9,000 eggs.", "After the loss 9,000 - 2,000 = 7,000 eggs are left."]
GOOD = {"problem": PROBLEM, "steps": STEPS, "answer": "7,000 eggs"}
SOLVED = {"steps": STEPS, "answer": "7,000"}
OTHER = {"steps": ["1,500 * 6 = 9,000 eggs", "9,000 + 2,000 = 11,000 eggs"], "answer": "11,000"}
SEEDS = 400


def seed(identity: str = "seed-1", text: str = PASSAGE, **meta: Any) -> Seed:
    return Seed(identity, identity, identity, 0, text, meta=meta)


def gold(answer: Any = "7000", text: str = PROBLEM) -> Seed:
    return seed(text=text, answer=answer)


def make(ask: FakeAsk, options: Options | None = None, one: Seed | None = None) -> Draft:
    (draft,) = asyncio.run(math_problem.generate(one or seed(), ask, options or Options()))
    ask.done()
    return draft


def rule(draft: Draft) -> str | None:
    return draft.defect.rule if draft.defect else None


def found(draft: Draft, rung: str) -> list[Finding]:
    return [finding for finding in draft.findings if finding.rung == rung]


# --- posing


def test_golden_text() -> None:
    """Changed on purpose? Raise math_problem.VERSION, or RENDERER_VERSION."""
    draft = make(FakeAsk([GOOD]))
    assert draft.text == f"{PROBLEM}\n\n{STEPS[0]}\n{STEPS[1]}\n\n**Final answer:** 7,000 eggs"
    assert draft.payload == GOOD and draft.ask_ids == ("ask-0",) and draft.defect is None
    assert set(draft.axes) == {"instruction", "difficulty", "persona", "layout"}
    assert [(part.role, part.start_byte, part.end_byte) for part in draft.parts] == [
        ("generated", 0, len(draft.text.encode()))
    ]
    (finding,) = draft.findings
    assert (finding.rung, finding.outcome, finding.score) == ("arithmetic", "passed", 1.0)
    assert finding.evidence == {"equations": 2, "wrong": []}


@pytest.mark.parametrize(
    ("change", "defect"),
    [
        pytest.param({"problem": "A queen lays 1,500 eggs a day."}, "asks_nothing", id="no-question"),
        pytest.param({"problem": "Calculate the eggs of 6 days at 1,500 a day."}, None, id="an-imperative-asks"),
        pytest.param({"steps": STEPS[:1], "answer": "9,000"}, "few_steps", id="one-step"),
        pytest.param({"steps": [STEPS[0], " "], "answer": "9,000"}, "few_steps", id="an-empty-step-is-none"),
        pytest.param({"answer": "7,001"}, "answer_not_reached", id="another-answer"),
        pytest.param({"answer": " "}, "answer_not_reached", id="no-answer"),
        pytest.param({"problem": f"{PROBLEM} It is 7000."}, "answer_given", id="answer-in-the-problem"),
        pytest.param({"problem": f"According to the passage: {PROBLEM}"}, "task_talk", id="speaks-of-the-passage"),
        pytest.param({"steps": [STEPS[0], "9,000 - 2,000 = 7,100 eggs"]}, "wrong_arithmetic", id="wrong"),
    ],
)
def test_gates(change: Mapping[str, Any], defect: str | None) -> None:
    assert rule(make(FakeAsk([{**GOOD, **change}]))) == defect


def test_a_wrong_equation_is_named() -> None:
    answer = {**GOOD, "steps": ["She lays 1,500 * 6 = 8,000 eggs.", "Then 8,000 - 1,000 = 7,000 are left."]}
    draft = make(FakeAsk([answer]))
    assert draft.defect == Defect(
        "wrong_arithmetic", "1 of 2 equations are wrong", 0.5, 1.0, draft.defect.evidence if draft.defect else None
    )
    assert draft.defect.evidence is not None and "1,500 * 6 = 8,000" in draft.defect.evidence
    (finding,) = found(draft, "arithmetic")
    assert (finding.outcome, finding.score) == ("failed", 0.5)
    assert draft.payload == answer and STEPS[1] not in draft.text and PROBLEM in draft.text


def test_without_an_equation_arithmetic_is_unsure() -> None:
    steps = ["Six days bring nine thousand eggs.", "Without the lost ones, 7,000 are left."]
    (finding,) = make(FakeAsk([{**GOOD, "steps": steps}])).findings
    assert (finding.rung, finding.outcome, finding.score) == ("arithmetic", "unsure", None)


@pytest.mark.parametrize("outcome", ["truncated_answer", "wrong_schema", "refused", "dead_letter"])
def test_an_answer_that_is_not_ok_keeps_its_text(outcome: Outcome) -> None:
    draft = make(FakeAsk([(outcome, "{")]))
    assert draft.defect is not None and draft.text == "{" and draft.payload is None
    assert draft.defect.rule == ("generation_failed" if outcome == "dead_letter" else outcome)


def test_a_repeated_instruction_is_an_echo() -> None:
    instruction = math_problem.pose_question(seed(), Options()).messages[1]["content"].split("\n")[0]
    assert rule(make(FakeAsk([{**GOOD, "problem": f"{instruction} {PROBLEM}"}]))) == "prompt_echo"
    solver = math_problem.solve_question(gold(), Options()).messages[1]["content"].split("\n")[0]
    assert rule(make(FakeAsk([{**SOLVED, "steps": [solver, *STEPS]}]), one=gold())) == "prompt_echo"


@pytest.mark.parametrize(
    ("text", "least", "asked"),
    [
        pytest.param("It has 3 legs, 4 arms and 5 eyes, and it lives on the moon.", 3, True, id="three"),
        pytest.param("It has 3 legs, 3 arms and 3 eyes, and it lives on the moon.", 3, False, id="one-three-times"),
        pytest.param("It has legs, arms and eyes, and it lives on the moon all year.", 3, False, id="none"),
        pytest.param("It has legs, arms and eyes, and it lives on the moon all year.", 0, True, id="none-wanted"),
    ],
)
def test_a_passage_without_numbers_is_not_asked_about(text: str, least: int, asked: bool) -> None:
    draft = make(FakeAsk([GOOD] if asked else []), Options(min_numbers=least), seed(text=text))
    assert rule(draft) == (None if asked else "no_numbers")
    assert asked or (draft.text, draft.ask_ids) == ("", ())


def test_a_seed_that_is_too_short_is_not_asked_about() -> None:
    assert rule(make(FakeAsk([]), one=seed(text="1 2 3"))) == "seed_too_short"
    assert rule(make(FakeAsk([]), one=gold(text="1 + 1?"))) == "seed_too_short"


def test_a_long_passage_gives_a_problem_for_each_part_with_numbers() -> None:
    text = "\n".join([PASSAGE, "Bees are insects that live in colonies and gather food from flowers. " * 4])
    ask = FakeAsk([GOOD])
    drafts = asyncio.run(math_problem.generate(seed(text=text), ask, Options(segment_tokens=70)))
    ask.done()
    assert [rule(draft) for draft in drafts] == [None, "no_numbers"]
    assert drafts[0].seed_span == (0, len(PASSAGE.encode()))


def test_one_more_try_after_a_wrong_one() -> None:
    draft = make(FakeAsk([{**GOOD, "answer": "7"}, GOOD]), Options(candidates=2))
    assert draft.defect is None and draft.ask_ids == ("ask-0", "ask-1")
    assert [finding.outcome for finding in found(draft, "selection")] == ["lost", "won"]


# --- tidying


@pytest.mark.parametrize(
    ("step", "tidy"),
    [
        ("Step 1: 2 + 3 = 5", "2 + 3 = 5"),
        ("step 12 - 2 + 3 = 5", "2 + 3 = 5"),
        ("1. 2 + 3 = 5", "2 + 3 = 5"),
        ("- 2 + 3 = 5", "2 + 3 = 5"),
        ("-2 + 3 = 1", "-2 + 3 = 1"),
        ("  2 +\n 3 = 5 ", "2 + 3 = 5"),
        ("1.5 + 2 = 3.5", "1.5 + 2 = 3.5"),
    ],
)
def test_marks_before_steps_are_taken_off(step: str, tidy: str) -> None:
    assert math_problem.tidied({"steps": [step], "answer": "5"})["steps"] == [tidy]


@pytest.mark.parametrize(
    ("last", "stays"),
    [
        ("The answer is 7,000.", False),
        ("So, the final answer is 7,000 eggs", False),
        ("Answer: 7,000", False),
        ("#### 7000", False),
        ("**Answer:** 7,000", False),
        ("So the answer is 9,000 - 2,000 = 7,000.", True),
        ("7,000 eggs are left.", True),
    ],
)
def test_a_last_step_that_repeats_the_answer_is_left_out(last: str, stays: bool) -> None:
    assert (last in math_problem.tidied({"steps": [*STEPS, last], "answer": "5"})["steps"]) is stays
    assert math_problem.tidied({"steps": [last], "answer": "5"})["steps"] == [last]


@pytest.mark.parametrize(
    ("answer", "tidy"),
    [("The answer is 18.", "18"), ("18.", "18"), ("**18**", "18"), ("#### 18", "18"), ("18 duck eggs", "18 duck eggs")],
)
def test_the_answer_is_bare(answer: str, tidy: str) -> None:
    assert math_problem.tidied({"steps": ["x"], "answer": answer})["answer"] == tidy


@pytest.mark.parametrize(
    ("answer", "step", "reached"),
    [
        pytest.param("18", "She makes 9 * 2 = $18 every day.", True, id="result"),
        pytest.param("$18", "She makes 9 * 2 = 18 dollars in 7 days.", True, id="numbers-after-the-result"),
        pytest.param("9", "She makes 9 * 2 = $18.", False, id="an-operand-is-no-result"),
        pytest.param("18 eggs", "That leaves 18.", True, id="without-equation"),
        pytest.param("0.5", "Half of it is 1/2.", True, id="fraction"),
        pytest.param("eighteen", "9 * 2 = 18", True, id="in-words"),
        pytest.param("Ann", "So Ann has more than Bob.", True, id="a-name"),
        pytest.param("Carl", "So Ann has more than Bob.", False, id="another-name"),
        pytest.param("-5", "10 - 15 = -5", True, id="negative"),
        pytest.param("5", "10 - 15 = -5", False, id="sign"),
        pytest.param("x + 2", "It is x + 2 = x + 2", True, id="expression"),
        pytest.param("?", "It is 5?", False, id="no-words"),
    ],
)
def test_follows(answer: str, step: str, reached: bool) -> None:
    assert math_problem.follows(answer, step) is reached


@pytest.mark.parametrize(
    ("answer", "problem", "is_given"),
    [
        ("18", "Ann has 18 eggs. How many?", True),
        ("$1,800", "It costs 1800. How much?", True),
        ("18", "Ann has 118 eggs and 1.18 more. How many?", False),
        ("Ann", "Who has more, Ann or Bob?", False),
    ],
)
def test_given(answer: str, problem: str, is_given: bool) -> None:
    assert math_problem.given(answer, problem) is is_given


# --- gold


def test_a_seed_with_an_answer_is_a_problem() -> None:
    ask = FakeAsk([SOLVED])
    draft = make(ask, one=gold())
    assert draft.defect is None and draft.payload == SOLVED
    assert ask.asked[0].messages[1]["content"].endswith(f'"""\n{PROBLEM}\n"""')
    assert part_text(draft.text, draft.parts, "source") == PROBLEM
    assert part_text(draft.text, draft.parts, "generated").startswith(f"\n\n{STEPS[0]}")
    assert [(one.rung, one.outcome, one.score) for one in draft.findings] == [
        ("arithmetic", "passed", 1.0),
        ("equivalence", "passed", 1.0),
    ]


@pytest.mark.parametrize(("on_wrong", "defect"), [("drop", "wrong_answer"), ("label", None)])
def test_a_wrong_answer(on_wrong: Any, defect: str | None) -> None:
    draft = make(FakeAsk([OTHER]), Options(on_wrong=on_wrong), gold())
    assert rule(draft) == defect
    (finding,) = found(draft, "equivalence")
    assert (finding.outcome, finding.score, finding.evidence) == (
        "failed",
        0.0,
        {"answer": "11,000", "gold": "7000"},
    )


@pytest.mark.parametrize(
    ("held", "read"),
    [
        ("18", "18"),
        (18, "18"),
        (1.5, "1.5"),
        ("So 9 * 2 = 18.\n#### 18", "18"),
        ("", None),
        (None, None),
        (0, "0"),
    ],
)
def test_gold_answers(held: Any, read: str | None) -> None:
    assert math_problem.gold_answer(gold(held), Options()) == read


def test_gold_stands_where_the_recipe_says() -> None:
    one = seed(text=PROBLEM, solution="7000")
    assert math_problem.gold_answer(one, Options()) is None
    assert math_problem.gold_answer(one, Options(gold_field="solution")) == "7000"


def test_a_gold_problem_may_take_one_step_and_name_its_answer() -> None:
    answer = {"steps": ["He keeps all 5 of them."], "answer": "5"}
    assert make(FakeAsk([answer]), one=gold("5", "Tom has 5 eggs and gives none away. How many has he?")).defect is None


def _changed(answer: str) -> str:
    return re.sub(r"\d(?=\D*\Z)", lambda digit: str((int(digit[0]) + 1) % 10), answer, count=1)


def test_gold_mode_on_real_problems() -> None:
    """Of 400 problems of GSM8K with their own solutions nearly all are kept, with another answer none is."""
    rules: Counter[str | None] = Counter()
    for number, problem in enumerate(problems("test")[:400]):
        one = Seed(str(number), "gsm8k", str(number), 0, problem.question, meta={"answer": problem.gold})
        steps = [line for line in problem.solution.split("\n") if line.strip()]
        answer = _changed(problem.gold)
        last = re.sub(r"\d(?=\D*\Z)", answer.strip()[-1], steps[-1], count=1)
        right = make(FakeAsk([{"steps": steps, "answer": problem.gold}]), one=one)
        wrong = make(FakeAsk([{"steps": [*steps[:-1], last], "answer": answer}]), one=one)
        rules[rule(right)] += 1
        assert rule(wrong) in {"wrong_answer", "wrong_arithmetic", "answer_not_reached"}, problem
        assert found(right, "equivalence")[0].outcome == "passed" and found(wrong, "equivalence")[0].outcome == "failed"
        if right.defect is None:
            assert same_answer(final_answer(right.text) or "", problem.gold)
            assert [one.correct for one in check_equations(right.text)] == [
                one.correct for one in check_equations("\n".join(steps))
            ]
    assert rules[None] >= 0.98 * 400, rules


# --- what is asked


@pytest.mark.parametrize("posed", [True, False])
def test_schema(posed: bool) -> None:
    schema = math_problem.schema(posed)
    Draft202012Validator.check_schema(schema)
    fits = Draft202012Validator(schema).is_valid
    answer = GOOD if posed else SOLVED
    assert fits(answer) and list(schema["properties"]) == list(answer)
    assert not fits({**answer, "answer": ""}) and not fits({**answer, "steps": []}) and not fits({**answer, "more": ""})
    assert fits({**answer, "steps": STEPS[:1]}) is not posed


def test_every_paraphrase_is_used_and_none_prevails() -> None:
    for wordings, put in (
        (math_problem.prompts().instructions, math_problem.pose_question),
        (math_problem.prompts().solver_instructions, math_problem.solve_question),
    ):
        asked = Counter(
            put(seed(str(at)), Options()).draft(completion(("refused", ""))).axes["instruction"] for at in range(SEEDS)
        )
        assert set(asked) == {str(number) for number in range(len(wordings))}
        assert max(asked.values()) <= SEEDS // 4


def test_axes_and_layouts_are_used_and_the_same_seed_asks_the_same() -> None:
    options = Options(vary=None)
    drafts = [
        math_problem.pose_question(seed(str(at)), options).draft(completion(("refused", ""))) for at in range(SEEDS)
    ]
    for axis, values in math_problem.prompts().axes.items():
        assert {draft.axes[axis] for draft in drafts} == set(values)
    assert {draft.axes["layout"] for draft in drafts} == set(LAYOUTS)
    assert math_problem.pose_question(seed(), options).messages == math_problem.pose_question(seed(), options).messages


def test_prompt_file_is_complete() -> None:
    prompts = math_problem.prompts()
    texts = (*prompts.instructions, *prompts.solver_instructions)
    assert len(prompts.instructions) >= 10 and len(prompts.solver_instructions) >= 10 and len(set(texts)) == len(texts)
    assert all(len(re.findall(r"\w+", text)) >= ECHO_WORDS for text in texts)
    assert len(prompts.criteria) == 4 and all(len(values) >= 4 for values in prompts.axes.values())
    assert not any("{" in text or "<|" in text for text in (prompts.system, prompts.solver_system, *texts))


# --- rendering


SENTENCES = st.text(st.characters(codec="utf-8", exclude_characters="#\\"), min_size=1, max_size=60)


@given(
    st.sampled_from(sorted(LAYOUTS)),
    SENTENCES,
    st.lists(SENTENCES, min_size=1, max_size=4),
    st.integers(-(10**6), 10**6),
    st.booleans(),
)
def test_rendering_reads_back(layout: str, problem: str, steps: list[str], number: int, posed: bool) -> None:
    tidy = math_problem.tidied({"steps": steps, "answer": str(number)})
    payload = {"problem": problem.strip(), **tidy} if posed else tidy
    text, parts = math_problem.rendered(seed(text=problem), payload, {"layout": layout})
    assert text.startswith(problem.strip()) and all(step in text for step in tidy["steps"])
    assert same_answer(final_answer(text) or "", str(number))
    assert [part.role for part in parts] == (["generated"] if posed or not problem.strip() else ["source", "generated"])
    assert parts[0].start_byte == 0 and parts[-1].end_byte == len(text.encode())


def test_steps_in_prose_end_as_sentences() -> None:
    payload = {"steps": ["2 + 2 = 4", "4 * 2 = 8 eggs."], "answer": "8"}
    text, _ = math_problem.rendered(gold(), payload, {"layout": "prose"})
    assert text == f"{PROBLEM}\n\n2 + 2 = 4. 4 * 2 = 8 eggs.\n\nThe answer is 8."


@pytest.mark.parametrize(
    "hostile",
    ["1" * 50_000, "1 " * 50_000, "= " * 50_000, "Step 1: " * 10_000, "answer is " * 10_000, "$" * 500, "-" * 50_000],
)
def test_hostile_answers_do_not_crash(hostile: str) -> None:
    draft = make(FakeAsk([{"problem": hostile + "?", "steps": [hostile, hostile], "answer": hostile[:80]}]))
    assert draft.defect is not None and draft.text


@settings(max_examples=60)
@given(SENTENCES, st.lists(st.text(max_size=80), max_size=4), st.text(max_size=80))
def test_any_answer_makes_a_draft(problem: str, steps: list[str], answer: str) -> None:
    draft = make(FakeAsk([{"problem": problem, "steps": steps, "answer": answer}]))
    raw = draft.text.encode()
    assert all(0 <= part.start_byte < part.end_byte <= len(raw) for part in draft.parts)
