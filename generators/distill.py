"""A shorter text with the same facts, in plain prose.

After the recipe of Nemotron-CC's distill (https://arxiv.org/abs/2412.02595): condense, keep figures, terms and reasons,
add nothing. Whether the result says what its source says is judged by rules, not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pydantic import Field

from generators import common
from synth.ask import Ask, Completion, Family, Message
from synth.config import Config
from synth.registry import Spec
from synth.rows import Draft, Seed

NAME = "distill"
VERSION = 1

TARGET_SHARE = 0.5  # of the passage's words: the middle of the band 0.25 to 0.8 that the rules accept as distilled


class Options(Config):
    """Options of distill."""

    tries: int = Field(1, ge=1, description="Answers asked for, one after another, until one is usable.")
    max_tokens: int = Field(1600, ge=1, description="Tokens of an answer. Nemotron-CC: about 1600.")
    temperature: float = Field(0.5, ge=0.0, le=5.0, description="Softmax temperature. Nemotron-CC: 0.5.")
    top_p: float = Field(0.9, gt=0.0, le=1.0, description="Nucleus sampling. Nemotron-CC: 0.9.")


@cache
def prompts() -> common.Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(common.Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    return Spec(NAME, VERSION, Options, generate, content_digest=prompts().digest())


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """One document: the passage in fewer words."""

    async def attempt(sample: int) -> Draft:
        asked = messages(seed, sample)
        completion = await ask(
            asked,
            sample_index=sample,
            max_tokens=options.max_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            accept=lambda answer: draft(seed, asked, answer).defect is None,
        )
        return draft(seed, asked, completion)

    return [await common.first_usable(options.tries, attempt)]


def messages(seed: Seed, sample: int = 0) -> list[Message]:
    """The question as it is sent."""
    instruction = common.choose(prompts().instructions, NAME, "instruction", seed.id, str(sample))
    return common.instructed(prompts().system, instruction.format(words=target_words(seed.text)), seed.text)


def target_words(text: str) -> int:
    """The length asked for (words): a share of the text's own, rounded to tens so that few prompts differ."""
    return max(20, round(len(text.split()) * TARGET_SHARE / 10) * 10)


def draft(seed: Seed, asked: Sequence[Message], completion: Completion) -> Draft:
    """The document that this answer makes."""
    return common.prose_draft(seed, asked, completion, lambda text: common.plain_prose(common.unwrap(text)), {})
