"""distill: what is asked, and the prose that is left of the answer."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence

import pytest

from generators import distill, prose
from generators.common import ECHO_WORDS
from generators.distill import Options
from synth.ask import Message, Outcome
from synth.rows import Draft, Seed
from tests.fake_ask import FakeAsk, completion

PASSAGE = (
    "Lighthouses warn ships of rocks and of shallow water near the coast. The Pharos of Alexandria, finished about 280 BC, "
    "stood more than 100 metres high and was lit by an open fire at its top. In 1822 Augustin Fresnel built a lens of "
    "glass rings that bends the light into one strong beam, so that sailors can see it from over 30 kilometres away."
)
SHORTER = "Lighthouses warn ships. The Pharos burned a fire; since 1822 Fresnel’s lens has made one strong beam."
SEEDS = 500


def seed(identity: str = "seed-1", text: str = PASSAGE) -> Seed:
    return Seed(identity, identity, identity, 0, text)


def messages(one: Seed, sample: int = 0) -> Sequence[Message]:
    values = {"words": distill.target_words(one.text)}
    return prose.question(distill.NAME, distill.prompts(), one, Options(), "", sample, values).messages


def make(ask: FakeAsk, options: Options | None = None) -> Draft:
    (draft,) = asyncio.run(distill.generate(seed(), ask, options or Options()))
    ask.done()
    return draft


def test_golden_text() -> None:
    """Changed on purpose? Raise distill.VERSION."""
    answer = (
        f"Here is a shorter version of the passage:\n\n## Lighthouses\n\n{SHORTER}\n\nLet me know if it is too short."
    )
    draft = make(FakeAsk([answer]))
    assert draft.text == SHORTER
    assert [(part.role, part.start_byte, part.end_byte) for part in draft.parts] == [
        ("generated", 0, len(SHORTER.encode()))
    ]
    assert (draft.ask_ids, draft.payload, draft.axes, draft.defect) == (("ask-0",), None, {"instruction": "7"}, None)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param(SHORTER, SHORTER, id="as-it-is"),
        pytest.param(f'"{SHORTER}"', SHORTER, id="quoted"),
        pytest.param(f"**Summary**\n{SHORTER}", SHORTER, id="bold-heading"),
        pytest.param("The **Pharos** was lit by __fire__.", "The Pharos was lit by fire.", id="emphasis"),
        pytest.param(f"Sure! Here is the summary: {SHORTER}", SHORTER, id="lead-in"),
        pytest.param("One.\n\n\n\nTwo.", "One.\n\nTwo.", id="paragraphs-stay"),
    ],
)
def test_what_is_left_is_plain_prose(answer: str, text: str) -> None:
    assert make(FakeAsk([answer])).text == text


@pytest.mark.parametrize("answer", ["# Lighthouses", '""', "Here is the summary:\n\n## Summary"])
def test_an_answer_of_wrapping_only_is_no_prose(answer: str) -> None:
    draft = make(FakeAsk([answer]))
    assert draft.defect is not None and draft.defect.rule == "no_prose" and draft.text == answer


def test_a_repeated_instruction_is_an_echo() -> None:
    instruction = messages(seed())[0]["content"].split("\n\n")[1]
    draft = make(FakeAsk([f"{instruction} {SHORTER}"]))
    assert draft.defect is not None and draft.defect.rule == "prompt_echo" and SHORTER in draft.text


@pytest.mark.parametrize("outcome", ["truncated_answer", "repetition", "refused", "tag_leak", "empty_answer"])
def test_an_answer_that_is_not_ok_keeps_its_text(outcome: Outcome) -> None:
    draft = make(FakeAsk([(outcome, "Lighthouses warn")]))
    assert draft.defect is not None and draft.defect.rule == outcome and draft.text == "Lighthouses warn"


def test_a_second_try_asks_another_way_and_both_are_named() -> None:
    ask = FakeAsk([("truncated_answer", "Lighthouses"), SHORTER])
    draft = make(ask, Options(candidates=2, max_tokens=99, temperature=0.25, top_p=0.75))
    assert (draft.text, draft.ask_ids, draft.defect) == (SHORTER, ("ask-0", "ask-1"), None)
    assert [asked.sample_index for asked in ask.asked] == [0, 1]
    assert {(asked.max_tokens, asked.temperature, asked.top_p, asked.schema) for asked in ask.asked} == {
        (99, 0.25, 0.75, None)
    }


def test_accept_is_the_cheap_check() -> None:
    ask = FakeAsk([SHORTER])
    make(ask)
    accept = ask.asked[0].accept
    assert accept is not None and accept(completion(SHORTER)) and not accept(completion("# Lighthouses"))


# --- what is asked


def test_golden_request() -> None:
    """Changed on purpose? The prompts' digest makes the change known by itself: put the new text here."""
    assert [message["content"] for message in messages(seed())] == [
        "You summarise texts.\n\nGive the facts of the input text briefly, in plain sentences and about 30 words.",
        PASSAGE,
    ]


def test_the_same_seed_asks_the_same() -> None:
    assert messages(seed()) == messages(seed())


def test_every_paraphrase_is_used_and_none_prevails() -> None:
    asked = [messages(seed(str(at)))[0]["content"].split("\n\n")[1] for at in range(SEEDS)]
    words = distill.target_words(PASSAGE)
    assert set(asked) == {text.format(words=words) for text in distill.prompts().instructions}
    assert max(Counter(asked).values()) <= SEEDS // 4


def test_what_is_constant_comes_first_and_the_passage_last() -> None:
    one, other = messages(seed("1")), messages(seed("2", "Another passage."))
    system = distill.prompts().system.strip()
    assert all(
        asked[0]["role"] == "system" and asked[0]["content"].startswith(f"{system}\n\n") for asked in (one, other)
    )
    assert one[1] == {"role": "user", "content": PASSAGE}


def test_braces_in_a_passage_are_left_alone() -> None:
    assert messages(seed(text="A set {words} of {x}"))[1]["content"] == "A set {words} of {x}"


@pytest.mark.parametrize(
    ("words", "expected"), [(5, 20), (80, 40), (100, 50), (150, 80), (1000, 500)], ids=lambda value: str(value)
)
def test_half_of_the_words_are_asked_for(words: int, expected: int) -> None:
    assert distill.target_words("word " * words) == expected


def test_prompt_file_is_complete() -> None:
    prompts = distill.prompts()
    assert len(prompts.instructions) == len(set(prompts.instructions)) >= 8
    for text in prompts.instructions:
        assert text.count("{words}") == 1 and len(re.findall(r"\w+", text)) >= ECHO_WORDS
    assert "{" not in prompts.system and "<|" not in prompts.system
