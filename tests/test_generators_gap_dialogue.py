"""gap_dialogue: what is asked, how turns are read, which dialogues are kept, and how they are set."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators import gap_dialogue
from generators.common import ECHO_WORDS
from generators.gap_dialogue import LAYOUTS, Options, parsed, rendered
from synth.ask import Outcome
from synth.rows import Draft, Seed
from tests.fake_ask import FakeAsk, completion

PASSAGE = (
    "Lighthouses warn ships of rocks and of shallow water near the coast. The Pharos of Alexandria, finished about 280 BC, "
    "stood more than 100 metres high and was lit by an open fire at its top. In 1822 Augustin Fresnel built a lens of "
    "glass rings that bends the light into one strong beam, so that sailors can see it from over 30 kilometres away."
)
TURNS = [
    ("Maria", "Why does nobody light fires on lighthouses any more?"),
    ("Tom", "Because a fire sends its light everywhere, also to where no ship is."),
    ("Maria", "So most of it is wasted, you mean?"),
    ("Tom", "Yes. In 1822 Fresnel built a lens of glass rings that bends it into one beam."),
    ("Maria", "Bends it? I thought glass only lets light through."),
    ("Tom", "Each ring is a prism, and a prism turns light by an angle that its shape gives."),
    ("Maria", "Then the rings differ, so that all of the light leaves in one direction."),
    ("Tom", "Exactly, and sailors see it from over 30 kilometres away."),
]
ANSWER = "\n".join(f"{speaker}: {text}" for speaker, text in TURNS)
PAYLOAD = {"turns": [{"speaker": speaker, "text": text} for speaker, text in TURNS]}
SEEDS = 400


def seed(identity: str = "seed-1", text: str = PASSAGE) -> Seed:
    return Seed(identity, identity, identity, 0, text)


def make(ask: FakeAsk, options: Options | None = None, one: Seed | None = None) -> Draft:
    (draft,) = asyncio.run(gap_dialogue.generate(one or seed(), ask, options or Options()))
    ask.done()
    return draft


def rule(answer: str, text: str = PASSAGE) -> str | None:
    draft = make(FakeAsk([answer]), one=seed(text=text))
    return draft.defect.rule if draft.defect else None


def said(*turns: tuple[str, str]) -> str:
    return "\n".join(f"{speaker}: {text}" for speaker, text in turns)


def test_golden_text() -> None:
    """Changed on purpose? Raise gap_dialogue.VERSION, or RENDERER_VERSION."""
    draft = make(FakeAsk([f"Sure! Here is the dialogue:\n\n{ANSWER}"]))
    assert draft.axes["layout"] == "lines"
    assert draft.text == "\n".join(f"{speaker}: {text}" for speaker, text in TURNS)
    assert [(part.role, part.start_byte, part.end_byte) for part in draft.parts] == [
        ("generated", 0, len(draft.text.encode()))
    ]
    assert (draft.ask_ids, draft.payload, draft.defect) == (("ask-0",), PAYLOAD, None)
    assert set(draft.axes) == {"instruction", "style", "opening", "layout"}


# --- reading turns


@pytest.mark.parametrize(
    "line",
    [
        "{}: {}",
        "**{}:** {}",
        "**{}**: {}",
        "__{}:__ {}",
        "- {}: {}",
        "• {}: {}",
        "{} — {}",
        "{}： {}",
        "{} (teacher): {}",
        "1. {}: {}",
        "12) **{}:** {}",
        "{}:\n{}",
        "**{}:**\n\n{}",
        "{}:{}",
        "> {}: {}",
    ],
)
def test_forms_of_a_turn(line: str) -> None:
    assert parsed("\n".join(line.format(*turn) for turn in TURNS)) == PAYLOAD["turns"]


@pytest.mark.parametrize(
    "name", ["Dr. Lee", "Student 1", "Anna-Lena", "O’Brien", "老师", "Éva", "Q", "Professor Ana de León"]
)
def test_forms_of_a_name(name: str) -> None:
    assert {turn["speaker"] for turn in parsed(ANSWER.replace("Maria:", f"{name}:"))} == {name, "Tom"}


@pytest.mark.parametrize(
    "line",
    [
        "Note: a prism is a wedge.",
        "Example: 3 + 4 = 7",
        "Step 1: take a lens.",
        "it is so: light bends",
        "At 10:30 it is dark.",
        "https://example.org",
        "One thing: rings.",
        "*emphasis*: no",
        "A list of more than four words: no",
    ],
)
def test_a_line_that_names_nobody_belongs_to_its_turn(line: str) -> None:
    first, *others = ANSWER.split("\n")
    turns = parsed("\n".join([first, line, *others]))
    assert len(turns) == len(TURNS) and turns[0]["text"].endswith(f"\n{line}")


def test_words_that_name_nobody_do_so_however_often_they_come() -> None:
    assert parsed(ANSWER.replace("\nTom", "\nNote: a\nTom"))[0]["text"].endswith("\nNote: a")


def test_what_stands_before_the_first_turn_is_left_out_and_names_are_spelled_one_way() -> None:
    turns = parsed(f"# Lighthouses\n\nTwo friends meet.\n\n{ANSWER.replace('Maria: So', 'MARIA: So')}\n\n---\n")
    assert turns == PAYLOAD["turns"]


# --- gates


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(ANSWER, None, id="good"),
        pytest.param(said(*TURNS[:6]), None, id="six-turns"),
        pytest.param(said(*TURNS[:5]), "few_turns", id="five-turns"),
        pytest.param("Lighthouses warn ships.", "few_turns", id="prose"),
        pytest.param(ANSWER.replace("Tom:", "Maria:"), "speakers", id="one-speaker"),
        pytest.param(
            ANSWER + "\n" + said(("Ann", "It is."), ("Ben", "Is it?"), ("Ann", "Yes, it is."), ("Ben", "So it is.")),
            "speakers",
            id="four-speakers",
        ),
        pytest.param(ANSWER + "\n" + said(("Ann", "I see."), ("Ann", "How far is that?")), None, id="three-speakers"),
        pytest.param(ANSWER + "\nMaria:\nTom: Good.", "empty_turn", id="empty"),
        pytest.param(ANSWER + "\nMaria: ...", "empty_turn", id="only-dots"),
        pytest.param(ANSWER + "\nMaria: So most of it is WASTED, you mean", "repeated_turn", id="repeated"),
        pytest.param(
            said(*((("Maria", f"Fact {at} is true.")) for at in range(6)), ("Tom", "Really?"), ("Tom", "I see now.")),
            None,
            id="a-quarter-of-the-turns",
        ),
        pytest.param(
            said(*((("Maria", f"Fact {at} is true.")) for at in range(7)), ("Tom", "Really?"), ("Tom", "I see now.")),
            "unbalanced",
            id="too-few-turns",
        ),
        pytest.param(
            said(
                *(
                    pair
                    for at in range(4)
                    for pair in (("Maria", f"{at} " + "so it goes on and on " * 4), ("Tom", f"No {at}"))
                )
            ),
            "unbalanced",
            id="too-few-words",
        ),
        pytest.param(ANSWER.replace("Yes.", "As an AI, yes."), "machine_talk", id="machine"),
        pytest.param(ANSWER.replace("Yes.", "I’m a language model."), "machine_talk", id="model"),
        pytest.param(ANSWER.replace("Yes.", "The passage says yes."), "task_talk", id="passage"),
        pytest.param(ANSWER.replace("Yes.", "Thanks for your explanation."), None, id="an-explanation-is-no-task"),
        pytest.param(ANSWER.replace("Yes.", "The interval is [a, b]."), None, id="an-interval"),
        pytest.param(ANSWER.replace("Yes.", "It is (of course) *one* beam [1]."), None, id="brackets-and-emphasis"),
    ],
)
def test_gates(answer: str, expected: str | None) -> None:
    assert rule(answer) == expected


@pytest.mark.parametrize(
    "stage",
    [
        "[laughs]",
        "(smiling)",
        "*nods slowly*",
        "[he pauses for a moment]",
        "(looks at the sea)",
        "*sighs*",
        "[Silence]",
    ],
)
def test_stage_directions(stage: str) -> None:
    assert rule(ANSWER.replace("Yes.", f"{stage} Yes.")) == "stage_talk"
    assert rule(ANSWER.replace("\nTom: Yes.", f"\nTom {stage}: Yes.")) == "stage_talk"


def test_a_narrator_is_a_stage_direction() -> None:
    assert rule(ANSWER.replace("\nTom: Yes", "\n**Narrator**: They sit down.\nTom: Yes")) == "stage_talk"
    assert rule(f"Scene: a harbour\n{ANSWER}") == "stage_talk"


def test_what_the_source_says_may_be_said() -> None:
    assert rule(ANSWER.replace("Yes.", "The passage is narrow."), f"{PASSAGE} The passage is narrow.") is None


def test_defects_say_what_offends() -> None:
    draft = make(FakeAsk([ANSWER.replace("Yes.", "[laughs] Yes.")]))
    assert draft.defect is not None and draft.defect.evidence == "[laughs]" and "[laughs]" in draft.text
    few = make(FakeAsk([said(*TURNS[:2], *TURNS[:2])])).defect
    assert few is not None and (few.score, few.threshold) == (4.0, 6.0)


def test_a_repeated_instruction_is_an_echo() -> None:
    instruction = gap_dialogue.question(seed(), Options()).messages[0]["content"].split("\n\n")[1]
    assert rule(ANSWER.replace("Yes.", instruction)) == "prompt_echo"
    system = gap_dialogue.prompts().system.strip()
    assert rule(ANSWER.replace("Yes.", system)) == "prompt_echo"


@pytest.mark.parametrize("outcome", ["truncated_answer", "repetition", "refused", "tag_leak", "empty_answer"])
def test_an_answer_that_is_not_ok_keeps_its_text(outcome: Outcome) -> None:
    draft = make(FakeAsk([(outcome, "Maria: Why")]))
    assert draft.defect is not None and draft.defect.rule == outcome and draft.text == "Maria: Why"


def test_a_second_candidate_follows_a_bad_one() -> None:
    draft = make(FakeAsk(["Maria: Hello.", ANSWER]), Options(candidates=2))
    assert draft.defect is None and draft.ask_ids == ("ask-0", "ask-1")


def test_a_long_seed_gives_a_dialogue_for_each_part() -> None:
    text = f"{PASSAGE}\n{PASSAGE.replace('Pharos', 'tower')}"
    ask = FakeAsk([ANSWER, ANSWER])
    drafts = asyncio.run(gap_dialogue.generate(seed(text=text), ask, Options(segment_tokens=120)))
    ask.done()
    assert [draft.seed_span for draft in drafts] == [(0, len(PASSAGE)), (len(PASSAGE) + 1, len(text))]
    assert [one.messages[1]["content"] for one in ask.asked] == text.split("\n")


def test_claims_are_what_is_not_asked() -> None:
    claims = gap_dialogue.claims(make(FakeAsk([ANSWER])))
    assert "I thought glass only lets light through." in claims
    assert not any(claim.endswith("?") or claim.startswith(("Maria", "Tom")) for claim in claims)


# --- what is asked


def test_the_passage_is_the_whole_user_message_and_axes_follow_the_request() -> None:
    put = gap_dialogue.question(seed(text="A set {style} of {x}"), Options())
    axes = put.draft(completion(("refused", ""))).axes
    assert put.messages[1] == {"role": "user", "content": "A set {style} of {x}"}
    for axis in ("style", "opening"):
        assert gap_dialogue.prompts().axes[axis][axes[axis]] in put.messages[0]["content"]


def test_paraphrases_axes_and_layouts_are_all_used() -> None:
    options = Options(vary=None)
    drafts = [gap_dialogue.question(seed(str(at)), options).draft(completion(("refused", ""))) for at in range(SEEDS)]
    counts = Counter(draft.axes["instruction"] for draft in drafts)
    assert len(counts) == len(gap_dialogue.prompts().instructions) and max(counts.values()) <= SEEDS // 4
    for axis, values in gap_dialogue.prompts().axes.items():
        assert {draft.axes[axis] for draft in drafts} == set(values)
    assert {draft.axes["layout"] for draft in drafts} == set(LAYOUTS)
    assert gap_dialogue.question(seed(), options).messages == gap_dialogue.question(seed(), options).messages


def test_prompt_file_is_complete() -> None:
    prompts = gap_dialogue.prompts()
    assert len(prompts.instructions) == len(set(prompts.instructions)) >= 10
    assert all(len(re.findall(r"\w+", text)) >= ECHO_WORDS for text in prompts.instructions)
    assert len(prompts.criteria) == 4 and all(len(values) >= 4 for values in prompts.axes.values())
    assert not any("{" in text or "<|" in text for text in (prompts.system, *prompts.instructions))


# --- rendering


def test_layouts() -> None:
    two = {"turns": [{"speaker": "Ann", "text": "Why?\nHow?"}, {"speaker": "Ben", "text": "{so}"}]}
    texts = {layout: rendered(seed(), two, {"layout": layout})[0] for layout in LAYOUTS}
    assert texts == {
        "bold": "**Ann:** Why?\nHow?\n\n**Ben:** {so}",
        "bullets": "- Ann: Why?\nHow?\n- Ben: {so}",
        "dash": "Ann — Why?\nHow?\nBen — {so}",
        "lines": "Ann: Why?\nHow?\nBen: {so}",
        "spaced": "Ann: Why?\nHow?\n\nBen: {so}",
    }


NAMES = st.sampled_from(["Ann", "BEN", "Dr. Lee", "Student 2", "note", "Note", "narrator", "老师"])
LINES = st.one_of(
    st.builds(
        "{}{}{} {}".format,
        st.sampled_from(["", "- ", "1. ", "**"]),
        NAMES,
        st.sampled_from([":", ":**", " —", "："]),
        st.text(max_size=20),
    ),
    st.text(max_size=30),
    st.sampled_from(["---", "", "**Ann:**", "Ann:", "Ben: Ann: x", "Ann: - y", "Ann: ** z", "Ann: ---"]),
)


@given(st.lists(LINES, max_size=16).map("\n".join), st.sampled_from(sorted(LAYOUTS)))
def test_rendering_reads_back(answer: str, layout: str) -> None:
    turns = parsed(answer)
    text, parts = rendered(seed(), {"turns": turns}, {"layout": layout})
    assert parsed(text) == turns
    assert [(part.role, part.start_byte, part.end_byte) for part in parts] == (
        [("generated", 0, len(text.encode()))] if text else []
    )


@pytest.mark.parametrize(
    "unit",
    ["A: ", "a", "*", "(", "[a ", "A: b\n", "(a a ", "Ann — ", "**A", "- 1. ", "as an ", "narrator", " "],
)
@pytest.mark.parametrize("around", [lambda text: text, lambda text: f"{ANSWER}\n{text}"], ids=["alone", "after-turns"])
def test_hostile_answers_are_read_in_linear_time(unit: str, around: Callable[[str], str]) -> None:
    draft = make(FakeAsk([around(unit * (300_000 // len(unit)))]))
    assert draft.text.strip() or draft.defect


@given(st.text(max_size=300))
def test_any_answer_makes_a_draft(answer: str) -> None:
    assert make(FakeAsk([answer])).defect is not None
