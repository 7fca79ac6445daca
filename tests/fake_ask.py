"""A scripted Ask for unit tests of families: answers are given by hand, and what was asked is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from synth.ask import Completion, Message, Outcome

Answer = str | Mapping[str, Any] | tuple[Outcome, str]


@dataclass(frozen=True)
class Asked:
    """One call, as the family made it."""

    messages: Sequence[Message]
    role: str
    sample_index: int
    schema: Mapping[str, Any] | None
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    accept: Callable[[Completion], bool] | None


@dataclass
class FakeAsk:
    """Gives `answers` in turn, one per call: a text, a JSON value, or an outcome that is not ok with its text.

    An ask beyond the last answer fails the test, as do answers that nobody asked for when `done` is called.
    """

    answers: Sequence[Answer]
    asked: list[Asked] = field(default_factory=list)

    async def __call__(
        self,
        messages: Sequence[Message],
        role: str = "writer",
        sample_index: int = 0,
        schema: Mapping[str, Any] | None = None,
        thinking_tokens: int | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        accept: Callable[[Completion], bool] | None = None,
    ) -> Completion:
        """The next answer. Its ask id is its place: ask-0, ask-1 and so on."""
        place = len(self.asked)
        assert place < len(self.answers), "the family asked more often than the test has answers"
        self.asked.append(Asked(messages, role, sample_index, schema, max_tokens, temperature, top_p, accept))
        return completion(self.answers[place], f"ask-{place}")

    def done(self) -> None:
        """Fail when an answer was not used."""
        assert len(self.asked) == len(self.answers), "the family asked less often than the test has answers"


def completion(answer: Answer, ask_id: str = "ask-0") -> Completion:
    """A completion with this answer."""
    if isinstance(answer, tuple):
        return Completion(ask_id, answer[0], answer[1], "model")
    if isinstance(answer, str):
        return Completion(ask_id, "ok", answer, "model")
    return Completion(ask_id, "ok", orjson.dumps(answer).decode(), "model", parsed=answer)
