"""diverse_qa: what is asked, which pairs are kept, and the text that is made of them."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from generators import diverse_qa, pairs
from generators.common import ECHO_WORDS
from generators.diverse_qa import ANSWER_CHARS, Kind, Options
from generators.pairs import LAYOUTS
from synth.ask import Message, Outcome
from synth.rows import Draft, Seed, part_text
from tests.fake_ask import FakeAsk, completion

PASSAGE = (
    "Lighthouses warn ships of rocks and of shallow water near the coast. The Pharos of Alexandria, finished about 280 BC, "
    "stood more than 100 metres high and was lit by an open fire at its top. In 1822 Augustin Fresnel built a lens of "
    "glass rings that bends the light into one strong beam, so that sailors can see it from over 30 kilometres away."
)
SEEDS = 500
PLAIN: tuple[Kind, ...] = ("what", "who_when_where", "how_many", "how", "why", "which")


def seed(identity: str = "seed-1", text: str = PASSAGE) -> Seed:
    return Seed(identity, identity, identity, 0, text)


def messages(one: Seed, sample: int = 0) -> Sequence[Message]:
    return diverse_qa.question(one, Options(), sample).messages


def make(ask: FakeAsk, options: Options | None = None, one: Seed | None = None) -> Draft:
    (draft,) = asyncio.run(diverse_qa.generate(one or seed(), ask, options or Options()))
    ask.done()
    return draft


GOOD = {
    "q1": "Who built a lens of glass rings?",
    "a1": "Augustin Fresnel built it in 1822.",
    "q2": "Which fire lit the Pharos of Alexandria?",
    "a2": "An open fire at its top.",
}


def test_golden_text() -> None:
    """Changed on purpose? Raise diverse_qa.VERSION."""
    draft = make(FakeAsk([GOOD]), Options(kinds=PLAIN, max_pairs=2))
    assert draft.text == (
        f"{PASSAGE}\n\n"
        "1. Who built a lens of glass rings?\n   Augustin Fresnel built it in 1822.\n"
        "2. Which fire lit the Pharos of Alexandria?\n   An open fire at its top."
    )
    assert draft.payload == [
        {"kind": "who_when_where", "question": GOOD["q1"], "answer": GOOD["a1"], "fault": None},
        {"kind": "which", "question": GOOD["q2"], "answer": GOOD["a2"], "fault": None},
    ]
    assert (
        draft.axes == {"instruction": "7", "layout": "numbered"}
        and draft.ask_ids == ("ask-0",)
        and draft.defect is None
    )


def test_parts_are_the_exact_bytes_of_source_and_pairs() -> None:
    text = PASSAGE.replace("Augustin", "Augustin Jéan “Gus”") + "\n\n"
    answer = {**GOOD, "a1": "Augustin Jéan Fresnel built it in 1822."}
    draft = make(FakeAsk([answer]), Options(kinds=PLAIN, max_pairs=2), seed(text=text))
    raw = draft.text.encode()
    pieces = [(part.role, raw[part.start_byte : part.end_byte].decode()) for part in draft.parts]
    assert pieces[0] == ("source", text.rstrip())
    assert pieces[1][0] == "generated" and pieces[1][1].startswith("\n\n") and "Jéan Fresnel built" in pieces[1][1]
    assert "".join(piece for _, piece in pieces) == draft.text


# --- what is asked


def test_the_same_seed_asks_the_same_and_another_sample_asks_anew() -> None:
    assert messages(seed()) == messages(seed())
    texts = {messages(seed(), sample)[1]["content"] for sample in range(20)}
    assert len(texts) > 5


def test_every_paraphrase_is_used_and_none_prevails() -> None:
    asked = [messages(seed(str(at)))[1]["content"].split("\n\n")[0] for at in range(SEEDS)]
    counts = Counter(asked)
    assert set(counts) == set(diverse_qa.prompts().instructions)
    assert max(counts.values()) <= SEEDS // 4


def test_what_is_constant_comes_first_and_the_passage_last() -> None:
    one, other = messages(seed("1")), messages(seed("2", "Another passage."))
    assert one[0] == other[0] and one[0]["role"] == "system"
    assert one[1]["content"].endswith(f'"""\n{PASSAGE}\n"""')


def test_prompt_file_is_complete() -> None:
    prompts = diverse_qa.prompts()
    assert len(prompts.instructions) == len(set(prompts.instructions)) >= 8
    assert all(len(re.findall(r"\w+", text)) >= ECHO_WORDS for text in prompts.instructions)
    assert set(prompts.anchored_openers) <= set(prompts.openers)
    assert not any("{" in text or "<|" in text for text in (prompts.system, *prompts.instructions))


@pytest.mark.parametrize(
    ("words", "max_pairs", "expected"),
    [
        pytest.param(3, 8, 1, id="topic"),
        pytest.param(60, 8, 2, id="one-pair-per-25-words"),
        pytest.param(150, 3, 3, id="as-many-as-allowed"),
        pytest.param(1000, 20, 20, id="kinds-come-again"),
    ],
)
def test_pairs_asked_for_follow_the_passage(words: int, max_pairs: int, expected: int) -> None:
    kinds = diverse_qa.question_kinds(seed(text="word " * words), Options(max_pairs=max_pairs))
    known = len(diverse_qa.prompts().openers)
    assert len(kinds) == expected
    assert len(set(kinds)) == min(expected, known) and len(set(kinds[:known])) == len(kinds[:known])


def test_every_kind_comes_first_for_some_seed() -> None:
    first = {diverse_qa.question_kinds(seed(str(at)), Options())[0] for at in range(100)}
    assert first == set(diverse_qa.prompts().openers)


def _fits(schema: Mapping[str, Any], question: str, answer: str) -> bool:
    Draft202012Validator.check_schema(dict(schema))
    return Draft202012Validator(schema).is_valid({"q1": question, "a1": answer})


@pytest.mark.parametrize(
    ("question", "answer", "fits"),
    [
        pytest.param("Why do lighthouses stand near rocks?", "To warn ships.", True, id="good"),
        pytest.param("Lighthouses warn ships of rocks.", "To warn ships.", False, id="a-sentence-instead"),
        pytest.param("How high was the Pharos?", "Over 100 metres.", False, id="another-kind"),
        pytest.param("Why?", "To warn ships.", False, id="opener-alone"),
        pytest.param("Why do they " + "x" * 100 + "?", "To warn ships.", False, id="endless-question"),
        pytest.param("Why do lighthouses stand near rocks?", "x" * (ANSWER_CHARS + 2), False, id="endless-answer"),
        pytest.param("Why do lighthouses stand near rocks?", "", False, id="no-answer"),
        pytest.param("Why do lighthouses\nstand near rocks?", "To warn ships.", False, id="line-break"),
    ],
)
def test_the_schema_allows_questions_of_its_kind_only(question: str, answer: str, fits: bool) -> None:
    assert _fits(diverse_qa.schema(["why"]), question, answer) is fits


@pytest.mark.parametrize(
    ("question", "fits"),
    [
        pytest.param("What is the lens that Fresnel built?", True, id="article-and-word"),
        pytest.param("What does Fresnel do?", True, id="name"),
        pytest.param("What is the answer to the question?", False, id="word-from-elsewhere"),
        pytest.param("What is a lens?", True, id="word-at-the-end"),
        pytest.param("What is Fresnel's lens?", True, id="possessive"),
        pytest.param("What is a lensmaker in a tower?", False, id="word-goes-on"),
        pytest.param("What lens did Fresnel build?", False, id="no-verb-after-opener"),
        pytest.param("What is with the light?", False, id="function-word"),
    ],
)
def test_an_anchored_question_names_a_word_of_the_passage(question: str, fits: bool) -> None:
    assert _fits(diverse_qa.schema(["what"], PASSAGE), question, "A lens.") is fits


def test_anchors_are_plain_words_said_once() -> None:
    found = diverse_qa.anchors('Ships (a+b) ships. The "Pharos" and Fréjus: with water, Water. rocks2 near')
    assert found == ["ships", "Pharos", "water", "near"]


def test_a_passage_without_anchors_is_asked_freely() -> None:
    assert diverse_qa.schema(["what"], "灯台は船に警告する。") == diverse_qa.schema(["what"])


def test_options_reach_the_ask_and_the_schema_comes_with_it() -> None:
    ask = FakeAsk([GOOD])
    make(ask, Options(kinds=PLAIN, max_pairs=2, max_tokens=77, temperature=0.25, top_p=0.75))
    (asked,) = ask.asked
    assert (asked.max_tokens, asked.temperature, asked.top_p, asked.sample_index) == (77, 0.25, 0.75, 0)
    assert asked.schema == diverse_qa.schema(["who_when_where", "which"])


def test_a_second_try_asks_another_way_and_both_are_named() -> None:
    ask = FakeAsk([("refused", "I cannot."), GOOD])
    draft = make(ask, Options(kinds=PLAIN, max_pairs=2, candidates=2))
    assert draft.defect is None and draft.ask_ids == ("ask-0", "ask-1")
    assert [asked.sample_index for asked in ask.asked] == [0, 1]


def test_accept_is_the_cheap_check() -> None:
    ask = FakeAsk([GOOD])
    make(ask, Options(kinds=PLAIN, max_pairs=2))
    accept = ask.asked[0].accept
    assert accept is not None
    useless = {**GOOD, "a1": GOOD["q1"], "a2": GOOD["q2"]}
    assert accept(completion(GOOD)) and not accept(completion(useless)) and not accept(completion(("refused", "No.")))


# --- which pairs are kept


@pytest.mark.parametrize(
    ("question", "answer", "fault"),
    [
        pytest.param("Who built a lens of glass rings?", "Augustin Fresnel built it in 1822.", None, id="good"),
        pytest.param("Is a Fresnel lens made of glass?", "Yes.", None, id="yes"),
        pytest.param("Is a Fresnel lens made of rocks?", "No.", None, id="no"),
        pytest.param("When was the Pharos finished?", "About 280 BC.", None, id="number-of-the-passage"),
        pytest.param("Who built a lens?", "  ", "empty", id="blank-answer"),
        pytest.param("  ?", "Augustin Fresnel.", "empty", id="blank-question"),
        pytest.param("Why 280?", "The Pharos was finished.", "few_words", id="too-few-words"),
        pytest.param("What is 1822 + 280 / 30?", "Fresnel.", "few_words", id="a-sum"),
        pytest.param("Who built a lens?", "Who built a lens?", "answer_is_question", id="the-question-again"),
        pytest.param("Who built a lens?", "Who built a lens: Fresnel.", "answer_is_question", id="question-and-more"),
        pytest.param("Who built the lens of glass?", "The lens of glass was built.", "says_nothing", id="nothing-new"),
        pytest.param("Who built a lens?", "Fresnel Fresnel Fresnel light Fresnel", "repeats_itself", id="loop"),
        pytest.param("What does the passage say of ships?", "They are warned.", "about_the_task", id="passage"),
        pytest.param("Who built a lens?", "The answer is Augustin Fresnel.", "about_the_task", id="answer"),
        pytest.param("Who built a lens?", "It was Thomas Edison with Nikola Tesla.", "not_in_passage", id="invented"),
        pytest.param("When was the lens built?", "Fresnel built it in 1823.", "not_in_passage", id="wrong-year"),
        pytest.param("Who invented quantum computing machines?", "Fresnel.", "not_in_passage", id="other-subject"),
    ],
)
def test_pairs_with_a_fault_are_named(question: str, answer: str, fault: str | None) -> None:
    assert pairs.pair_fault(question, answer, PASSAGE) == fault


def test_a_passage_about_questions_may_be_asked_about_them() -> None:
    passage = "A question mark ends a question. It was first printed in the sixteenth century."
    assert pairs.pair_fault("What ends a question?", "A mark at its end.", passage) is None


LONG = "x" * ANSWER_CHARS


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param("An open fire", "An open fire", id="short-phrase"),
        pytest.param("  An open\tfire. ", "An open fire.", id="white-space"),
        pytest.param("Answer: An open fire.", "An open fire.", id="label"),
        pytest.param("The correct answer is: 280 BC", "280 BC", id="label-with-verb"),
        pytest.param("The answer to the second one is: fire", "fire", id="label-with-object"),
        pytest.param(f"It warned ships. It was {LONG}", "It warned ships.", id="cut-after-a-sentence"),
        pytest.param(
            f"It was lit by an open fire, which {LONG}", "It was lit by an open fire.", id="cut-after-a-clause"
        ),
        pytest.param(f"In 1822, it {LONG}", "", id="clause-too-short"),
        pytest.param(LONG + "y", "", id="cut-within-a-word"),
        pytest.param(f"{LONG} end.", f"{LONG} end.", id="full-but-whole"),
        pytest.param("Fire, light, glass,", "", id="ends-with-a-comma"),
        pytest.param("It bends 10.5 percent of 1,500 rays", "It bends 10.5 percent of 1,500 rays", id="numbers"),
    ],
)
def test_answers_are_tidied(answer: str, expected: str) -> None:
    assert pairs.tidy_answer(answer, ANSWER_CHARS) == expected


def _kept(*said: tuple[str, str]) -> tuple[list[str], dict[str, int]]:
    given = [{"kind": "what", "question": question, "answer": answer} for question, answer in said]
    found = pairs.judged(given, PASSAGE)
    faults = Counter(pair["fault"] for pair in found if pair["fault"])
    return [pair["question"] for pair in pairs.kept(found)], dict(faults)


def test_a_question_is_kept_once() -> None:
    again = _kept(
        ("Who built a lens of glass?", "Augustin Fresnel."),
        ("Who built a lens  of GLASS ?", "It was Fresnel in 1822."),
    )
    assert again == (["Who built a lens of glass?"], {"repeated": 1})


def test_a_long_answer_is_kept_once_and_a_short_one_may_come_again() -> None:
    assert _kept(
        ("Who built a lens of glass?", "Augustin Fresnel built the rings in 1822."),
        ("When was the lens built?", "Augustin Fresnel built the rings in 1822."),
        ("Is a lens made of glass?", "Yes."),
        ("Was the Pharos lit by fire?", "Yes."),
    ) == (["Who built a lens of glass?", "Is a lens made of glass?", "Was the Pharos lit by fire?"], {"repeated": 1})


def test_the_first_good_one_of_two_equal_questions_is_kept() -> None:
    kept, faults = _kept(
        ("Who built a lens of glass?", "Edison with Tesla."), ("Who built a lens of glass?", "Fresnel.")
    )
    assert kept == ["Who built a lens of glass?"] and faults == {"not_in_passage": 1}


def test_without_a_usable_pair_the_draft_says_what_was_wrong() -> None:
    answer = {"q1": GOOD["q1"], "a1": GOOD["q1"], "q2": GOOD["q2"], "a2": "It was lit by 500 lamps."}
    draft = make(FakeAsk([answer]), Options(kinds=PLAIN, max_pairs=2))
    assert draft.defect is not None and draft.defect.rule == "no_pairs"
    assert draft.defect.reason.endswith("1 answer_is_question, 1 not_in_passage")
    assert GOOD["q1"] in draft.text and [part.role for part in draft.parts] == ["generated"]


def test_the_payload_holds_every_pair_and_the_text_the_usable_ones() -> None:
    draft = make(FakeAsk([{**GOOD, "a2": "It was lit by 500 lamps."}]), Options(kinds=PLAIN, max_pairs=2))
    assert [pair["answer"] for pair in draft.payload] == [GOOD["a1"], "It was lit by 500 lamps."]
    assert "500" not in part_text(draft.text, draft.parts, "generated")


def test_an_instruction_in_an_answer_is_an_echo() -> None:
    instruction = messages(seed())[1]["content"].split("\n\n")[0]
    draft = make(FakeAsk([{**GOOD, "a1": f"{instruction} Fresnel."}]), Options(kinds=PLAIN, max_pairs=2))
    assert draft.defect is not None and draft.defect.rule == "prompt_echo"


@pytest.mark.parametrize("outcome", ["truncated_answer", "wrong_schema", "refused", "repetition", "empty_answer"])
def test_an_answer_that_is_not_ok_keeps_its_text(outcome: Outcome) -> None:
    draft = make(FakeAsk([(outcome, '{"q1": "Who')]))
    assert draft.defect is not None and draft.defect.rule == outcome
    assert draft.text == '{"q1": "Who' and draft.payload is None and draft.ask_ids == ("ask-0",)


# --- the text


def test_every_layout_is_used_and_shows_both_pairs() -> None:
    drafts = [make(FakeAsk([GOOD]), Options(kinds=PLAIN, max_pairs=2), seed(str(at))) for at in range(200)]
    assert {draft.axes["layout"] for draft in drafts} == set(LAYOUTS)
    for draft, word in product(drafts, GOOD.values()):
        assert part_text(draft.text, draft.parts, "generated").count(word) == 1


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        pytest.param("answer_below", "Q one?\nA{1}\n\nQ two?\nA2", id="answer_below"),
        pytest.param("bold", "**Q one?**\nA{1}\n\n**Q two?**\nA2", id="bold"),
        pytest.param("letters", "Q: Q one?\nA: A{1}\n\nQ: Q two?\nA: A2", id="letters"),
        pytest.param("numbered", "1. Q one?\n   A{1}\n2. Q two?\n   A2", id="numbered"),
        pytest.param("one_line", "Q one? A{1}\nQ two? A2", id="one_line"),
        pytest.param("words", "Question: Q one?\nAnswer: A{1}\n\nQuestion: Q two?\nAnswer: A2", id="words"),
    ],
)
def test_layouts(layout: str, expected: str) -> None:
    given = [{"question": "Q one?", "answer": "A{1}"}, {"question": "Q two?", "answer": "A2"}]
    assert pairs.render(given, layout) == expected


def test_golden_request() -> None:
    """Changed on purpose? The prompts' digest makes the change known by itself: put the new text here."""
    assert [message["content"] for message in messages(seed())] == [
        "You are a helpful teacher. You write quiz questions and short answers about a passage.",
        f'Ask about people, things, causes and events in this passage, and give short answers.\n\n"""\n{PASSAGE}\n"""',
    ]


