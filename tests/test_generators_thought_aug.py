"""thought_aug: what is asked, which thinking is kept, and how it is set beside its passage."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import copying
from generators import thought_aug
from generators.common import ECHO_WORDS
from generators.thought_aug import Options, copied_share, rendered, thought_fault
from synth.ask import Completion, Outcome
from synth.rows import Draft, Seed, generated_texts, part_text
from tests.fake_ask import FakeAsk, completion

PASSAGE = (
    "Lighthouses warn ships of rocks and of shallow water near the coast. The Pharos of Alexandria, finished about 280 BC, "
    "stood more than 100 metres high and was lit by an open fire at its top. In 1822 Augustin Fresnel built a lens of "
    "glass rings that bends the light into one strong beam, so that sailors can see it from over 30 kilometres away."
)
THOUGHT = (
    "Why should rings of glass do what one big lens does? A lens bends light at its two surfaces, not in the glass between "
    "them. So most of the thick middle could be taken away, and each ring left at its own slope would still send its light "
    "forward. That makes the whole thing thin enough to be lifted up a tower. And the distance? A flame shines in all "
    "directions; if the rings gather even a third of it into a narrow cone, the beam looks hundreds of times brighter there. "
    "At 30 kilometres the curve of the Earth begins to matter more than brightness, so the height of the tower counts too."
)
SEEDS = 400


def seed(identity: str = "seed-1", text: str = PASSAGE) -> Seed:
    return Seed(identity, identity, identity, 0, text)


def make(ask: FakeAsk, options: Options | None = None, one: Seed | None = None) -> Draft:
    (draft,) = asyncio.run(thought_aug.generate(one or seed(), ask, options or Options()))
    ask.done()
    return draft


def read(answer: Completion, **options: Any) -> Draft:
    return thought_aug.question(seed(), Options(**options)).draft(answer)


def rule(draft: Draft) -> str | None:
    return draft.defect.rule if draft.defect else None


def fault(thought: str, source: str = PASSAGE) -> str | None:
    found = thought_fault(thought, source)
    return found.rule if found else None


def distinct(words: int) -> str:
    return " ".join(f"w{number}" for number in range(words)) + "."


def test_golden_text() -> None:
    """Changed on purpose? Raise thought_aug.VERSION, or RENDERER_VERSION."""
    one = seed(text=f"{PASSAGE}\n")
    draft = make(FakeAsk([f"Sure! Here are my thoughts:\n\n{THOUGHT}"]), one=one)
    assert draft.text == f"{PASSAGE}\n\n{THOUGHT}"
    assert [(part.role, part.start_byte, part.end_byte) for part in draft.parts] == [
        ("source", 0, len(PASSAGE.encode())),
        ("generated", len(PASSAGE.encode()), len(draft.text.encode())),
    ]
    assert (draft.ask_ids, draft.payload, draft.defect) == (("ask-0",), {"thinking": THOUGHT}, None)
    assert set(draft.axes) == {"instruction", "focus", "keep"}


def test_thinking_may_stand_before_its_passage() -> None:
    draft = make(FakeAsk([THOUGHT]), Options(keep="prepended"))
    assert draft.text == f"{THOUGHT}\n\n{PASSAGE}" and draft.axes["keep"] == "prepended"
    assert [part.role for part in draft.parts] == ["generated", "source"]


@pytest.mark.parametrize("keep", ["appended", "prepended"])
def test_rules_see_the_thinking_and_nothing_else(keep: Any) -> None:
    draft = make(FakeAsk([THOUGHT]), Options(keep=keep))
    assert part_text(draft.text, draft.parts, "generated").strip() == THOUGHT
    parts = [{"role": part.role, "start_byte": part.start_byte, "end_byte": part.end_byte} for part in draft.parts]
    seen = generated_texts(pa.table({"text": [draft.text], "parts": [parts]}))
    assert seen.to_pylist()[0].strip() == THOUGHT


# --- where thinking comes from


def test_reasoning_is_the_thinking_where_the_recipe_says_so() -> None:
    answer = Completion("ask-0", "ok", "The rings make it thin.", "model", reasoning=f"\n{THOUGHT}\n")
    assert read(answer, source_of_thought="reasoning").payload == {"thinking": THOUGHT}
    plain = read(answer)
    assert rule(plain) == "too_short" and plain.text == "The rings make it thin."
    assert plain.reasoning == answer.reasoning


@pytest.mark.parametrize("reasoning", [None, "", " \n"])
def test_a_model_that_does_not_think_gives_none(reasoning: str | None) -> None:
    answer = Completion("ask-0", "ok", THOUGHT, "model", reasoning=reasoning)
    draft = read(answer, source_of_thought="reasoning")
    assert rule(draft) == "no_thinking" and draft.text == THOUGHT


def test_reasoning_that_its_budget_ended_is_not_kept() -> None:
    answer = Completion("ask-0", "ok", "So.", "model", reasoning=THOUGHT, budget_hit=True, reasoning_tokens=256)
    assert rule(read(answer, source_of_thought="reasoning")) == "cut_thinking"
    long_answer = Completion("ask-0", "ok", THOUGHT, "model", reasoning="Hm", budget_hit=True)
    assert rule(read(long_answer)) is None


@pytest.mark.parametrize("outcome", ["truncated_answer", "thinking_overflow", "repetition", "refused", "tag_leak"])
@pytest.mark.parametrize("source", ["answer", "reasoning"])
def test_an_answer_that_is_not_ok_is_dropped_as_such(outcome: Outcome, source: Any) -> None:
    draft = read(Completion("ask-0", outcome, THOUGHT, "model", reasoning=THOUGHT), source_of_thought=source)
    assert rule(draft) == outcome and draft.text == THOUGHT


# --- gates


@pytest.mark.parametrize(
    ("thought", "expected"),
    [
        pytest.param(THOUGHT, None, id="good"),
        pytest.param("", "no_thinking", id="empty"),
        pytest.param(distinct(59), "too_short", id="59-words"),
        pytest.param(distinct(60), None, id="60-words"),
        pytest.param(distinct(6000), "too_long", id="more-than-8000-tokens"),
        pytest.param(THOUGHT[:-1], "not_closed", id="no-full-stop"),
        pytest.param(f"{THOUGHT} And so", "not_closed", id="cut"),
        pytest.param(f"{THOUGHT} **(It does.)**", None, id="closed-within-marks"),
        pytest.param(f"{THOUGHT} 就是这样。", None, id="closed-in-chinese"),
        pytest.param(f"{THOUGHT} Let me check: 3 * 4 = 12.", None, id="checking-is-thinking"),
        pytest.param(f"{THOUGHT} Wait, let me write the answer.", "meta_talk", id="let-me-write"),
        pytest.param(f"The user wants me to think. {THOUGHT}", "meta_talk", id="user-wants"),
        pytest.param(f"The passage says I should explain. {THOUGHT}", "meta_talk", id="passage-says-i-should"),
        pytest.param(f"I’ll first draft something. {THOUGHT}", "meta_talk", id="curly-apostrophe"),
        pytest.param(f"{THOUGHT} My answer should be short.", "meta_talk", id="my-answer"),
        pytest.param(f"{THOUGHT} The answer should be near 12.", None, id="the-answer-of-a-calculation"),
        pytest.param(f"{THOUGHT} Let me write x as 2y + 1.", None, id="writing-x"),
        pytest.param(f"{THOUGHT} I'll rewrite the equation: x = 4.", None, id="rewriting-an-equation"),
        pytest.param(f"{THOUGHT} Cells are expected to respond to it.", None, id="cells-respond"),
        pytest.param(f"{THOUGHT} I should write it down.", "meta_talk", id="writing-it-down"),
        pytest.param(f"{THOUGHT} I need to produce a short explanation.", "meta_talk", id="producing-an-explanation"),
        pytest.param(f"{THOUGHT} Let me respond.", "meta_talk", id="responding"),
        pytest.param(f"I am asked to consider it. {THOUGHT}", "meta_talk", id="asked-to"),
        pytest.param(f"Thinking aloud, {THOUGHT}", "meta_talk", id="thinking-aloud"),
        pytest.param(f"According to the prompt it is so. {THOUGHT}", "meta_talk", id="the-prompt"),
        pytest.param(f"As an AI, I doubt it. {THOUGHT}", "meta_talk", id="as-an-ai"),
        pytest.param(f"{THOUGHT} {'Is it so or not? ' * 20}", "repetition", id="loop"),
        pytest.param(f"{PASSAGE} Why? {PASSAGE}", "copied", id="retold"),
        pytest.param(f"{THOUGHT} In 1822 Augustin Fresnel built a lens of glass rings.", None, id="a-short-quotation"),
    ],
)
def test_gates(thought: str, expected: str | None) -> None:
    assert fault(thought) == expected


def test_what_the_source_says_itself_is_no_meta_talk() -> None:
    thought = f"{THOUGHT} The user wants a beam."
    assert fault(thought) == "meta_talk"
    assert fault(thought, f"{PASSAGE} The user wants a lamp.") is None


def test_defects_carry_their_numbers() -> None:
    found = thought_fault(f"{PASSAGE} Why? {PASSAGE}", PASSAGE)
    assert found is not None and found.score is not None and found.score > 0.8 and found.threshold == 0.3
    talk = thought_fault(f"{THOUGHT} My answer should be short.", PASSAGE)
    assert talk is not None and talk.evidence == "My answer should"


def test_a_repeated_instruction_is_an_echo() -> None:
    instruction = thought_aug.question(seed(), Options()).messages[0]["content"].split("\n\n")[1]
    assert rule(make(FakeAsk([f"{instruction} {THOUGHT}"]))) == "prompt_echo"


WORDS = st.lists(st.sampled_from("abcde"), max_size=40).map(" ".join)


@given(WORDS, WORDS)
def test_the_share_copied_is_that_of_the_rule(text: str, source: str) -> None:
    table = pa.table({"generated": [text], "seed_text": [source]})
    score = copying.score(table, copying.CopyOptions())["copy_8gram_share"].to_pylist()[0]
    assert copied_share(text, source) == pytest.approx(score or 0.0)


def test_a_second_candidate_follows_a_bad_one() -> None:
    draft = make(FakeAsk(["Hm.", THOUGHT]), Options(candidates=2))
    assert draft.defect is None and draft.ask_ids == ("ask-0", "ask-1")


def test_a_long_seed_gives_a_document_for_each_part() -> None:
    text = f"{PASSAGE}\n{PASSAGE.replace('Pharos', 'tower')}"
    ask = FakeAsk([THOUGHT, THOUGHT])
    drafts = asyncio.run(thought_aug.generate(seed(text=text), ask, Options(segment_tokens=120)))
    ask.done()
    assert [draft.text.split("\n\n")[0] for draft in drafts] == text.split("\n")
    assert [draft.seed_span for draft in drafts] == [(0, len(PASSAGE)), (len(PASSAGE) + 1, len(text))]


# --- what is asked


def test_the_passage_is_the_whole_user_message_and_axes_follow_the_request() -> None:
    put = thought_aug.question(seed(text="A set {focus} of {x}"), Options())
    axes = put.draft(completion(("refused", ""))).axes
    assert put.messages[1] == {"role": "user", "content": "A set {focus} of {x}"}
    assert thought_aug.prompts().axes["focus"][axes["focus"]] in put.messages[0]["content"]


def test_paraphrases_and_axes_are_all_used() -> None:
    options = Options(vary=None)
    drafts = [thought_aug.question(seed(str(at)), options).draft(completion(("refused", ""))) for at in range(SEEDS)]
    counts = Counter(draft.axes["instruction"] for draft in drafts)
    assert len(counts) == len(thought_aug.prompts().instructions) and max(counts.values()) <= SEEDS // 4
    for axis, values in thought_aug.prompts().axes.items():
        assert {draft.axes[axis] for draft in drafts} == set(values)
    assert thought_aug.question(seed(), options).messages == thought_aug.question(seed(), options).messages


def test_prompt_file_is_complete() -> None:
    prompts = thought_aug.prompts()
    assert len(prompts.instructions) == len(set(prompts.instructions)) >= 10
    assert all(len(re.findall(r"\w+", text)) >= ECHO_WORDS for text in prompts.instructions)
    assert len(prompts.criteria) == 4 and all(len(values) >= 4 for values in prompts.axes.values())
    assert not any("{" in text or "<|" in text for text in (prompts.system, *prompts.instructions))


# --- rendering


TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)


@given(TEXTS, TEXTS.map(str.strip), st.sampled_from(["appended", "prepended"]))
def test_rendering_reads_back(passage: str, thought: str, keep: str) -> None:
    text, parts = rendered(seed(text=passage), {"thinking": thought}, {"keep": keep})
    assert part_text(text, parts, "generated").strip() == thought
    assert part_text(text, parts, "source") == passage.strip()
    raw = text.encode()
    assert b"".join(raw[part.start_byte : part.end_byte] for part in parts) == raw


@pytest.mark.parametrize(
    "unit", ["a ", "a", "the ", "the user ", "let me first ", "I'll ", ". ", "*", "my answer ", "asked to ", "\n", '"']
)
def test_hostile_answers_are_read_in_linear_time(unit: str) -> None:
    assert make(FakeAsk([unit * (300_000 // len(unit))])).defect is not None
    assert thought_fault(unit * (300_000 // len(unit)), unit * (300_000 // len(unit))) is not None
    thought_aug.meta_talk(unit * (300_000 // len(unit)), PASSAGE)
    copied_share(unit * (300_000 // len(unit)), unit * (300_000 // len(unit)))


@given(st.text(max_size=300))
def test_any_answer_makes_a_draft(answer: str) -> None:
    assert make(FakeAsk([answer])).defect is not None
