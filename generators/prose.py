"""Families whose answer is prose made from prose: a long seed is rewritten part by part, each with what came before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from generators import common
from generators.writing import Question, WritingOptions, stitched, write
from synth.ask import Ask, Completion, Message
from synth.rows import Draft, Seed

Reader = Callable[[Seed, list[Message], Completion, Mapping[str, str]], Draft]
"""(seed, what was asked, answer, axes) -> the draft it makes."""


def plain(seed: Seed, asked: list[Message], completion: Completion, axes: Mapping[str, str]) -> Draft:
    """The answer as plain prose, without chat wrapping and markdown."""
    return common.prose_draft(seed, asked, completion, lambda text: common.plain_prose(common.unwrap(text)), axes)


async def rewritten(
    family: str,
    prompts: common.Prompts,
    seed: Seed,
    ask: Ask,
    options: WritingOptions,
    values: Callable[[str], Mapping[str, Any]] = lambda text: {},
    read: Reader = plain,
) -> list[Draft]:
    """One document of one seed. `values` gives what the family's instructions name beside axes, from a part's text."""

    async def part(segment: Seed, written: str) -> Draft:
        def ask_sample(sample: int) -> Question:
            return question(family, prompts, segment, options, written, sample, values(segment.text), read)

        return await write(ask, options, ask_sample)

    return [await stitched(seed, options, part)]


def question(
    family: str,
    prompts: common.Prompts,
    seed: Seed,
    options: WritingOptions,
    written: str,
    sample: int,
    values: Mapping[str, Any],
    read: Reader = plain,
) -> Question:
    """What is asked of one part, and how the answer is read."""
    request, axes = common.worded(family, prompts, seed.id, sample, options.vary, options.languages, **values)
    asked = common.instructed(prompts.system, request, seed.text, written)
    return Question(seed, asked, lambda completion: read(seed, asked, completion, axes), criteria=prompts.criteria)
