"""textbook: from a passage or a topic, for an audience; and the section that is left of the answer."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from generators import textbook
from generators.common import ECHO_WORDS
from generators.textbook import Options
from synth.ask import Message, Outcome
from synth.rows import Draft, Seed
from tests.fake_ask import FakeAsk, completion

PASSAGE = (
    "Lighthouses warn ships of rocks. In 1822 Augustin Fresnel built a lens that bends the light into one strong beam."
)
SECTION = "# Lighthouses\n\nA lighthouse is a tower with a **lamp**. Sailors – far away – see its beam."
SEEDS = 500


def seed(identity: str = "seed-1", text: str = PASSAGE, meta: Mapping[str, Any] | None = None) -> Seed:
    return Seed(identity, identity, identity, 0, text, meta=meta or {})


def messages(one: Seed, words: int, sample: int = 0) -> Sequence[Message]:
    return textbook.question(one, Options(words=words), sample).messages


def audience(one: Seed) -> str:
    completed = textbook.question(one, Options()).draft(completion(SECTION))
    return textbook.prompts().axes["audience"][completed.axes["audience"]]


def make(ask: FakeAsk, options: Options | None = None, one: Seed | None = None) -> Draft:
    (draft,) = asyncio.run(textbook.generate(one or seed(), ask, options or Options()))
    ask.done()
    return draft


def test_golden_text() -> None:
    """Changed on purpose? Raise textbook.VERSION."""
    draft = make(FakeAsk([f"Sure! Here is the section:\n\n{SECTION}\n\nI hope this helps."]))
    assert draft.text == SECTION
    assert [(part.role, part.start_byte, part.end_byte) for part in draft.parts] == [
        ("generated", 0, len(SECTION.encode()))
    ]
    assert draft.axes == {"audience": "adults", "instruction": "9", "start": "passage"}
    assert (draft.ask_ids, draft.payload, draft.defect) == (("ask-0",), None, None)


@pytest.mark.parametrize(
    ("text", "meta", "topic"),
    [
        pytest.param("Lighthouses", {}, True, id="one-word"),
        pytest.param("one two three four five six seven eight nine ten eleven twelve", {}, True, id="twelve-words"),
        pytest.param(
            "one two three four five six seven eight nine ten eleven twelve 13", {}, False, id="thirteen-words"
        ),
        pytest.param(PASSAGE, {"topic_only": True}, True, id="said-by-the-seed"),
        pytest.param(PASSAGE, {"topic_only": False}, False, id="passage"),
    ],
)
def test_a_short_seed_is_a_topic(text: str, meta: Mapping[str, Any], topic: bool) -> None:
    one = seed(text=text, meta=meta)
    wordings = textbook.prompts().topic_instructions if topic else textbook.prompts().instructions
    words = audience(one)
    request = messages(one, 80)[0]["content"].split("\n\n")[1]
    assert request in {wording.format(audience=words, words=80) for wording in wordings}
    assert make(FakeAsk([SECTION]), one=one).axes["start"] == ("topic" if topic else "passage")


def test_a_repeated_instruction_is_an_echo() -> None:
    instruction = messages(seed(), 300)[0]["content"].split("\n\n")[1]
    draft = make(FakeAsk([f"{instruction}\n\n{SECTION}"]))
    assert draft.defect is not None and draft.defect.rule == "prompt_echo" and SECTION in draft.text


def test_an_answer_of_wrapping_only_is_no_prose() -> None:
    draft = make(FakeAsk(["Topic: Lighthouses"]))
    assert draft.defect is not None and draft.defect.rule == "no_prose"


@pytest.mark.parametrize("outcome", ["truncated_answer", "repetition", "refused", "thinking_overflow"])
def test_an_answer_that_is_not_ok_keeps_its_text_and_its_axes(outcome: Outcome) -> None:
    draft = make(FakeAsk([(outcome, "A lighthouse is")]))
    assert draft.defect is not None and draft.defect.rule == outcome and draft.text == "A lighthouse is"
    assert set(draft.axes) == {"audience", "instruction", "start"}


def test_a_second_try_asks_another_way_and_both_are_named() -> None:
    ask = FakeAsk([("truncated_answer", "A lighthouse"), SECTION])
    draft = make(ask, Options(candidates=2, words=80, max_tokens=99, temperature=0.25, top_p=0.75))
    assert (draft.text, draft.ask_ids, draft.defect) == (SECTION, ("ask-0", "ask-1"), None)
    assert [asked.sample_index for asked in ask.asked] == [0, 1]
    assert {(asked.max_tokens, asked.temperature, asked.top_p) for asked in ask.asked} == {(99, 0.25, 0.75)}
    assert all("about 80 words" in asked.messages[0]["content"] for asked in ask.asked)


def test_accept_is_the_cheap_check() -> None:
    ask = FakeAsk([SECTION])
    make(ask)
    accept = ask.asked[0].accept
    assert accept is not None and accept(completion(SECTION)) and not accept(completion("Title: Lighthouses"))


def test_the_same_seed_asks_the_same_for_the_same_audience_in_every_sample() -> None:
    assert messages(seed(), 80) == messages(seed(), 80)
    words = audience(seed())
    assert all(words in messages(seed(), 80, sample)[0]["content"] for sample in range(10))


@pytest.mark.parametrize("text", [pytest.param(PASSAGE, id="passage"), pytest.param("Lighthouses", id="topic")])
def test_every_paraphrase_and_audience_is_used_and_none_prevails(text: str) -> None:
    prompts = textbook.prompts()
    wordings = prompts.topic_instructions if text != PASSAGE else prompts.instructions
    spoken = {
        wording.format(audience=words, words=80): (wording, name)
        for wording in wordings
        for name, words in prompts.axes["audience"].items()
    }
    asked = [spoken[messages(seed(str(at), text), 80)[0]["content"].split("\n\n")[1]] for at in range(SEEDS)]
    by_wording, by_audience = Counter(one for one, _ in asked), Counter(one for _, one in asked)
    assert set(by_wording) == set(wordings) and max(by_wording.values()) <= SEEDS // 4
    assert set(by_audience) == set(prompts.axes["audience"]) and max(by_audience.values()) <= SEEDS // 4


def test_what_is_constant_comes_first_and_the_seed_last() -> None:
    one, other = messages(seed("1"), 80), messages(seed("2", "Tides"), 80)
    system = textbook.prompts().system.strip()
    assert all(
        asked[0]["role"] == "system" and asked[0]["content"].startswith(f"{system}\n\n") for asked in (one, other)
    )
    assert (one[1]["content"], other[1]["content"]) == (PASSAGE, "Tides")


def test_prompt_file_is_complete() -> None:
    prompts = textbook.prompts()
    assert len(prompts.axes["audience"]) >= 4 and all(prompts.axes["audience"].values())
    for wordings in (prompts.instructions, prompts.topic_instructions):
        assert len(wordings) == len(set(wordings)) >= 8
        for text in wordings:
            assert text.count("{words}") == text.count("{audience}") == 1
            assert len(re.findall(r"\w+", text)) >= ECHO_WORDS
    assert not any("passage" in text for text in prompts.topic_instructions)
    assert "{" not in prompts.system and "<|" not in prompts.system
