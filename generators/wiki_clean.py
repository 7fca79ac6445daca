"""Poor web text as clean, neutral prose in the manner of an encyclopaedia: same content, nothing added.

After Nemotron-CC's rephrasing of low-quality text (https://arxiv.org/abs/2412.02595): it helps poor sources, while good ones
are better restructured. Route it to low-quality seeds; invented numbers drop the document (the rule `fidelity`).
"""

from __future__ import annotations

from functools import cache

from pydantic import Field

from generators import common
from generators.prose import rewritten
from generators.writing import WritingOptions
from synth.ask import Ask, Family
from synth.registry import Card, Spec
from synth.rows import Draft, Seed

NAME = "wiki_clean"
VERSION = 1
RENDERER_VERSION = 1


class Options(WritingOptions):
    """Options of wiki_clean."""

    max_tokens: int = Field(768, ge=1, description="Tokens of an answer: half as much again as a part of the seed.")
    temperature: float = Field(0.5, ge=0.0, le=5.0, description="Softmax temperature. Nemotron-CC: 0.5.")
    top_p: float = Field(0.9, gt=0.0, le=1.0, description="Nucleus sampling. Nemotron-CC: 0.9.")
    min_seed_tokens: int = Field(15, ge=0, description="A shorter seed is dropped before anything is asked (tokens).")
    segment_tokens: int = Field(
        512, ge=50, description="A longer seed is cut on whole lines under this cap (tokens). Nemotron-CC: 512."
    )


@cache
def prompts() -> common.Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(common.Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    card = Card("low-quality web text", "the same content as neutral prose", "Nemotron-CC, arXiv 2412.02595")
    return common.spec(NAME, (VERSION, RENDERER_VERSION), Options, generate, prompts(), card)


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """One document: the seed's content in clean prose, a long one part by part."""
    return await rewritten(NAME, prompts(), seed, ask, options)
