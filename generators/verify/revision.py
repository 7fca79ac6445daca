"""One revision: the writer sees its draft again, with the criteria that it does not meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from pydantic import Field

from generators import common
from synth.ask import Message
from synth.config import Config


class Prompts(Config):
    """`prompts/revision.toml`."""

    request: str = Field(min_length=1, description="Asks for the text once more, with {failed}: what is wrong with it.")


@cache
def prompts() -> Prompts:
    """The prompts, read once."""
    return common.load_prompts(Prompts, "revision")


def messages(asked: Sequence[Message], answer: str, failed: Mapping[str, str]) -> list[Message]:
    """The first question, its answer, and what has to change: the common start is the first question's."""
    request = prompts().request.format(failed="\n".join(f"- {statement}" for statement in failed.values()))
    return [*asked, {"role": "assistant", "content": answer}, {"role": "user", "content": request.strip()}]