# --- kinds with answers of a fixed form


CHOICE = {
    "q1": "Which man built a lens of glass rings?",
    "o1a": "Thomas Edison",
    "o1b": "Augustin Fresnel",
    "o1c": "The Pharos",
    "o1d": "A sailor",
    "a1": "B",
}


def _choice(answer: Mapping[str, str] = CHOICE, identity: str = "seed-1") -> Draft:
    return make(FakeAsk([answer]), Options(kinds=("multiple_choice",), max_pairs=1), seed(identity))


def test_options_are_shuffled_by_us_and_the_key_follows_them() -> None:
    shown = Counter()
    for at in range(200):
        draft = _choice(identity=str(at))
        (pair,) = draft.payload
        assert pair["correct"] == 1 and pair["answer"] == "Augustin Fresnel" and pair["fault"] is None
        letter = "ABCD"[pair["shown"]]
        said = part_text(draft.text, draft.parts, "generated")
        assert said.count(f"{letter}) Augustin Fresnel") == 2, "as an option, and as the answer"
        assert all(said.count(CHOICE[f"o1{other}"]) == 1 for other in "acd")
        shown[pair["shown"]] += 1
    assert set(shown) == {0, 1, 2, 3} and min(shown.values()) >= 25


def test_options_that_are_alike_are_a_fault() -> None:
    draft = _choice({**CHOICE, "o1c": "augustin  fresnel."})
    assert draft.defect is not None and "options_alike" in draft.defect.reason


