"""What a family sees of the engine: it asks a role, and gets a Completion whose outcome is already judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict

from synth.rows import Defect, Draft, Seed


class Message(TypedDict):
    """One chat message, as OpenAI's API takes it."""

    role: Literal["system", "user", "assistant"]
    content: str


Outcome = Literal[
    "ok",
    "truncated_answer",  # finish_reason `length` after the thinking was closed
    "thinking_overflow",  # finish_reason `length` while still thinking
    "empty_answer",
    "tag_leak",  # think tags or template tokens inside the answer
    "refused",
    "wrong_schema",  # a schema was asked for; the answer does not parse or does not fit it
    "repetition",  # the answer loops
    "dead_letter",  # the endpoint rejected this ask itself, for good
]


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. `text` never contains reasoning; `parsed` is the JSON value when a schema was given and the outcome is ok.

    Of a dead letter, `text` is what the endpoint said.
    """

    ask_id: str
    outcome: Outcome
    text: str
    model: str
    parsed: Any = None
    reasoning: str | None = None
    budget_hit: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def ok(self) -> bool:
        """Whether the answer can be used."""
        return self.outcome == "ok"

    def defect(self) -> Defect | None:
        """The drop that this outcome means for a document; None when ok."""
        if self.ok:
            return None
        if self.outcome == "dead_letter":
            return Defect("generation_failed", f"the endpoint refused the ask: {self.text[:200]}")
        return Defect(self.outcome, f"the model's answer: {self.outcome.replace('_', ' ')}")


class Ask(Protocol):
    """Ask a role one question. The answer is memoised by content, so running a family again replays it without a model.

    `accept` is the family's cheap check; what it refuses lets a cascade of models escalate. `sample_index` tells apart
    several answers to the same question. Sampling left None takes the role's own value.
    """

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
        """The answer, whatever its outcome. Faults of the world never come back from here: they are retried, or raise."""


class Family(Protocol):
    """A family's one function: every (seed, family) yields at least one Draft, if need be one with a defect."""

    async def __call__(self, seed: Seed, ask: Ask, options: Any) -> list[Draft]:
        """Make documents from one seed."""
