"""A shorter text with the same facts, in plain prose.

After the recipe of Nemotron-CC's distill (https://arxiv.org/abs/2412.02595): condense, keep figures, terms and reasons,
add nothing. Whether the result says what its source says is judged by rules, not here.
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

NAME = "distill"
VERSION = 2
RENDERER_VERSION = 1

TARGET_SHARE = 0.5  # of the passage's words: the middle of the band 0.25 to 0.8 that the rules accept as distilled


class Options(WritingOptions):
    """Options of distill."""

    max_tokens: int = Field(1600, ge=1, description="Tokens of an answer. Nemotron-CC: about 1600.")
    temperature: float = Field(0.5, ge=0.0, le=5.0, description="Softmax temperature. Nemotron-CC: 0.5.")
    top_p: float = Field(0.9, gt=0.0, le=1.0, description="Nucleus sampling. Nemotron-CC: 0.9.")
    segment_tokens: int = Field(
        2000, ge=50, description="A longer seed is cut on whole lines under this cap (tokens). Nemotron-CC: 2000."
    )


@cache
def prompts() -> common.Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(common.Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    card = Card("informative prose", "the same facts in half the words", "Nemotron-CC, arXiv 2412.02595")
    return common.spec(NAME, (VERSION, RENDERER_VERSION), Options, generate, prompts(), card)


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """One document: the passage in fewer words, a long one part by part."""
    return await rewritten(NAME, prompts(), seed, ask, options, lambda text: {"words": target_words(text)})


def target_words(text: str) -> int:
    """The length asked for (words): a share of the text's own, rounded to tens so that few prompts differ."""
    return max(20, round(len(text.split()) * TARGET_SHARE / 10) * 10)
