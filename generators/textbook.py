"""A short textbook section for a named audience, from a passage or from a topic alone.

After Cosmopedia (https://huggingface.co/blog/cosmopedia): the same seed reads differently for another audience, which is
an axis of diversity chosen by hash and stored with the document.
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

NAME = "textbook"
VERSION = 1

TOPIC_WORDS = 12  # a seed of at most so many words is a topic, not a passage


class Options(Config):
    """Options of textbook."""

    words: int = Field(
        300, ge=30, description="Length asked for (words); max_tokens should leave twice as many tokens."
    )
    tries: int = Field(1, ge=1, description="Answers asked for, one after another, until one is usable.")
    max_tokens: int = Field(2500, ge=1, description="Tokens of an answer. Cosmopedia: 2500.")
    temperature: float = Field(0.6, ge=0.0, le=5.0, description="Softmax temperature. Cosmopedia: 0.6.")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="Nucleus sampling. Cosmopedia: 0.95.")


class Prompts(common.Prompts):
    """`prompts/textbook.toml`."""

    topic_instructions: tuple[str, ...] = Field(min_length=8, description="Paraphrases for a seed that is a topic.")
    audiences: dict[str, str] = Field(min_length=2, description="For whom it is written: name -> words of the request.")


@cache
def prompts() -> Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    return Spec(NAME, VERSION, Options, generate, content_digest=prompts().digest())


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """One document: a section on the seed's subject."""

    async def attempt(sample: int) -> Draft:
        asked = messages(seed, options.words, sample)
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


def is_topic(seed: Seed) -> bool:
    """Whether the seed names a subject instead of describing it."""
    return bool(seed.meta.get("topic_only")) or len(seed.text.split()) <= TOPIC_WORDS


def audience(seed: Seed) -> str:
    """The name of the audience this seed is written for."""
    return common.choose(sorted(prompts().audiences), NAME, "audience", seed.id)


def messages(seed: Seed, words: int, sample: int = 0) -> list[Message]:
    """The question as it is sent."""
    wordings = prompts().topic_instructions if is_topic(seed) else prompts().instructions
    instruction = common.choose(wordings, NAME, "instruction", seed.id, str(sample))
    request = instruction.format(audience=prompts().audiences[audience(seed)], words=words)
    return common.instructed(prompts().system, request, seed.text)


def draft(seed: Seed, asked: Sequence[Message], completion: Completion) -> Draft:
    """The document that this answer makes. Headings stay: a textbook has them."""
    axes = {"audience": audience(seed), "start": "topic" if is_topic(seed) else "passage"}
    return common.prose_draft(seed, asked, completion, common.unwrap, axes)
