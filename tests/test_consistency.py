"""Self-consistency: how solutions are grouped, who wins, what the finding says, and math_problem's selector `majority`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators import math_problem
from generators.math_problem import Options
from generators.verify.consistency import agreement
from synth.config import parse
from synth.errors import RecipeError
from synth.rows import Draft, Seed
from tests.fake_ask import FakeAsk, completion
from tests.test_generators_math_problem import GOOD, OTHER, PASSAGE, PROBLEM, SOLVED, STEPS, found, gold, make, rule

SHORT = {"steps": ["1,500 * 6 = 9,000", "9,000 - 2,000 = 7,000"], "answer": "7000"}
WRONG_STEPS = {"steps": ["1,500 * 6 = 8,000", "8,000 - 1,000 = 7,000"], "answer": "7,000"}


@pytest.mark.parametrize(
    ("answers", "groups", "members", "share"),
    [
        pytest.param([], [], [], 0.0, id="nobody-asked"),
        pytest.param([None, None], [None, None], [], 0.0, id="nobody-answers"),
        pytest.param(["18"], [0], [0], 1.0, id="one"),
        pytest.param(["18", "$18", "18.00", "17"], [0, 0, 0, 1], [0, 1, 2], 0.75, id="same-written-differently"),
        pytest.param(["17", "18", "18"], [0, 1, 1], [1, 2], 2 / 3, id="later-group-is-larger"),
        pytest.param(["17", "18", "18", "17"], [0, 1, 1, 0], [0, 3], 0.5, id="a-tie-goes-to-the-first"),
        pytest.param(["17", None, None, None], [0, None, None, None], [0], 0.25, id="no-answer-counts-against"),
    ],
)
def test_groups(answers: list[str | None], groups: list[int | None], members: list[int], share: float) -> None:
    found = agreement(answers)
    assert (list(found.groups), found.members, found.share) == (groups, members, pytest.approx(share))


@pytest.mark.parametrize(
    ("answers", "least", "outcome"),
    [
        pytest.param(["1", "1", "2"], 0.0, "passed", id="majority"),
        pytest.param(["1", "1", "2", "2"], 0.0, "unsure", id="half-is-no-majority"),
        pytest.param(["1", "2", "3"], 0.5, "failed", id="below-the-bar"),
        pytest.param(["1", "1"], 1.0, "passed", id="on-the-bar"),
        pytest.param([None], 0.0, "unsure", id="nobody"),
    ],
)
def test_finding(answers: list[str | None], least: float, outcome: str) -> None:
    finding = agreement(answers).finding(least)
    assert (finding.rung, finding.outcome, finding.judge) == ("consistency", outcome, "rule")


def test_evidence_names_answers_groups_and_votes() -> None:
    finding = agreement(["18", None, "17", "18 eggs"]).finding()
    assert finding.score == 0.5
    assert finding.evidence == {
        "answers": ["18", None, "17", "18 eggs"],
        "groups": [0, None, 1, 0],
        "votes": {"0": 2, "1": 1},
    }


@given(st.lists(st.none() | st.integers(0, 4), max_size=12))
def test_the_winner_is_the_most_frequent_answer(numbers: list[int | None]) -> None:
    found = agreement([None if number is None else str(number) for number in numbers])
    counts = {number: numbers.count(number) for number in numbers if number is not None}
    most = max(counts.values(), default=0)
    assert len(found.members) == most and found.share == pytest.approx(most / len(numbers) if numbers else 0.0)
    assert len({numbers[at] for at in found.members}) <= 1
    if counts:  # of those equally frequent, the one that came first
        first = next(number for number in numbers if number is not None and counts[number] == most)
        assert numbers[found.members[0]] == first


# --- majority


def vote(answers: list[Any], one: Seed | None = None, **options: Any) -> Draft:
    return make(FakeAsk(answers), Options(select="majority", candidates=len(answers), **options), one)


def test_the_shortest_right_solution_of_the_majority_is_shown() -> None:
    draft = vote([{**GOOD, **OTHER}, SOLVED, WRONG_STEPS, SHORT])
    assert draft.defect is None and draft.payload == {"problem": PROBLEM, **SHORT}
    assert draft.ask_ids == ("ask-0", "ask-1", "ask-2", "ask-3")
    assert draft.written_by == ("ask-0", "ask-3"), "the problem is the first one's, the solution the last one's"
    (agreed,) = found(draft, "consistency")
    assert (agreed.score, agreed.outcome) == (0.75, "passed")
    assert agreed.evidence == {
        "answers": ["11,000", "7,000", "7,000", "7000"],
        "groups": [0, 1, 1, 1],
        "votes": {"0": 1, "1": 3},
    }
    selection = found(draft, "selection")
    assert [(one.ask_id, one.outcome) for one in selection] == [
        ("ask-0", "lost"),
        ("ask-1", "lost"),
        ("ask-2", "lost"),
        ("ask-3", "won"),
    ]
    assert selection[2].evidence == {
        "selector": "majority",
        "candidate": 2,
        "of": 4,
        "answer": "7,000",
        "group": 1,
        "defect": "wrong_arithmetic",
    }
    assert found(draft, "arithmetic")[0].outcome == "passed"
    assert set(draft.axes) == {"instruction", "difficulty", "persona", "layout"}


def test_the_posed_solution_may_win_and_comes_last() -> None:
    draft = vote([{**GOOD, **SHORT}, SOLVED, OTHER])
    assert draft.payload == {"problem": PROBLEM, **SHORT} and draft.ask_ids == ("ask-1", "ask-2", "ask-0")


def test_a_problem_outlives_its_own_wrong_solution() -> None:
    assert vote([{**GOOD, **WRONG_STEPS}, SOLVED]).payload["steps"] == STEPS


def test_solvers_are_asked_about_the_problem_at_their_own_temperature() -> None:
    ask = FakeAsk([GOOD, SOLVED, SOLVED])
    make(ask, Options(select="majority", candidates=3, temperature=0.3, solver_temperature=0.9))
    assert [(one.sample_index, one.temperature, one.role) for one in ask.asked] == [
        (0, 0.3, "writer"),
        (1, 0.9, "writer"),
        (2, 0.9, "writer"),
    ]
    assert [PASSAGE in one.messages[1]["content"] for one in ask.asked] == [True, False, False]
    assert all(PROBLEM in one.messages[1]["content"] for one in ask.asked[1:])
    accept = ask.asked[1].accept
    assert accept is not None and accept(completion(OTHER)) and not accept(completion(("truncated_answer", "")))


@pytest.mark.parametrize(("least", "defect"), [(0.0, None), (0.5, None), (0.6, "no_agreement")])
def test_agreement_below_the_bar_drops(least: float, defect: str | None) -> None:
    draft = vote([GOOD, OTHER, SOLVED, OTHER], min_agreement=least)
    assert rule(draft) == defect and found(draft, "consistency")[0].score == 0.5
    assert [one.outcome for one in found(draft, "selection")].count("won") == (defect is None)


def test_a_majority_without_a_right_solution_is_dropped() -> None:
    draft = vote([{**GOOD, **WRONG_STEPS}, WRONG_STEPS, OTHER])
    assert rule(draft) == "wrong_arithmetic" and found(draft, "arithmetic")[0].outcome == "failed"


def test_the_problem_must_not_name_the_answer_that_won() -> None:
    posed = {**GOOD, "problem": PROBLEM.replace("2,000", "7,000"), **OTHER}
    assert rule(vote([posed, SOLVED, SOLVED])) == "answer_given"


def test_a_bad_problem_is_not_solved() -> None:
    draft = make(FakeAsk([{**GOOD, "problem": "Eggs."}]), Options(select="majority", candidates=3))
    assert rule(draft) == "asks_nothing" and not found(draft, "consistency")


def test_solvers_that_fail_vote_for_nothing() -> None:
    draft = vote([GOOD, ("truncated_answer", "x"), ("wrong_schema", "y")])
    assert draft.defect is None and found(draft, "consistency")[0].score == pytest.approx(1 / 3)
    assert found(draft, "selection")[1].evidence["defect"] == "truncated_answer"


def test_gold_problems_are_voted_on_too() -> None:
    right = vote([OTHER, SOLVED, SHORT], gold())
    assert right.defect is None and right.payload == SHORT and found(right, "equivalence")[0].outcome == "passed"
    assert right.ask_ids == ("ask-0", "ask-1", "ask-2")
    wrong = vote([OTHER, SOLVED, OTHER], gold())
    assert rule(wrong) == "wrong_answer" and found(wrong, "consistency")[0].score == pytest.approx(2 / 3)


def test_gold_solutions_that_cannot_be_read() -> None:
    draft = vote([("truncated_answer", "a"), ("wrong_schema", "b")], gold(), min_agreement=0.5)
    assert rule(draft) == "truncated_answer" and draft.text == "a"
    assert set(draft.ask_ids) == {"ask-0", "ask-1"} and found(draft, "consistency")[0].outcome == "failed"
    assert not found(draft, "equivalence")


@pytest.mark.parametrize("given", [{"candidates": 1}, {"candidates": 3, "revise": True}])
def test_majority_is_checked(given: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="majority"):
        parse(Options, {"select": "majority", **given}, "families.math_problem.options")


def test_the_judge_sees_what_the_problem_claims() -> None:
    options = Options(select="majority", candidates=2, verify={"judge": "drop"})
    answer = {**GOOD, "problem": "A queen lays 1,500 eggs a day for 6 days. 2,000 are lost. How many are left?"}
    ask = FakeAsk([answer, SOLVED, {"statement_1": True, "statement_2": False}])
    draft = make(ask, options)
    assert (
        rule(draft) == "judged_unsupported" and draft.defect is not None and draft.defect.evidence == "2,000 are lost."
    )
    assert draft.ask_ids == ("ask-0", "ask-2", "ask-1")
    assert math_problem.claims(make(FakeAsk([SOLVED]), one=gold())) == []
