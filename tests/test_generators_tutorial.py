"""tutorial: how steps are read out of an answer, which answers are given up, and the text that is made of them."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generators import prose, tutorial
from generators.common import ECHO_WORDS
from generators.tutorial import LAYOUTS, Options, parsed
from synth.ask import Outcome
from synth.config import parse
from synth.errors import RecipeError
from synth.rows import Draft, Seed, part_text
from synth.text.mentions import numbers
from tests.fake_ask import Answer, FakeAsk, completion

PASSAGE = (
    "To bake bread, 500 g of flour are mixed with 320 g of water, 10 g of salt and 5 g of yeast. The dough is kneaded for "
    "ten minutes and rests for two hours. Then it is formed and baked at 230 °C for forty minutes."
)
ANSWER = """# Bread at home

You will have a loaf in three hours.

## Steps

1. Mix 500 g of flour with 320 g of water.
2. Knead the dough for ten minutes.
4. Bake it at 230 °C.

Let it cool before you cut it.
"""
STEPS = ["Mix 500 g of flour with 320 g of water.", "Knead the dough for ten minutes.", "Bake it at 230 °C."]
SEEDS = 500


def seed(identity: str = "seed-1", text: str = PASSAGE) -> Seed:
    return Seed(identity, identity, identity, 0, text)


def make(answer: Answer | list[Answer], options: Options | None = None, one: Seed | None = None) -> Draft:
    ask = FakeAsk(answer if isinstance(answer, list) else [answer])
    (draft,) = asyncio.run(tutorial.generate(one or seed(), ask, options or Options()))
    ask.done()
    return draft


def rule(draft: Draft) -> str | None:
    return draft.defect and draft.defect.rule


def request(one: Seed, sample: int = 0, options: Options | None = None) -> str:
    asked = prose.question("tutorial", tutorial.prompts(), one, options or Options(vary=()), "", sample, {})
    return asked.messages[0]["content"].split("\n\n", 1)[1]


def test_golden_text() -> None:
    """Changed on purpose? Raise tutorial.VERSION or RENDERER_VERSION."""
    draft = make(ANSWER)
    assert draft.text == (
        "# Bread at home\n\nYou will have a loaf in three hours.\n\n"
        "Step 1: Mix 500 g of flour with 320 g of water.\n\n"
        "Step 2: Knead the dough for ten minutes.\n\n"
        "Step 3: Bake it at 230 °C.\n\n"
        "Let it cool before you cut it."
    )
    assert draft.payload == {
        "title": "Bread at home",
        "intro": "You will have a loaf in three hours.",
        "steps": STEPS,
        "outro": "Let it cool before you cut it.",
    }
    assert draft.axes == {"instruction": "5", "audience": "professionals", "layout": "words"}
    assert draft.ask_ids == ("ask-0",) and draft.defect is None
    assert part_text(draft.text, draft.parts, "generated") == draft.text


# --- what is asked


def test_prompt_file_is_complete() -> None:
    prompts = tutorial.prompts()
    assert len(prompts.instructions) == len(set(prompts.instructions)) >= 10
    assert all(len(re.findall(r"\w+", text)) >= ECHO_WORDS for text in prompts.instructions)
    assert all(len(values) >= 4 for values in prompts.axes.values()) and len(prompts.criteria) == 4
    assert not any("{" in text or "<|" in text for text in (prompts.system, *prompts.instructions))


def test_every_paraphrase_and_audience_is_used_and_none_prevails() -> None:
    counts = Counter(request(seed(str(at))) for at in range(SEEDS))
    assert set(counts) == set(tutorial.prompts().instructions) and max(counts.values()) <= SEEDS // 4
    audiences = Counter(make(ANSWER, one=seed(str(at))).axes["audience"] for at in range(100))
    assert set(audiences) == set(tutorial.prompts().axes["audience"])


def test_axes_that_vary_are_in_the_request() -> None:
    prompts = tutorial.prompts()
    words = request(seed(), options=Options(vary=None))
    for values in prompts.axes.values():
        assert sum(f" {one}" in words for one in values.values()) == 1
    assert set(make(ANSWER, Options(vary=None)).axes) == {"instruction", "layout", *prompts.axes}


def test_an_unknown_axis_is_refused() -> None:
    with pytest.raises(RecipeError, match="vary"):
        parse(Options, {"vary": ["mood"]})


@pytest.mark.parametrize("number", range(len(tutorial.prompts().instructions)))
def test_every_instruction_in_an_answer_is_an_echo(number: int) -> None:
    wording = tutorial.prompts().instructions[number]
    one = next(seed(str(at)) for at in range(1000) if request(seed(str(at))) == wording)
    assert rule(make(f"{wording}\n\n{ANSWER}", Options(vary=()), one)) == "prompt_echo"


# --- reading


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1. {}\n2. {}\n3. {}", id="numbered"),
        pytest.param("1) {}\n2) {}\n3) {}", id="brackets"),
        pytest.param("(1) {}\n\n(2) {}\n\n(3) {}", id="two-brackets"),
        pytest.param("1. {}\n1. {}\n1. {}", id="always-one"),
        pytest.param("**1.** {}\n**2.** {}\n**3.** {}", id="bold-number"),
        pytest.param("**1. {}**\n**2. {}**\n**3. {}**", id="bold-line"),
        pytest.param("## 1. {}\n\n## 2. {}\n\n## 3. {}", id="headings"),
        pytest.param("Step 1: {}\nStep 2: {}\nStep 3: {}", id="words"),
        pytest.param("STEP ONE - {}\nStep two – {}\nstep three. {}", id="numbers-in-words"),
        pytest.param("**Step 1**\n{}\n\n**Step 2**\n{}\n\n**Step 3**\n{}", id="bold-word"),
        pytest.param("**Step 1** {}\n\n**Step 2:** {}\n\n**Step 3**: {}", id="bold-word-and-colon"),
        pytest.param("### Step 1\n\n{}\n\n### Step 2:\n\n{}\n\n### Step 3\n{}", id="heading-word"),
        pytest.param("- Step 1: {}\n- Step 2: {}\n- Step 3: {}", id="words-in-bullets"),
        pytest.param("1. Step 1: {}\n2. Step 2: {}\n3. Step 3: {}", id="both"),
        pytest.param("- {}\n- {}\n- {}", id="bullets"),
        pytest.param("* {}\n+ {}\n• {}", id="other-bullets"),
        pytest.param("  1. {}\n  2. {}\n  3. {}", id="set-in"),
    ],
)
def test_steps_are_found_in_every_form(text: str) -> None:
    assert parsed(text.format(*STEPS)) == {"title": "", "intro": "", "steps": STEPS, "outro": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("1. a\n   - b\n   - c\n   - d\n2. e\n3. f", ["a\n- b\n- c\n- d", "e", "f"], id="list-inside"),
        pytest.param("1. a\n   1. b\n   2. c\n2. d\n3. e", ["a\n1. b\n2. c", "d", "e"], id="numbers-inside"),
        pytest.param("1. a\n   goes on\nand on\n2. b\n3. c", ["a goes on and on", "b", "c"], id="soft-line-breaks"),
        pytest.param("1. a\n\n   b\n\n2. c\n3. d", ["a\n\nb", "c", "d"], id="two-paragraphs"),
        pytest.param("1. a:\n```\n1. x\n2. y\n```\n2. b\n3. c", ["a:\n```\n1. x\n2. y\n```", "b", "c"], id="code"),
        pytest.param(
            "1. a\n2. b\n3. c:\n\n   ```\n   x", ["a", "b", "c:\n\n```\nx\n```"], id="fence-taken-off-the-end"
        ),
        pytest.param(
            "### Step 1: Gather\n\n- a\n- b\n\n### Step 2: Mix\n\nMix all.\n\n### Step 3: Why?\nFor taste.",
            ["Gather\n- a\n- b", "Mix. Mix all.", "Why? For taste."],
            id="headings-with-words",
        ),
        pytest.param(
            "**1. Mix** all.\n**2. Bake** it.\n**3. Eat**", ["**Mix** all.", "**Bake** it.", "Eat"], id="bold"
        ),
        pytest.param("1. **Mix**: all.\n2. __init__ it.\n3. c", ["**Mix**: all.", "__init__ it.", "c"], id="emphasis"),
        pytest.param("Step 1:\n\n```\nx\n```\nStep 2: b\nStep 3: c", ["```\nx\n```", "b", "c"], id="code-alone"),
        pytest.param("Step 2 is long\nStep 1: a\nStep 2: b\nStep 3: c", ["a", "b", "c"], id="prose-about-a-step"),
        pytest.param("1.5 cups\n2024. x\n- a\n- b\n- c", ["a", "b", "c"], id="numbers-that-are-none"),
        pytest.param("No steps here. None at all.", [], id="none"),
        pytest.param("", [], id="nothing"),
        pytest.param("1. a\n2. b", ["a", "b"], id="two"),
        pytest.param("1. a\n2. b\n- c", ["a", "b\n- c"], id="form-with-most"),
    ],
)
def test_what_belongs_to_a_step(text: str, expected: list[str]) -> None:
    assert parsed(text)["steps"] == expected


THREE = "1. a\n2. b\n3. c"
WORDED = "Step 1: a\nStep 2: b\nStep 3: c"


@pytest.mark.parametrize(
    ("text", "title", "intro", "outro"),
    [
        pytest.param(f"# T\n\n{THREE}", "T", "", "", id="title"),
        pytest.param(f"**T**\n\nHello.\n\n{THREE}", "T", "Hello.", "", id="bold-title"),
        pytest.param(f"Hello.\n\n## Steps\n\n{THREE}", "", "Hello.", "", id="label"),
        pytest.param(f"## Steps:\n\n{THREE}", "", "", "", id="label-alone"),
        pytest.param(
            f"# T\n## Needed\n\n- x\n- y\n\n## How to\n\n{THREE}", "T", "## Needed\n\n- x\n- y", "", id="list"
        ),
        pytest.param(f"# 1. T\n9) Hello.\n1) x\n\n{WORDED}", "T", "Hello.\nx", "", id="numbers-elsewhere"),
        pytest.param(f"{THREE}\n\nBye.\nNow.", "", "", "Bye.\nNow.", id="outro"),
        pytest.param(f"{THREE}\n## End\nBye.", "", "", "## End\nBye.", id="heading-after"),
        pytest.param("Step 1: a\nStep 2: b\n### Step 3\n\nc\n\nBye.", "", "", "Bye.", id="after-a-heading-step"),
    ],
)
def test_what_stands_around_the_steps(text: str, title: str, intro: str, outro: str) -> None:
    assert parsed(text) == {"title": title, "intro": intro, "steps": ["a", "b", "c"], "outro": outro}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param("1. Mix.\n2. Bake.", "few_steps", id="two-steps"),
        pytest.param("Bread is baked.", "few_steps", id="prose"),
        pytest.param("1. Mix.\n2.\n3. Bake.", "empty_step", id="empty"),
        pytest.param("1. Mix it.\n2. Bake.\n3. MIX it!", "repeated_step", id="twice"),
        pytest.param("1. Mix.\n2. Bake.\n3. Do as the passage says.", "task_talk", id="task-talk"),
        pytest.param("Title: Bread", "no_prose", id="wrapping-only"),
    ],
)
def test_answers_that_are_given_up(answer: str, expected: str) -> None:
    draft = make(answer)
    assert rule(draft) == expected and draft.ask_ids == ("ask-0",) and set(draft.axes) >= {"layout", "audience"}
    assert expected != "repeated_step" or (draft.defect is not None and draft.defect.evidence == "MIX it!")


@pytest.mark.parametrize("outcome", ["truncated_answer", "repetition", "refused", "dead_letter"])
def test_an_answer_that_is_not_ok_keeps_its_text(outcome: Outcome) -> None:
    draft = make((outcome, "1. Mix"))
    assert draft.text == "1. Mix" and draft.payload is None
    assert rule(draft) == ("generation_failed" if outcome == "dead_letter" else outcome)


def test_a_chat_wrapping_is_taken_off() -> None:
    assert make(f"Sure! Here is the tutorial:\n\n{ANSWER}\nI hope this helps!").payload == parsed(ANSWER)
    assert make(f"```markdown\n{ANSWER}```").payload == parsed(ANSWER)


# --- candidates, options, long seeds


def test_a_second_candidate_is_asked_for_after_a_defect() -> None:
    draft = make(["1. Mix.", ANSWER], Options(candidates=2))
    assert draft.defect is None and draft.ask_ids == ("ask-0", "ask-1")
    assert [finding.outcome for finding in draft.findings] == ["lost", "won"]


def test_options_reach_the_ask_and_accept_is_the_cheap_check() -> None:
    ask = FakeAsk([ANSWER])
    asyncio.run(tutorial.generate(seed(), ask, Options()))
    (asked,) = ask.asked
    assert (asked.max_tokens, asked.temperature, asked.top_p, asked.schema) == (1536, 0.6, 0.95, None)
    assert asked.accept is not None
    assert asked.accept(completion(ANSWER)) and not asked.accept(completion("1. Mix."))


def test_a_short_seed_is_not_asked_about() -> None:
    assert rule(make([], one=seed(text="Bread."))) == "seed_too_short"


PARTS = ["Flour is milled. " * 30, "Dough is kneaded. " * 30]
SECOND = "1. Form the loaf.\n2. Heat the oven.\n3. Bake.\n\nDone."


def test_the_numbers_go_on_through_the_parts_of_a_long_seed() -> None:
    one = seed(text="\n".join(PARTS))
    draft = make([ANSWER, SECOND], Options(segment_tokens=200), one)
    assert draft.defect is None and draft.ask_ids == ("ask-0", "ask-1")
    assert [part["answer"] for part in draft.payload["segments"]] == [parsed(ANSWER), parsed(SECOND)]
    assert re.findall(r"^Step (\d+): (\w+)", draft.text, re.MULTILINE) == [
        (str(number), word) for number, word in enumerate(["Mix", "Knead", "Bake", "Form", "Heat", "Bake"], 1)
    ]
    assert draft.text.index("Let it cool") < draft.text.index("Step 4") < draft.text.index("Done.")
    assert part_text(draft.text, draft.parts, "generated") == draft.text
    assert tutorial.rendered(one, draft.payload, draft.axes).text == draft.text


def test_the_second_part_is_told_the_first_and_its_failure_ends_the_document() -> None:
    ask = FakeAsk([ANSWER, "No steps."])
    one = seed(text="\n".join(PARTS))
    (draft,) = asyncio.run(tutorial.generate(one, ask, Options(segment_tokens=200)))
    assert rule(draft) == "few_steps" and "No steps." in draft.text
    assert "Bake it at 230 °C." in ask.asked[1].messages[0]["content"]


# --- rendering


def test_every_layout_is_used() -> None:
    layouts = {make(ANSWER, one=seed(str(at))).axes["layout"] for at in range(100)}
    assert layouts == set(LAYOUTS)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        pytest.param("bold", "**Step 1.** a\n\n**Step 2.** b\n   - c\n\n**Step 3.**\n   ```\n   x\n   ```", id="bold"),
        pytest.param("brackets", "1) a\n\n2) b\n   - c\n\n3)\n   ```\n   x\n   ```", id="brackets"),
        pytest.param(
            "headings",
            "### Step 1:\n\na\n\n### Step 2:\n\nb\n   - c\n\n### Step 3:\n   ```\n   x\n   ```",
            id="headings",
        ),
        pytest.param("numbered", "1. a\n\n2. b\n   - c\n\n3.\n   ```\n   x\n   ```", id="numbered"),
        pytest.param("words", "Step 1: a\n\nStep 2: b\n   - c\n\nStep 3:\n   ```\n   x\n   ```", id="words"),
    ],
)
def test_layouts(layout: str, expected: str) -> None:
    payload = {"title": "", "intro": "", "steps": ["a", "b\n- c", "```\nx\n```"], "outro": ""}
    assert tutorial.rendered(seed(), payload, {"layout": layout}).text == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_numbers_of_steps_are_no_numbers_of_the_text(layout: str) -> None:
    payload = {"title": "", "intro": "", "steps": ["Mix 5 g.", "Knead.", "Bake."], "outro": ""}
    text = tutorial.rendered(seed(), payload, {"layout": layout}).text
    assert [one.text for one in numbers(text)] == ["5"]


def test_short_steps_stand_line_by_line() -> None:
    payload = {"title": "T", "intro": "I", "steps": [f"step {at}" for at in range(1, 12)], "outro": "O"}
    text = tutorial.rendered(seed(), payload, {"layout": "numbered"}).text
    assert text.startswith("# T\n\nI\n\n1. step 1\n2. step 2\n") and text.endswith("\n11. step 11\n\nO")


PIECES = [
    *("1. ", "2) ", "Step 3: ", "**Step 4.** ", "### Step 5\n", "- ", "# ", "## Steps\n", "   ", "**", "\n", "\n\n"),
    *("a", "b c.", "*d*", "```\n", "x: y", "`1. z`", "Step", "|", "__e__", "\t", "\u2028", "10. ", ":", "1.", "é"),
]
ANSWERS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
LINES = st.sampled_from(["1. ", "2. ", "Step 1: ", "- ", "   - ", "   ", "", "# ", "\n", "**Step 2:** ", "(3) "])
LIKELY = st.lists(st.tuples(LINES, st.sampled_from(["a", "b", "c d.", "**e** f", "g:"])), max_size=20).map(
    lambda lines: "\n".join(f"{mark}{words}" for mark, words in lines)
)


@given(st.one_of(ANSWERS, LIKELY), st.sampled_from(sorted(LAYOUTS)))
@settings(max_examples=400, deadline=None)
def test_what_is_rendered_is_read_again(answer: str, layout: str) -> None:
    payload = parsed(answer)
    if tutorial.steps_defect(payload["steps"]):
        return
    draft = tutorial.rendered(seed(), payload, {"layout": layout})
    assert parsed(draft.text) == payload
    assert part_text(draft.text, draft.parts, "generated") == draft.text


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_answer_makes_a_draft(answer: str) -> None:
    assert make(answer).ask_ids == ("ask-0",)


HOSTILE: Mapping[str, str] = {
    "spaces": " " * 100_000 + "x",
    "stars": "**" * 50_000,
    "numbers": "1. " * 33_000,
    "steps": "1. a\n" * 20_000,
    "fences": "```\n" * 25_000,
    "hashes": "#" * 100_000,
    "headings": "# a\n" * 25_000,
    "blank": "1. a\n2. b\n3. c" + "\n" * 100_000 + "x",
    "html": "<div><script>x</script>" * 4_000,
    "quotes": "> " * 50_000,
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in HOSTILE.items()])
def test_hostile_answers_are_read_in_linear_time(text: str) -> None:
    found: dict[str, Any] = parsed(text)
    assert sum(len(step) for step in found["steps"]) <= len(text)
    assert tutorial.steps_defect(found["steps"]) or tutorial.rendered(seed(), found, {"layout": "numbered"}).text
