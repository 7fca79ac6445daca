"""Candidates, selectors, revision, the judge, long seeds: what is asked, what becomes the document, what is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from generators import distill
from generators.pairs import PairOptions
from generators.verify import judge
from generators.writing import CONTEXT_TOKENS, Question, WritingOptions, per_segment, stitched, together, write
from synth.ask import Completion
from synth.config import parse
from synth.errors import RecipeError, fail
from synth.rows import Defect, Draft, Seed, compose
from tests.fake_ask import Answer, FakeAsk

SOURCE = "In 1822 Augustin Fresnel built a lens of glass rings. It sends the light over 30 kilometres from Cordouan."
LOST = ("refused", "I cannot.")
CRITERIA = {"faithful": "It agrees with the source.", "short": "It is short."}


def seed(text: str = SOURCE) -> Seed:
    return Seed("s", "s", "s", 0, text)


def question(sample: int, one: Seed | None = None) -> Question:
    """Asks for a text and takes any answer of two words and more."""

    def draft(completion: Completion) -> Draft:
        text, parts = compose([("generated", completion.text)])
        short = None if len(completion.text.split()) > 1 else Defect("short", "one word")
        return Draft(text, parts, (completion.ask_id,), defect=completion.defect() or short)

    return Question(one or seed(), [{"role": "user", "content": f"Write {sample}."}], draft, None, CRITERIA)


def made(answers: Sequence[Answer], **options: Any) -> tuple[Draft, FakeAsk]:
    ask = FakeAsk(answers)
    draft = asyncio.run(write(ask, WritingOptions(min_seed_tokens=0, **options), question))
    ask.done()
    return draft, ask


def outcomes(draft: Draft, rung: str) -> list[tuple[str, float | None, str | None]]:
    return [(one.outcome, one.score, one.ask_id) for one in draft.findings if one.rung == rung]


# --- candidates and selectors


@pytest.mark.parametrize(
    ("answers", "candidates", "text", "ask_ids"),
    [
        pytest.param(["It is good."], 3, "It is good.", ["ask-0"], id="first-is-valid"),
        pytest.param([LOST, "It is good."], 3, "It is good.", ["ask-0", "ask-1"], id="second-is-valid"),
        pytest.param(["One", LOST], 2, "I cannot.", ["ask-0", "ask-1"], id="none-is-valid"),
        pytest.param([("dead_letter", "400")], 3, "400", ["ask-0"], id="rejected-for-good-is-not-put-again"),
    ],
)
def test_first_valid_asks_one_after_another(
    answers: Sequence[Answer], candidates: int, text: str, ask_ids: list[str]
) -> None:
    draft, ask = made(answers, candidates=candidates)
    assert (draft.text, list(draft.ask_ids)) == (text, ask_ids)
    assert [asked.sample_index for asked in ask.asked] == list(range(len(answers)))


def test_candidates_are_put_in_their_own_words_and_all_are_named_the_winner_last() -> None:
    draft, ask = made(["A long answer of many words.", "Short one.", "One"], candidates=3, select="shortest_valid")
    assert draft.text == "Short one." and draft.ask_ids == ("ask-0", "ask-2", "ask-1")
    assert [asked.messages[0]["content"] for asked in ask.asked] == ["Write 0.", "Write 1.", "Write 2."]
    assert outcomes(draft, "selection") == [("lost", -6.0, "ask-0"), ("won", -2.0, "ask-1"), ("lost", None, "ask-2")]
    assert [one.evidence.get("defect") for one in draft.findings] == [None, None, "short"]


def test_with_no_valid_candidate_every_one_has_lost() -> None:
    draft, _ = made(["One", "Two"], candidates=2, select="shortest_valid")
    assert draft.defect is not None and [one[0] for one in outcomes(draft, "selection")] == ["lost", "lost"]


def test_one_candidate_leaves_no_finding() -> None:
    assert made(["It is good."])[0].findings == ()


def test_score_takes_the_candidate_that_keeps_the_facts() -> None:
    wrong = "In 1823 Edison built a lens."
    right = "Augustin Fresnel built a lens in 1822 that sends light 30 kilometres from Cordouan."
    draft, _ = made([wrong, right, "A lens was built."], candidates=3, select="score")
    assert draft.text == right
    scores = [one[1] for one in outcomes(draft, "selection")]
    assert scores[1] == max(score for score in scores if score is not None) and scores[0] == min(scores)  # type: ignore[type-var]


def test_the_judge_chooses_by_how_many_criteria_are_met() -> None:
    said = [{"faithful": False, "short": True}, {"faithful": True, "short": True}]
    draft, ask = made(["First text.", "Second text.", *said], candidates=2, select="judge")
    assert draft.text == "Second text."
    assert [asked.role for asked in ask.asked] == ["writer", "writer", "judge", "judge"]
    assert [one[:2] for one in outcomes(draft, "selection")] == [("lost", 0.5), ("won", 1.0)]
    assert set(draft.ask_ids) == {"ask-0", "ask-1", "ask-2", "ask-3"}, "the judge's answers were paid for, too"


def test_a_lone_valid_candidate_needs_no_judge() -> None:
    draft, _ = made(["One", "Second text."], candidates=2, select="judge")
    assert draft.text == "Second text."


# --- revision


def test_a_draft_that_meets_everything_is_kept() -> None:
    draft, ask = made(["Good text.", {"faithful": True, "short": True}], revise=True)
    assert draft.text == "Good text." and draft.ask_ids == ("ask-1", "ask-0")
    assert outcomes(draft, "revision") == [("kept_draft", 1.0, "ask-1")]
    assert ask.asked[1].role == "writer" and SOURCE in ask.asked[1].messages[1]["content"]


def test_a_draft_that_fails_is_written_once_more_with_what_was_wrong() -> None:
    draft, ask = made(["Bad text.", {"faithful": False, "short": True}, "Better text."], revise=True)
    assert (
        draft.text == "Better text."
        and draft.ask_ids[-1] == "ask-2"
        and set(draft.ask_ids) == {"ask-0", "ask-1", "ask-2"}
    )
    assert outcomes(draft, "revision") == [("revised", 0.5, "ask-1")]
    again = ask.asked[2].messages
    assert [one["role"] for one in again] == ["user", "assistant", "user"] and again[1]["content"] == "Bad text."
    assert CRITERIA["faithful"] in again[2]["content"] and CRITERIA["short"] not in again[2]["content"]


def test_a_revision_that_is_not_valid_leaves_the_draft() -> None:
    draft, _ = made(["Bad text.", {"faithful": False, "short": True}, LOST], revise=True)
    assert draft.text == "Bad text." and draft.defect is None and draft.ask_ids[-1] == "ask-0"
    assert [one[0] for one in outcomes(draft, "revision")] == ["revision_failed"]


def test_without_an_answer_about_the_criteria_nothing_is_revised() -> None:
    draft, _ = made(["Some text.", ("wrong_schema", "what?")], revise=True)
    assert draft.text == "Some text." and draft.ask_ids == ("ask-1", "ask-0")
    assert [one[0] for one in outcomes(draft, "revision")] == ["unsure"]


def test_what_is_no_document_is_not_revised() -> None:
    assert made([LOST], revise=True)[0].defect is not None


# --- the judge as a check


TWO = "Fresnel built a lens. He lived in Rome."


def test_claims_are_judged_one_by_one_and_named_when_they_are_not_there() -> None:
    draft, ask = made([TWO, {"statement_1": True, "statement_2": False}], verify={"judge": "label"})
    (finding,) = draft.findings
    assert (finding.rung, finding.outcome, finding.judge, finding.score) == ("judge", "failed", "model", 0.5)
    assert finding.evidence["unsupported"] == ["He lived in Rome."] and draft.defect is None
    assert draft.ask_ids == ("ask-1", "ask-0") and ask.asked[1].temperature == 0.0


def test_the_recipe_may_drop_what_the_judge_does_not_find() -> None:
    draft, _ = made([TWO, {"statement_1": True, "statement_2": False}], verify={"judge": "drop"})
    assert draft.defect is not None and draft.defect.rule == "judged_unsupported"
    assert draft.defect.evidence == "He lived in Rome." and draft.text == TWO


def test_a_judge_that_gives_no_answer_is_unsure_and_drops_nothing() -> None:
    draft, _ = made([TWO, ("truncated_answer", "{")], verify={"judge": "drop"})
    assert draft.defect is None and [one.outcome for one in draft.findings] == ["unsure"]


def test_many_claims_are_asked_some_at_a_time() -> None:
    text = " ".join(f"Claim number {at} stands here." for at in range(judge.MAX_CLAIMS + 2))
    first = {f"statement_{at + 1}": True for at in range(judge.MAX_CLAIMS)}
    draft, _ = made([text, first, {"statement_1": True, "statement_2": True}], verify={"judge": "drop"})
    assert [one.outcome for one in draft.findings] == ["passed", "passed"] and len(draft.ask_ids) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two three. Four five six!", ["One two three.", "Four five six!"]),
        ("It costs 3.50 euros in v1.2 today. Is it so?", ["It costs 3.50 euros in v1.2 today.", "Is it so?"]),
        ("A line of words\n- an item of words", ["A line of words", "- an item of words"]),
        ("Too short. Yes.", []),
        ("", []),
        ("...\n!!!", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert judge.sentences(text) == expected


@pytest.mark.timeout(20)  # what is quadratic takes many minutes
def test_sentences_of_a_hostile_text_are_found_in_linear_time() -> None:
    for text in ("." * 300_000, "a." * 150_000, "a " * 150_000, "! " * 150_000, " " * 300_000, "\t\n" * 150_000):
        claims = judge.sentences(text)
        assert sum(map(len, claims)) <= len(text) and all(len(one.split()) >= 3 for one in claims)


# --- roles


@pytest.mark.parametrize(
    ("options", "roles"),
    [
        ({}, ("writer",)),
        ({"select": "judge"}, ("judge", "writer")),
        ({"verify": {"judge": "label"}}, ("judge", "writer")),
        ({"verify": {"round_trip_alone": "drop"}}, ("verifier", "writer")),
        ({"revise": True}, ("writer",)),
    ],
)
def test_options_know_whom_they_ask(options: dict[str, Any], roles: tuple[str, ...]) -> None:
    assert PairOptions(**options).roles() == roles


def test_a_family_without_questions_has_no_round_trip() -> None:
    with pytest.raises(RecipeError, match=r"verify\.round_trip_source"):
        parse(distill.Options, {"verify": {"round_trip_source": "label"}}, "families.distill.options")


# --- long seeds


PARTS = [
    f"Part {at} of the story tells of the year {1900 + at} in some detail and at some length, with care and with patience, and "
    "it ends where the next part begins."
    for at in range(4)
]


def test_a_long_seed_is_rewritten_in_order_with_what_was_written_before() -> None:
    ask = FakeAsk([f"Told {at} here." for at in range(4)])
    long = seed("\n".join(PARTS))
    options = distill.Options(segment_tokens=50, min_seed_tokens=0)
    (draft,) = asyncio.run(distill.generate(long, ask, options))
    assert draft.text == "Told 0 here.\n\nTold 1 here.\n\nTold 2 here.\n\nTold 3 here." and draft.defect is None
    assert draft.ask_ids == ("ask-0", "ask-1", "ask-2", "ask-3") and draft.seed_span == (0, len(long.text))
    assert draft.written_by == draft.ask_ids, "every part's answer stands in the text"
    pieces = draft.payload["segments"]
    assert [piece["order"] for piece in pieces] == [0, 1, 2, 3]
    assert [long.text[piece["start_byte"] : piece["end_byte"]] for piece in pieces] == PARTS
    assert "Told" not in ask.asked[0].messages[0]["content"]
    assert "Told 0 here.\n\nTold 1 here.\n" in ask.asked[2].messages[0]["content"]
    assert [asked.messages[1]["content"] for asked in ask.asked] == PARTS


def test_a_later_part_may_take_up_words_of_an_earlier_one() -> None:
    said = "The Committee on the Peaceful Uses of Outer Space met here again."
    ask = FakeAsk([f"{said} Told {at}." for at in range(4)])
    (draft,) = asyncio.run(distill.generate(seed("\n".join(PARTS)), ask, distill.Options(segment_tokens=50)))
    assert draft.defect is None and draft.text.count(said) == 4


def test_the_first_part_that_fails_ends_it_and_the_rest_is_not_paid_for() -> None:
    ask = FakeAsk(["Told 0 here.", LOST])
    (draft,) = asyncio.run(distill.generate(seed("\n".join(PARTS)), ask, distill.Options(segment_tokens=50)))
    ask.done()
    assert draft.defect is not None and draft.defect.rule == "refused" and draft.ask_ids == ("ask-0", "ask-1")
    assert draft.text.startswith("Told 0 here.")


def test_the_context_has_an_end() -> None:
    words = " ".join(f"word{at}" for at in range(3 * CONTEXT_TOKENS))
    seen: list[str] = []

    async def part(one: Seed, written: str) -> Draft:
        seen.append(written)
        text, parts = compose([("generated", words)])
        return Draft(text, parts, ("a",))

    asyncio.run(stitched(seed("\n".join(PARTS)), WritingOptions(segment_tokens=50), part))
    assert seen[0] == "" and all(0 < len(one) < len(words) and words.endswith(one) for one in seen[1:])


def test_a_short_seed_is_one_part_and_its_prompt_is_as_before() -> None:
    (draft,) = asyncio.run(distill.generate(seed(SOURCE * 2), FakeAsk(["Told."]), distill.Options()))
    assert draft.payload is None and draft.text == "Told."


@pytest.mark.parametrize("how", [stitched, per_segment])
def test_a_seed_below_the_minimum_is_not_asked_about(how: Callable[..., Any]) -> None:
    async def part(*_: Any) -> Draft:
        raise AssertionError("asked")

    given = asyncio.run(how(seed("Short."), WritingOptions(min_seed_tokens=10), part))
    draft = given[0] if isinstance(given, list) else given
    assert draft.defect is not None and (draft.defect.rule, draft.defect.threshold) == ("seed_too_short", 10.0)


def test_what_fails_among_several_ends_the_others() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def fails() -> None:
        await asyncio.sleep(0)
        raise fail(RecipeError, "no")

    with pytest.raises(RecipeError):
        asyncio.run(together([waits(), fails(), waits()]))
    assert ended == ["cancelled", "cancelled"]
