"""Round trip: a question is answered again, by another role, from the source alone or from nothing, and the answers compared.

What cannot be answered from the source is not about it. What can be answered without it is a fact that models know.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, get_args

from pydantic import Field

from generators import common
from generators.verify.equivalence import same_answer
from synth.ask import Ask, Message
from synth.config import Config
from synth.rows import Finding, Seed

Rung = Literal["round_trip_source", "round_trip_alone"]
RUNGS: tuple[Rung, ...] = get_args(Rung)

ANSWER_TOKENS = 96
AGREEING_F1 = (
    0.5  # of the words of two answers, function words left out; SQuAD's measure (https://arxiv.org/abs/1606.05250)
)


class Prompts(Config):
    """`prompts/round_trip.toml`."""

    source_system: str = Field(min_length=1, description="Instruction for answering from a text alone.")
    source_request: str = Field(min_length=1, description="With {source} and {question}.")
    alone_system: str = Field(min_length=1, description="Instruction for answering from memory.")
    alone_request: str = Field(min_length=1, description="With {question}.")


@cache
def prompts() -> Prompts:
    """The prompts, read once."""
    return common.load_prompts(Prompts, "round_trip")


async def round_trip(ask: Ask, rung: Rung, seed: Seed, question: str, answer: str) -> Finding:
    """Whether the role `verifier` gives the same answer; `unsure` when it gives none. The score is the words' F1."""
    completion = await ask(_messages(rung, seed, question), role="verifier", max_tokens=ANSWER_TOKENS, temperature=0.0)
    evidence = {"question": question, "answer": answer, "verifier": completion.text[:300]}
    if not completion.ok:
        return Finding(rung, "unsure", "model", None, {**evidence, "outcome": completion.outcome}, completion.ask_id)
    score = 1.0 if same_answer(answer, completion.text) else agreement(answer, completion.text, question)
    return Finding(rung, "passed" if score >= AGREEING_F1 else "failed", "model", score, evidence, completion.ask_id)


def _messages(rung: Rung, seed: Seed, question: str) -> list[Message]:
    alone = rung == "round_trip_alone"
    system = prompts().alone_system if alone else prompts().source_system
    request = prompts().alone_request if alone else prompts().source_request
    fields = {"question": question} if alone else {"question": question, "source": common.delimited(seed.text)}
    return [
        {"role": "system", "content": system.strip()},
        {"role": "user", "content": request.strip().format(**fields)},
    ]


_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a an and are as at be by can do does for from had has have he her his in is it its of on or she that the their them
    they this to was were which who will with""",
    )
)


def agreement(left: str, right: str, question: str) -> float:
    """F1 of the distinct words of two answers, from 0 to 1. Words of the question count only where one answer has no others;
    a yes against a no is 0, and so are different numbers.
    """
    words = [set(re.findall(r"\d[\d.,]*\d|\w+", text.casefold())) for text in (left, right)]
    for yes, no in (words, words[::-1]):
        if "yes" in yes and "no" in no and "no" not in yes and "yes" not in no:
            return 0.0
    numbers = [{word for word in one if word[0].isdigit()} for one in words]
    if all(numbers) and not numbers[0] & numbers[1]:
        return 0.0
    asked = set(re.findall(r"\w+", question.casefold()))
    content = [one - _FUNCTION_WORDS for one in words]
    new = [one - asked for one in content]
    first, second = new if all(new) else content
    shared = len(first & second)
    return 2 * shared / (len(first) + len(second)) if shared else 0.0