@pytest.mark.parametrize(
    ("kind", "answer", "fits"),
    [
        pytest.param("yes_no", {"q1": "Is the lens made of glass?", "a1": "Yes, of glass rings."}, True, id="yes"),
        pytest.param("yes_no", {"q1": "Is the lens made of glass?", "a1": "It is."}, False, id="neither"),
        pytest.param("multiple_choice", CHOICE, True, id="choice"),
        pytest.param("multiple_choice", {**CHOICE, "a1": "E"}, False, id="no-such-option"),
        pytest.param("multiple_choice", {**CHOICE, "o1d": ""}, False, id="empty-option"),
    ],
)
def test_answers_of_a_fixed_form(kind: str, answer: Mapping[str, str], fits: bool) -> None:
    schema = diverse_qa.schema([kind])
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(dict(answer)) is fits


def test_kinds_can_be_chosen() -> None:
    assert set(diverse_qa.question_kinds(seed(text="word " * 200), Options(kinds=("why", "how")))) == {"why", "how"}


def test_of_a_long_seed_each_part_has_its_own_document() -> None:
    text = "\n".join(PASSAGE for _ in range(4))
    ask = FakeAsk([GOOD] * 4)
    options = Options(kinds=PLAIN, max_pairs=2, segment_tokens=110)
    drafts = asyncio.run(diverse_qa.generate(seed(text=text), ask, options))
    ask.done()
    spans = [draft.seed_span for draft in drafts]
    raw = text.encode()
    assert [raw[span[0] : span[1]].decode() for span in spans if span] == [PASSAGE] * 4
    assert all(draft.text.startswith(PASSAGE) for draft in drafts)


