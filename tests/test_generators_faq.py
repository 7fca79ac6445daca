"""faq: how many questions are asked for, which pairs are kept, and the text that is made of them."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from generators import faq, pairs
from generators.common import ECHO_WORDS
from generators.faq import HEADINGS, LAYOUTS, Options
from synth.ask import Outcome
from synth.config import parse
from synth.engine.scripted_text import conforming_value
from synth.errors import RecipeError
from synth.rows import Draft, Seed, part_text
from tests.fake_ask import Answer, FakeAsk, completion

PASSAGE = (
    "Lighthouses warn ships of rocks and of shallow water near the coast. The Pharos of Alexandria, finished about 280 BC, "
    "stood more than 100 metres high and was lit by an open fire at its top. In 1822 Augustin Fresnel built a lens of "
    "glass rings that bends the light into one strong beam, so that sailors can see it from over 30 kilometres away."
)
GOOD = {
    "q1": "What do lighthouses warn ships of?",
    "a1": "Lighthouses warn ships of rocks and of shallow water.",
    "q2": "How was the Pharos of Alexandria lit?",
    "a2": "The Pharos of Alexandria was lit by an open fire at its top.",
    "q3": "Why can sailors see the light of a Fresnel lens from far away?",
    "a3": "Its glass rings bend the light into one strong beam, which sailors see from over 30 kilometres.",
}
SEEDS = 500


def seed(identity: str = "seed-1", text: str = PASSAGE, source: str | None = None) -> Seed:
    return Seed(identity, identity, identity, 0, text, source=source)


def make(answers: Answer | list[Answer], options: Options | None = None, one: Seed | None = None) -> Draft:
    ask = FakeAsk(answers if isinstance(answers, list) else [answers])
    (draft,) = asyncio.run(faq.generate(one or seed(), ask, options or Options(max_pairs=3)))
    ask.done()
    return draft


def rule(draft: Draft) -> str | None:
    return draft.defect and draft.defect.rule


def request(one: Seed, sample: int = 0, options: Options | None = None) -> str:
    return faq.question(one, options or Options(vary=()), sample).messages[1]["content"].split("\n\n")[0]


def test_golden_text() -> None:
    """Changed on purpose? Raise faq.VERSION or RENDERER_VERSION."""
    draft = make(GOOD, one=seed(source="The Pharos"))
    assert draft.text == (
        "Questions about The Pharos\n\n"
        "Q: What do lighthouses warn ships of?\n"
        "A: Lighthouses warn ships of rocks and of shallow water.\n\n"
        "Q: How was the Pharos of Alexandria lit?\n"
        "A: The Pharos of Alexandria was lit by an open fire at its top.\n\n"
        "Q: Why can sailors see the light of a Fresnel lens from far away?\n"
        "A: Its glass rings bend the light into one strong beam, which sailors see from over 30 kilometres."
    )
    assert draft.payload == [
        {"level": level, "question": GOOD[f"q{at}"], "answer": GOOD[f"a{at}"], "fault": None}
        for at, level in enumerate(["basic", "middle", "advanced"], 1)
    ]
    assert draft.axes == {"instruction": "1", "audience": "travellers", "layout": "letters", "heading": "about"}
    assert draft.ask_ids == ("ask-0",) and draft.defect is None
    assert part_text(draft.text, draft.parts, "generated") == draft.text


# --- what is asked


def test_prompt_file_is_complete() -> None:
    prompts = faq.prompts()
    assert len(prompts.instructions) == len(set(prompts.instructions)) >= 10
    assert all(len(re.findall(r"\w+", text)) >= ECHO_WORDS for text in prompts.instructions)
    assert all(len(values) >= 4 for values in prompts.axes.values()) and len(prompts.criteria) == 4
    assert set(prompts.openers) == {"basic", "middle", "advanced"}
    assert not any("{" in text or "<|" in text for text in (prompts.system, *prompts.instructions))


def test_every_paraphrase_is_used_and_none_prevails() -> None:
    counts = Counter(request(seed(str(at))) for at in range(SEEDS))
    assert set(counts) == set(faq.prompts().instructions) and max(counts.values()) <= SEEDS // 4


def test_axes_that_vary_are_in_the_request() -> None:
    words = request(seed(), options=Options(vary=None))
    for values in faq.prompts().axes.values():
        assert sum(f" {one}" in words for one in values.values()) == 1
    assert set(make(GOOD, Options(vary=None, max_pairs=3)).axes) == {
        *("instruction", "layout", "heading"),
        *faq.prompts().axes,
    }


@pytest.mark.parametrize("number", range(len(faq.prompts().instructions)))
def test_every_instruction_in_an_answer_is_an_echo(number: int) -> None:
    wording = faq.prompts().instructions[number]
    one = next(seed(str(at)) for at in range(1000) if request(seed(str(at))) == wording)
    assert rule(make({**GOOD, "a2": f"{wording} It was lit."}, Options(vary=(), max_pairs=3), one)) == "prompt_echo"


@pytest.mark.parametrize(
    ("words", "options", "expected"),
    [
        pytest.param(20, Options(), "basic middle advanced", id="never-below-the-least"),
        pytest.param(130, Options(), "basic basic middle middle advanced", id="one-per-25-words"),
        pytest.param(900, Options(), "basic basic middle middle advanced advanced", id="six"),
        pytest.param(900, Options(min_pairs=1, max_pairs=1), "basic", id="one"),
        pytest.param(20, Options(min_pairs=2), "basic middle", id="two"),
    ],
)
def test_questions_asked_for_follow_the_passage(words: int, options: Options, expected: str) -> None:
    assert faq.levels(seed(text="word " * words), options) == expected.split()


def test_bounds_have_to_agree() -> None:
    with pytest.raises(RecipeError, match="max_pairs"):
        parse(Options, {"min_pairs": 4, "max_pairs": 3})


@pytest.mark.parametrize(
    ("slot", "value", "fits"),
    [
        pytest.param("q1", "What is a Fresnel lens?", True, id="good"),
        pytest.param("q1", "Why is there a lens?", False, id="another-level"),
        pytest.param("q3", "Why is there a lens?", True, id="advanced"),
        pytest.param("q3", "Whyever is there a lens?", False, id="opener-goes-on"),
        pytest.param("q1", "What is a Fresnel lens", False, id="no-mark"),
        pytest.param("q1", "What is\na Fresnel lens?", False, id="line-break"),
        pytest.param("a1", "A lens.", False, id="short-answer"),
        pytest.param("a1", "x" * 302, False, id="endless-answer"),
        pytest.param("a1", 'A "lens" of several glass rings.', False, id="quotes"),
    ],
)
def test_the_schema(slot: str, value: str, fits: bool) -> None:
    schema = faq.question(seed(), Options(max_pairs=3)).schema
    assert schema is not None
    Draft202012Validator.check_schema(dict(schema))
    assert Draft202012Validator(schema).is_valid({**GOOD, slot: value}) is fits
    assert Draft202012Validator(schema).is_valid(GOOD)


def test_the_scripted_server_can_fill_the_schema() -> None:
    schema = faq.question(seed(), Options()).schema
    assert schema is not None
    value = conforming_value(schema, "key", lambda draws, name: "text", ["lens", "light"])
    assert Draft202012Validator(schema).is_valid(value)


def test_options_reach_the_ask_and_accept_is_the_cheap_check() -> None:
    ask = FakeAsk([GOOD])
    asyncio.run(faq.generate(seed(), ask, Options(max_pairs=3)))
    (asked,) = ask.asked
    assert (asked.max_tokens, asked.temperature, asked.top_p) == (1536, 0.6, 0.95)
    assert asked.accept is not None
    assert asked.accept(completion(GOOD)) and not asked.accept(completion({**GOOD, "a1": GOOD["q1"]}))


# --- which pairs are kept


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        pytest.param("Lighthouses warn ships of rocks, as mentioned above.", "cross_reference", id="mentioned-above"),
        pytest.param("Lighthouses warn ships of rocks, as described earlier.", "cross_reference", id="earlier"),
        pytest.param("As stated, lighthouses warn ships of rocks.", "cross_reference", id="as-stated"),
        pytest.param("As we have already explained, they warn ships of rocks.", "cross_reference", id="we-have"),
        pytest.param("See the previous question about rocks near the coast.", "cross_reference", id="previous"),
        pytest.param("Rocks near the coast (see above).", "cross_reference", id="see-above"),
        pytest.param("Rocks near the coast, see below.", "cross_reference", id="see-below"),
        pytest.param("The aforementioned rocks near the coast.", "cross_reference", id="aforementioned"),
        pytest.param("Rocks near the coast, which were mentioned before.", "cross_reference", id="before"),
        pytest.param("Rocks that stand above the water near the coast.", None, id="above-the-water"),
        pytest.param("Rocks near the coast, as shown by the light.", None, id="as-shown-by"),
        pytest.param("Rocks that were seen before the light was lit.", None, id="before-something"),
        pytest.param("See question 2 about rocks near the coast.", "cross_reference", id="question-2"),
        pytest.param("It warned them of icebergs and of enemy submarines.", "not_in_passage", id="invented"),
        pytest.param("Lighthouses do warn the ships of what?", "says_nothing", id="nothing"),
    ],
)
def test_faults(answer: str, fault: str | None) -> None:
    pair = {"question": GOOD["q1"], "answer": answer}
    assert faq.judged([pair], PASSAGE)[0]["fault"] == fault


@pytest.mark.parametrize(
    "text", ["question 2", "the answer above", "the following question", "answer no. 3", "explained in the next part"]
)
def test_pointers_to_other_questions(text: str) -> None:
    assert faq.is_cross_reference(f"Rocks, see {text}.", PASSAGE)
    assert not faq.is_cross_reference(f"Rocks, see {text}.", f"A book says: see {text}, please.")


def test_an_answer_that_was_cut_ends_with_its_last_sentence() -> None:
    long = f"Lighthouses warn ships of rocks. They warn them {'of shallow water ' * 20}"
    judged = faq.judged([{"question": GOOD["q1"], "answer": long[: faq.ANSWER_CHARS + 1]}], PASSAGE)
    assert judged[0]["answer"] == "Lighthouses warn ships of rocks." and judged[0]["fault"] is None


def test_too_few_good_pairs_are_a_defect_that_says_why() -> None:
    draft = make({**GOOD, "a2": "It was lit by 500 lamps.", "a3": GOOD["a1"]})
    assert draft.defect is not None and draft.defect.rule == "no_pairs"
    assert (draft.defect.score, draft.defect.threshold) == (1.0, 3.0)
    assert draft.defect.reason == "only 1 usable question-answer pairs: 1 not_in_passage, 1 repeated"
    assert GOOD["q1"] in draft.text and set(draft.axes) >= {"layout", "heading"}


def test_the_recipe_may_want_fewer_pairs() -> None:
    options = Options(min_pairs=2, max_pairs=3)
    draft = make({**GOOD, "a2": "It was lit by 500 lamps."}, options, seed(text=f"{PASSAGE} {PASSAGE}"))
    assert draft.defect is None and "500" not in draft.text and len(draft.payload) == 3
    assert faq.claims(draft) == [f"{GOOD['q1']} {GOOD['a1']}", f"{GOOD['q3']} {GOOD['a3']}"]


@pytest.mark.parametrize("outcome", ["truncated_answer", "wrong_schema", "refused", "repetition"])
def test_an_answer_that_is_not_ok_keeps_its_text(outcome: Outcome) -> None:
    draft = make((outcome, '{"q1": "Who'))
    assert rule(draft) == outcome and draft.text == '{"q1": "Who' and draft.payload is None


# --- candidates, checks, long seeds


def test_a_second_candidate_is_asked_for_after_a_defect() -> None:
    draft = make([("refused", "No."), GOOD], Options(candidates=2, max_pairs=3))
    assert draft.defect is None and draft.ask_ids == ("ask-0", "ask-1")


def test_a_pair_that_fails_its_round_trip_is_left_out_or_drops_the_document() -> None:
    answers: list[Answer] = [GOOD, GOOD["a1"], "By many electric lamps.", GOOD["a3"]]
    left = make(
        answers, Options(min_pairs=2, max_pairs=3, verify={"round_trip_source": "drop"}), seed(text=PASSAGE * 2)
    )
    assert left.defect is None and "open fire" not in left.text and GOOD["a3"] in left.text
    assert [finding.outcome for finding in left.findings] == ["passed", "failed", "passed"]
    dropped = make(answers, Options(max_pairs=3, verify={"round_trip_source": "drop"}))
    assert rule(dropped) == "no_pairs" and GOOD["a1"] in dropped.text
    labelled = make(answers, Options(max_pairs=3, verify={"round_trip_source": "label"}))
    assert labelled.defect is None and "open fire" in labelled.text


def test_a_long_seed_gives_a_document_for_each_part() -> None:
    text = f"{PASSAGE}\n{PASSAGE}"
    ask = FakeAsk([GOOD, GOOD])
    drafts = asyncio.run(faq.generate(seed(text=text), ask, Options(max_pairs=3, segment_tokens=120)))
    ask.done()
    assert [draft.defect for draft in drafts] == [None, None]
    assert [draft.seed_span for draft in drafts] == [(0, len(PASSAGE)), (len(PASSAGE) + 1, len(text))]


# --- the text


def read(text: str, layout: str) -> list[tuple[str, str]]:
    """The pairs of a text in this layout: a plain reader to compare with."""
    item = re.escape(LAYOUTS[layout][0]).replace(r"\{question\}", "(.+)").replace(r"\{answer\}", "(.+)")
    return re.findall(item.replace(r"\{number\}", r"\d+").replace("\\\n", "\n"), text)


WORDS = st.lists(st.sampled_from(["Q", "a{b}", "**c**", "#", "1.", "ä", "d:", "%s", "\\1"]), min_size=1, max_size=6)
PAIR = st.builds(
    lambda asked, said, fault: {"question": f"W {' '.join(asked)}?", "answer": f"A {' '.join(said)}", "fault": fault},
    WORDS,
    WORDS,
    st.sampled_from([None, None, "empty"]),
)


@given(st.lists(PAIR, max_size=6), st.sampled_from(sorted(LAYOUTS)), st.sampled_from(sorted(HEADINGS)))
@settings(max_examples=200, deadline=None)
def test_what_is_rendered_can_be_read_again(judged: Sequence[dict[str, Any]], layout: str, heading: str) -> None:
    draft = faq.rendered(seed(source="Pharos"), judged, {"layout": layout, "heading": heading})
    body = draft.text.split("\n\n", 1)[1] if heading != "none" else draft.text
    assert read(body, layout) == [(pair["question"], pair["answer"]) for pair in pairs.kept(judged)]
    assert part_text(draft.text, draft.parts, "generated") == draft.text and draft.payload == judged


def test_every_layout_and_heading_is_used() -> None:
    drafts = [make(GOOD, one=seed(str(at))) for at in range(150)]
    assert {draft.axes["layout"] for draft in drafts} == set(LAYOUTS)
    assert {draft.axes["heading"] for draft in drafts} == set(HEADINGS)


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        pytest.param("none", "Pharos", "", id="none"),
        pytest.param("full", None, "Frequently asked questions", id="words"),
        pytest.param("title", "Pharos", "Pharos", id="title"),
        pytest.param("about", "pharos  of\nAlexandria", "Questions about pharos of Alexandria", id="about"),
        pytest.param("about", "a/b.html", "", id="title-from-elsewhere"),
        pytest.param("title", None, "", id="no-title"),
    ],
)
def test_headings(name: str, source: str | None, expected: str) -> None:
    assert faq.heading(seed(source=source), name) == expected
    draft = faq.rendered(
        seed(source=source), [{"question": "Q?", "answer": "A.", "fault": None}], {"layout": "bold", "heading": name}
    )
    assert draft.text == (f"## {expected}\n\n" if expected else "") + "**Q?**\n\nA."


@pytest.mark.parametrize(
    "hostile",
    ["as " * 30_000, "question " * 10_000, "<b>" * 30_000, "```\n" * 20_000, "see above" * 10_000, " " * 100_000],
    ids=["as", "question", "html", "fences", "see", "spaces"],
)
def test_hostile_answers_make_a_draft(hostile: str) -> None:
    assert make({**GOOD, "a1": hostile, "q2": hostile}).ask_ids == ("ask-0",)
