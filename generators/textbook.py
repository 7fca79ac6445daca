"""A short textbook section for a named audience, from a passage or from a topic alone.

After Cosmopedia (https://huggingface.co/blog/cosmopedia): the same seed reads differently for another audience, which is
an axis of diversity chosen by hash and stored with the document.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Literal

from pydantic import Field

from generators import common
from generators.segments import Segment
from generators.writing import Question, WritingOptions, per_segment, write
from synth.ask import Ask, Completion, Family
from synth.registry import Card, Spec
from synth.rows import Draft, Seed

NAME = "textbook"
VERSION = 2
RENDERER_VERSION = 1

TOPIC_WORDS = 12  # a seed of at most so many words is a topic, not a passage


class Options(WritingOptions):
    """Options of textbook."""

    words: int = Field(
        300, ge=30, description="Length asked for (words); max_tokens should leave twice as many tokens."
    )
    vary: tuple[Literal["audience", "persona", "opening"], ...] | None = Field(
        ("audience",), description="Which of the family's axes are sampled by hash; the instructions name an audience."
    )
    max_tokens: int = Field(2500, ge=1, description="Tokens of an answer. Cosmopedia: 2500.")
    temperature: float = Field(0.6, ge=0.0, le=5.0, description="Softmax temperature. Cosmopedia: 0.6.")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="Nucleus sampling. Cosmopedia: 0.95.")
    min_seed_tokens: int = Field(1, ge=0, description="A shorter seed is dropped (tokens); a topic may be one word.")


class Prompts(common.Prompts):
    """`prompts/textbook.toml`."""

    topic_instructions: tuple[str, ...] = Field(min_length=8, description="Paraphrases for a seed that is a topic.")


@cache
def prompts() -> Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    card = Card("informative prose, or a bare topic", "a lesson for a named audience", "Cosmopedia")
    return common.spec(NAME, (VERSION, RENDERER_VERSION), Options, generate, prompts(), card)


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """A section on the seed's subject; of a long seed one for each of its parts."""

    async def section(part: Seed, segment: Segment) -> Draft:
        return await write(ask, options, partial(question, part, options))

    return await per_segment(seed, options, section)


def is_topic(seed: Seed) -> bool:
    """Whether the seed names a subject instead of describing it."""
    return bool(seed.meta.get("topic_only")) or len(seed.text.split()) <= TOPIC_WORDS


def question(seed: Seed, options: Options, sample: int = 0) -> Question:
    """What is asked, and how the answer is read. Headings stay: a textbook has them."""
    wordings = prompts().topic_instructions if is_topic(seed) else prompts().instructions
    vary = (
        ("audience", *(axis for axis in options.vary or () if axis != "audience")) if options.vary is not None else None
    )
    request, axes = common.worded(
        NAME, prompts(), seed.id, sample, vary, options.languages, wordings, words=options.words
    )
    axes["start"] = "topic" if is_topic(seed) else "passage"
    asked = common.instructed(prompts().system, request, seed.text)

    def draft(completion: Completion) -> Draft:
        return common.prose_draft(seed, asked, completion, common.unwrap, axes)

    return Question(seed, asked, draft, criteria=prompts().criteria)