def test_a_seed_of_some_words_is_not_asked_about() -> None:
    (draft,) = asyncio.run(diverse_qa.generate(seed(text="Too short."), FakeAsk([]), Options()))
    assert draft.defect is not None and draft.defect.rule == "seed_too_short" and draft.ask_ids == ()


def test_a_pair_that_the_verifier_answers_otherwise_is_left_out() -> None:
    ask = FakeAsk([GOOD, "Augustin Fresnel, in 1822.", "The sun."])
    draft = make(ask, Options(kinds=PLAIN, max_pairs=2, verify={"round_trip_source": "drop"}))
    said = part_text(draft.text, draft.parts, "generated")
    assert GOOD["q1"] in said and GOOD["q2"] not in said and draft.defect is None
    assert [pair["fault"] for pair in draft.payload] == [None, "round_trip_source"]
    assert [(one.outcome, one.ask_id) for one in draft.findings] == [("passed", "ask-1"), ("failed", "ask-2")]
    assert draft.ask_ids == ("ask-1", "ask-2", "ask-0"), "all that was paid for; the text rests on the last"
    assert [asked.role for asked in ask.asked] == ["writer", "verifier", "verifier"]


def test_a_label_leaves_the_pair_where_it_is() -> None:
    ask = FakeAsk([GOOD, "Augustin Fresnel, in 1822.", "The sun."])
    draft = make(ask, Options(kinds=PLAIN, max_pairs=2, verify={"round_trip_source": "label"}))
    assert GOOD["q2"] in draft.text and [one.outcome for one in draft.findings] == ["passed", "failed"]


def test_without_a_pair_that_holds_there_is_no_document() -> None:
    ask = FakeAsk([GOOD, "The sun.", "The sun."])
    draft = make(ask, Options(kinds=PLAIN, max_pairs=2, verify={"round_trip_source": "drop"}))
    assert draft.defect is not None and draft.defect.rule == "no_pairs"
    assert "2 round_trip_source" in draft.defect.reason


def test_from_nothing_the_verifier_does_not_see_the_passage() -> None:
    ask = FakeAsk([GOOD, "I do not know.", "Fire."])
    make(ask, Options(kinds=PLAIN, max_pairs=2, verify={"round_trip_alone": "label"}))
    assert all("Lighthouses" not in str(asked.messages) for asked in ask.asked[1:])
