"""A better version of a mediocre document: the model says what it is for and what is wrong with it, then writes it anew.

After REWIRE (https://arxiv.org/abs/2506.04689), which guides a model to reason about a discarded page's purpose before it
rewrites it, and keeps the best tenth by a quality classifier: gate this family on your own quality score. The plan is kept
in the payload, never in the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from pydantic import Field

from generators import common
from generators.prose import rewritten
from generators.writing import WritingOptions
from synth.ask import Ask, Completion, Family, Message
from synth.registry import Card, Spec
from synth.rows import Defect, Draft, Seed

NAME = "guided_rewrite"
VERSION = 1
RENDERER_VERSION = 1


class Options(WritingOptions):
    """Options of guided_rewrite."""

    max_tokens: int = Field(
        2600, ge=1, description="Tokens of an answer, plan included. REWIRE: documents of 2048 tokens."
    )
    temperature: float = Field(0.7, ge=0.0, le=5.0, description="Softmax temperature.")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="Nucleus sampling.")
    segment_tokens: int = Field(2000, ge=50, description="A longer seed is cut on whole lines under this cap (tokens).")


@cache
def prompts() -> common.Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(common.Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    card = Card("low- or middling-quality documents", "a planned, better version of each", "REWIRE, arXiv 2506.04689")
    return common.spec(NAME, (VERSION, RENDERER_VERSION), Options, generate, prompts(), card)


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """One document: the seed rewritten after a plan, a long one part by part."""
    return await rewritten(NAME, prompts(), seed, ask, options, read=draft)


_MARK = re.compile(r"^[ \t]*[#*_]*(PLAN|TEXT)\b[ \t]*[*_]*[ \t]*:?[*_]*[ \t]*", re.MULTILINE)


def split_answer(answer: str) -> tuple[str, str] | None:
    """(plan, text) of an answer that marks them as asked, PLAN before TEXT; None when it does not."""
    marks = list(_MARK.finditer(answer))
    texts = [mark for mark in marks if mark[1] == "TEXT"]
    if not texts:
        return None
    first = texts[0]
    plans = [mark for mark in marks if mark[1] == "PLAN" and mark.start() < first.start()]
    return answer[plans[0].end() if plans else 0 : first.start()].strip(), answer[first.end() :].strip()


def draft(seed: Seed, asked: list[Message], completion: Completion, axes: Mapping[str, str]) -> Draft:
    """The document that this answer makes: what follows its mark TEXT. Headings and lists stay."""
    parts = split_answer(completion.text) if completion.ok else ("", completion.text)
    if parts is None:
        missing = Defect("no_rewrite", "the answer does not mark where its text begins")
        return common.failed(completion, completion.text, missing, axes)
    plan, text = parts
    made = common.prose_draft(seed, asked, replace(completion, text=text), common.unwrap, axes)
    return replace(made, payload={"plan": plan, "text": text}) if made.defect is None else made
