"""Which step follows which answer: the retry ladder, the cascade, and their replay."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.config import parse
from synth.engine.ladder import Step, Verdict, after, replay, spent_sampling
from synth.engine.roles import RoleConfig
from synth.errors import RecipeError

SAMPLING = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 100, "thinking_tokens": 50}
LADDER = ["larger_budget", "thinking_off", "next_model"]
OUTCOMES = ["truncated_answer", "thinking_overflow", "empty_answer", "refused", "wrong_schema"]


def role(**fields: Any) -> RoleConfig:
    return parse(RoleConfig, {"models": ["cheap", "dear"], **fields})


@pytest.mark.parametrize(
    ("config", "verdicts", "rungs"),
    [
        pytest.param(role(), ["accepted"], ["first"], id="an answer that stands"),
        pytest.param(role(), ["refused"], ["first"], id="no ladder, no second try"),
        pytest.param(role(), ["not_accepted"], ["first"], id="no cascade, nobody to escalate to"),
        pytest.param(
            role(retry={"thinking_overflow": LADDER}),
            ["thinking_overflow"] * 9,
            ["first", "larger_budget", "thinking_off", "next_model", "larger_budget", "thinking_off"],
            id="the whole ladder, on every model",
        ),
        pytest.param(
            role(retry={"empty_answer": ["again"], "truncated_answer": ["again", "larger_budget"]}),
            ["empty_answer", "truncated_answer", "truncated_answer"],
            ["first", "again", "larger_budget"],
            id="each rung once, whichever outcome wanted it",
        ),
        pytest.param(role(choose="cascade"), ["not_accepted", "accepted"], ["first", "next_model"], id="cascade"),
        pytest.param(
            role(choose="cascade"), ["refused", "refused"], ["first", "next_model"], id="the last one's stands"
        ),
        pytest.param(
            role(choose="cascade"), ["dead_letter"], ["first", "next_model"], id="another may take what one rejects"
        ),
        pytest.param(
            role(choose="cascade", retry={"empty_answer": ["again"]}),
            ["empty_answer", "not_accepted"],
            ["first", "again", "next_model"],
            id="the ladder first, then the next model",
        ),
    ],
)
def test_steps(config: RoleConfig, verdicts: list[Verdict], rungs: list[str]) -> None:
    assert [step.rung for step in replay(config, SAMPLING, verdicts)] == rungs


def test_what_a_step_sends() -> None:
    config = role(retry={"thinking_overflow": LADDER})
    steps = replay(config, SAMPLING, ["thinking_overflow"] * 3)
    budgets = [
        (step.model, *(spent_sampling(SAMPLING, step)[name] for name in ("max_tokens", "thinking_tokens")))
        for step in steps
    ]
    assert budgets == [(0, 100, 50), (0, 200, 100), (0, 200, 0), (1, 100, 50)]


def test_thinking_cannot_be_turned_off_where_nobody_thinks() -> None:
    config = role(retry={"truncated_answer": ["thinking_off"]})
    assert after(config, {**SAMPLING, "thinking_tokens": 0}, [Step()], "truncated_answer") is None


@pytest.mark.parametrize("outcome", ["ok", "dead_letter"])
def test_a_ladder_for_what_is_final_is_refused(outcome: str) -> None:
    with pytest.raises(RecipeError, match="final"):
        role(retry={outcome: ["again"]})


@given(
    st.dictionaries(st.sampled_from(OUTCOMES), st.lists(st.sampled_from(["again", *LADDER]), max_size=5)),
    st.sampled_from(["first", "cascade"]),
    st.lists(st.sampled_from([*OUTCOMES, "not_accepted", "dead_letter"]), max_size=40),
)
def test_every_ladder_ends_and_a_replay_is_the_same(
    retry: dict[str, list[str]], choose: str, verdicts: list[Verdict]
) -> None:
    config = role(retry=retry, choose=choose)
    steps = replay(config, SAMPLING, verdicts)
    assert len(steps) <= len(config.models) * 4
    assert [step.number for step in steps] == list(range(len(steps)))
    assert [step.model for step in steps] == sorted(step.model for step in steps)
    for known in range(len(verdicts)):
        assert replay(config, SAMPLING, verdicts[:known]) == steps[: known + 1]
