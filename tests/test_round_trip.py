"""When two answers to one question agree."""

from __future__ import annotations

import asyncio

import pytest

from generators.verify.round_trip import AGREEING_F1, agreement, round_trip
from synth.rows import Seed
from tests.fake_ask import Answer, FakeAsk

QUESTION = "When was the lens of the lighthouse built?"
SEED = Seed("s", "s", "s", 0, "Fresnel built the lens in 1822.")


@pytest.mark.parametrize(
    ("left", "right", "agree"),
    [
        pytest.param("In 1822.", "It was built in 1822", True, id="the-same-number"),
        pytest.param("In 1822 by Fresnel.", "In 1823 by Fresnel.", False, id="another-number-in-the-same-words"),
        pytest.param("Yes, of glass rings.", "No, of glass rings.", False, id="yes-and-no-in-the-same-words"),
        pytest.param("Yes, it is.", "Yes.", True, id="yes-and-yes"),
        pytest.param("Augustin Fresnel", "Fresnel", True, id="part-of-a-name"),
        pytest.param("Augustin Fresnel", "Thomas Edison", False, id="another-name"),
        pytest.param(
            "The lens of the lighthouse was red.",
            "The lens of the lighthouse was blue.",
            False,
            id="words-of-the-question",
        ),
        pytest.param("Fresnel", "", False, id="nothing"),
    ],
)
def test_agreement(left: str, right: str, agree: bool) -> None:
    assert (agreement(left, right, QUESTION) >= AGREEING_F1) is agree
    assert agreement(left, right, QUESTION) == agreement(right, left, QUESTION)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [("In 1822.", "passed"), ("In 1823.", "failed"), (("refused", "I cannot."), "unsure")],
)
def test_the_verifier_is_asked_and_its_answer_kept(answer: Answer, outcome: str) -> None:
    ask = FakeAsk([answer])
    finding = asyncio.run(round_trip(ask, "round_trip_source", SEED, QUESTION, "1822"))
    assert (finding.outcome, finding.ask_id, ask.asked[0].role) == (outcome, "ask-0", "verifier")
    assert finding.evidence["question"] == QUESTION and SEED.text in ask.asked[0].messages[1]["content"]
