"""Question-answer pairs: which are worth keeping, how they are tidied and how they are set. Families that make pairs share it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, cast

from pydantic import Field

from generators.verify import round_trip
from generators.writing import Action, WritingOptions, with_checks
from synth.ask import Ask
from synth.digest import hash_share
from synth.rows import Defect, Draft, Finding, Seed

GROUNDED_SHARE = 0.5  # of the content words of a question, and of an answer's new ones, how many the passage must hold
DISTINCT_SHARE = 0.5  # of the words of an answer; a sentence of ordinary English stays above 0.7
REPEATED_ANSWER_WORDS = 4  # shorter answers (Yes, a name, a number) may answer two questions


def judged(pairs: Sequence[Mapping[str, Any]], passage: str, max_chars: int | None = None) -> list[dict[str, Any]]:
    """The pairs tidied, in their order, each with its `fault`: a word that says why it is not worth keeping, else None.

    `max_chars` is the longest answer that its slot in a schema could hold: one that fills it was cut there.
    """
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    for pair in pairs:
        question, answer = " ".join(pair["question"].split()), tidy_answer(pair["answer"], max_chars)
        asked, said = _plain(question), _plain(answer)
        repeated = asked in seen or (len(said.split()) >= REPEATED_ANSWER_WORDS and said in seen)
        fault = "repeated" if repeated else _options_fault(pair) or pair_fault(question, answer, passage)
        seen |= set() if fault else {asked, said}
        found.append({**pair, "question": question, "answer": answer, "fault": fault})
    return found


def kept(pairs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those without a fault."""
    return [pair for pair in pairs if not pair["fault"]]


def none_left(pairs: Sequence[Mapping[str, Any]], least: int = 1) -> Defect | None:
    """A defect when fewer than `least` pairs are worth keeping; it counts the faults."""
    good = len(kept(pairs))
    if good >= least:
        return None
    faults = Counter(pair["fault"] for pair in pairs if pair["fault"])
    why = ", ".join(f"{count} {fault}" for fault, count in sorted(faults.items()))
    what = "no usable question-answer pair" if not good else f"only {good} usable question-answer pairs"
    return Defect("no_pairs", f"{what}: {why}", score=float(good), threshold=float(least))


_ANSWER_LEAD_IN = re.compile(
    r"\A(?:the )?(?:correct |right )?answer(?: to [^:.]{1,80}?)?(?: is)?\s*:\s*", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)")
_FIRST_CLAUSE = re.compile(r"\A(?:[^\s,;]+ ){4,}?[^\s,;]+(?=[,;] )")  # five words or more, up to a comma


def tidy_answer(answer: str, max_chars: int | None = None) -> str:
    """The answer without a lead-in such as `Answer:`. One of more than `max_chars` filled its slot and was cut there: it is
    taken back to its last whole sentence, else to its first clause; with neither it is empty.
    """
    text = _ANSWER_LEAD_IN.sub("", " ".join(answer.split()))
    if text[-1:] in {".", "!", "?"} or (
        (max_chars is None or len(answer) <= max_chars) and text[-1:] not in {",", ";", ":"}
    ):
        return text
    if ends := [match.end() for match in _SENTENCE_END.finditer(text)]:
        return text[: ends[-1]]
    clause = _FIRST_CLAUSE.match(text)
    return f"{clause[0]}." if clause else ""


_ABOUT_THE_TASK = {"passage", "paragraph", "text", "question", "questions", "quiz", "answer", "answers", "author"}


def pair_fault(question: str, answer: str, passage: str) -> str | None:
    """Why a pair is not worth keeping, as a word; None when it is."""
    asked, said = _plain(question).split(), _plain(answer).split()
    there = _words_of(passage)
    if not asked or not said:
        return "empty"
    if sum(word.isalpha() for word in asked) < 3:
        return "few_words"
    if " ".join(asked) in " ".join(said):
        return "answer_is_question"
    if not set(said) - set(asked) - FUNCTION_WORDS:
        return "says_nothing"
    if len(set(said)) < DISTINCT_SHARE * len(said):
        return "repeats_itself"
    if _ABOUT_THE_TASK & (set(asked) | set(said)) - there:
        return "about_the_task"
    return None if _grounded(asked, said, there) else "not_in_passage"


def _options_fault(pair: Mapping[str, Any]) -> str | None:
    options = [_plain(option) for option in pair.get("options", ())]
    return "options_alike" if len(set(options)) < len(options) else None


