"""A family of a user's own: three short lines after a passage. One file, named by a recipe; nothing else knows it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from synth.ask import Ask, Completion
from synth.config import Config
from synth.registry import Card, Spec
from synth.rows import Defect, Draft, Seed, compose


class Options(Config):
    """Options of haiku."""

    lines: int = Field(3, ge=1, description="Lines that are kept of an answer.")
    with_passage: bool = Field(True, description="Whether the passage stands before the lines.")


def spec() -> Spec[Any]:
    """The family, as a recipe finds it."""
    return Spec("haiku", 1, Options, generate, card=Card("short passages", "the passage and a haiku", "our own"))


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """One document per seed."""
    answer = await ask(
        [
            {"role": "system", "content": "You write haiku."},
            {"role": "user", "content": f"Write a haiku about this passage.\n\n{seed.text}"},
        ],
        max_tokens=200,
    )
    return [draft(seed, answer, options)]


def draft(seed: Seed, answer: Completion, options: Options) -> Draft:
    """The document that this answer makes."""
    lines = [line for line in answer.text.splitlines() if line.strip()][: options.lines]
    defect = answer.defect() or (None if lines else Defect("no_lines", "the answer has no line"))
    text, parts = compose(
        [("source", f"{seed.text}\n\n" if options.with_passage else ""), ("generated", "\n".join(lines))]
    )
    return Draft(text, parts, (answer.ask_id,), payload={"lines": lines}, defect=defect)