def _grounded(asked: Sequence[str], said: Sequence[str], there: frozenset[str]) -> bool:
    """Whether both speak of the passage: numbers of the answer stand in it, and so do most content words of either."""
    if any(word[0].isdigit() and word not in there for word in said):
        return False
    stems = {_stem(word) for word in there}
    new = {_stem(word) for word in said if _is_content(word)} - {_stem(word) for word in asked}
    about = {_stem(word) for word in asked if _is_content(word)}
    return len(new & stems) >= GROUNDED_SHARE * len(new) and len(about & stems) >= GROUNDED_SHARE * len(about)


@lru_cache(maxsize=64)
def _words_of(passage: str) -> frozenset[str]:
    return frozenset(_plain(passage).split())


def _plain(text: str) -> str:
    """Words in lower case, numbers whole (`1,500`, `10.5`), separated by single spaces."""
    return " ".join(re.findall(r"\d[\d.,]*\d|\w+", text.casefold()))


FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about after also an and are as at be because been before being between both but by can could did do does doing
    each for from had has have having he her here his how if in into is it its many may more most much of on
    only or other our over s same she should so some such t than that the their them then there these they this those
    through to under until very was we were what when where which while who whom whose why will with would you your""",
    )
)


def _is_content(word: str) -> bool:
    return word not in FUNCTION_WORDS and (len(word) > 3 or word[0].isdigit())


def _stem(word: str) -> str:
    """The first six letters: inflections of a word share them, mostly."""
    return word[:6]


class PairOptions(WritingOptions):
    """Options of families that write questions with answers."""

    verify: dict[Literal["judge", "round_trip_source", "round_trip_alone"], Action] = Field(  # type: ignore[assignment]
        {},
        description="`judge`: the role of that name says of each claim whether the source supports it. `round_trip_source`, "
        "`round_trip_alone`: the role `verifier` answers each question again, from the source alone or from nothing. A failed "
        "check is a label (a verdict) or a drop; going from one to the other asks nothing again.",
    )


LETTERS = "ABCDEFGH"

LAYOUTS = {  # name -> (one pair, what stands between two)
    "answer_below": ("{question}\n{answer}", "\n\n"),
    "bold": ("**{question}**\n{answer}", "\n\n"),
    "letters": ("Q: {question}\nA: {answer}", "\n\n"),
    "numbered": ("{number}. {question}\n   {answer}", "\n"),
    "one_line": ("{question} {answer}", "\n"),
    "words": ("Question: {question}\nAnswer: {answer}", "\n\n"),
}


def render(
    pairs: Sequence[Mapping[str, Any]], layout: str, layouts: Mapping[str, tuple[str, str]] | None = None
) -> str:
    """The pairs as text, in one of LAYOUTS or of a family's own. One with `options` lists them in the order of `order`."""
    item, between = (layouts or LAYOUTS)[layout]
    items = []
    for number, pair in enumerate(pairs, 1):
        question, answer = pair["question"], pair["answer"]
        if pair.get("options"):
            listed = [f"{LETTERS[at]}) {pair['options'][place]}" for at, place in enumerate(pair["order"])]
            question = "\n".join([question, *listed])
            answer = listed[pair["shown"]]
        items.append(item.format(number=number, question=question, answer=answer))
    return between.join(items)


def shuffled(pair: Mapping[str, Any], *key: str) -> dict[str, Any]:
    """A multiple-choice pair with its options in an order by hash: `order` lists places of `options`, `shown` is the right
    one's place among them. `correct` stays as the model gave it, so that its bias for a position can be measured.
    """
    order = sorted(range(len(pair["options"])), key=lambda at: hash_share("options", *key, str(at)))
    return {**pair, "order": order, "shown": order.index(pair["correct"])}


async def check_round_trip(
    ask: Ask,
    options: PairOptions,
    seed: Seed,
    draft: Draft,
    render_again: Callable[[Sequence[Mapping[str, Any]]], Draft],
) -> Draft:
    """The draft with findings of the round trips that its options name, a finding per pair; pairs that fail one that drops
    are left out of the text, which `render_again` makes of the payload.
    """
    rungs: list[round_trip.Rung] = [rung for rung in round_trip.RUNGS if rung in options.verify]
    if not rungs:
        return draft
    pairs: list[dict[str, Any]] = [dict(pair) for pair in draft.payload]
    findings: list[Finding] = []
    for pair in kept(pairs):
        for rung in rungs:
            finding = await round_trip.round_trip(ask, rung, seed, pair["question"], pair["answer"])
            findings.append(finding)
            if finding.outcome == "failed" and options.verify[rung] == "drop":
                cast("dict[str, Any]", pair)["fault"] = rung
    again = render_again(pairs)
    checked = replace(draft, text=again.text, parts=again.parts, payload=again.payload, defect=again.defect)
    return with_checks(checked, findings)
