"""Verification by a model: binary statements, never marks out of ten. It answers by a JSON schema, so nothing is guessed from
prose, and what it said about each statement is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import Field

from generators import common
from synth.ask import Ask, Completion, Message
from synth.config import Config
from synth.rows import Finding, Seed

MAX_CLAIMS = 12  # per ask: a longer list of booleans is answered carelessly by small models
ANSWER_TOKENS = 16  # per statement, in the JSON answer


class Prompts(Config):
    """`prompts/judge.toml`."""

    criteria_system: str = Field(min_length=1, description="Instruction for judging a text against statements.")
    criteria_request: str = Field(min_length=1, description="With {source}, {text} and {statements}.")
    claims_system: str = Field(min_length=1, description="Instruction for judging claims against a source.")
    claims_request: str = Field(min_length=1, description="With {source} and {statements}.")


@cache
def prompts() -> Prompts:
    """The prompts, read once."""
    return common.load_prompts(Prompts, "judge")


@dataclass(frozen=True)
class Met:
    """What a model said of a text: which criteria it meets. With no usable answer nothing failed and the share is 0."""

    ask_id: str | None
    met: tuple[str, ...]
    failed: Mapping[str, str]  # name -> the statement that does not hold

    @property
    def share(self) -> float:
        """Share of the criteria that are met."""
        return len(self.met) / max(1, len(self.met) + len(self.failed))

    def evidence(self) -> dict[str, Any]:
        """For a finding."""
        return {"met": list(self.met), "failed": list(self.failed)}


async def criteria_met(ask: Ask, seed: Seed, text: str, criteria: Mapping[str, str], role: str) -> Met:
    """Which of the criteria (name -> statement) hold for this text, as `role` says."""
    if not criteria:
        return Met(None, (), {})
    request = prompts().criteria_request.format(
        source=common.delimited(seed.text), text=common.delimited(text), statements=_numbered(criteria.values())
    )
    said = await _statements(ask, prompts().criteria_system, request, list(criteria), role)
    if not said.ok:
        return Met(said.ask_id, (), {})
    met = tuple(name for name in criteria if said.parsed[name])
    return Met(said.ask_id, met, {name: criteria[name] for name in criteria if name not in met})


async def supported(ask: Ask, seed: Seed, claims: Sequence[str]) -> list[Finding]:
    """Whether the seed supports each claim, as the role `judge` says: a finding per MAX_CLAIMS of them.

    The score is the share of claims that it finds in the seed. Without claims, or without a usable answer: `unsure`.
    """
    batches = [claims[start : start + MAX_CLAIMS] for start in range(0, len(claims), MAX_CLAIMS)]
    found = [await _supported(ask, seed, batch) for batch in batches]
    return found or [Finding("judge", "unsure", "model", evidence={"claims": 0})]


async def _supported(ask: Ask, seed: Seed, claims: Sequence[str]) -> Finding:
    request = prompts().claims_request.format(source=common.delimited(seed.text), statements=_numbered(claims))
    fields = [f"statement_{number}" for number in range(1, len(claims) + 1)]
    said = await _statements(ask, prompts().claims_system, request, fields, "judge")
    if not said.ok:
        evidence: dict[str, Any] = {"claims": len(claims), "answer": said.outcome}
        return Finding("judge", "unsure", "model", evidence=evidence, ask_id=said.ask_id)
    unsupported = [claim for claim, field in zip(claims, fields, strict=True) if not said.parsed[field]]
    share = 1 - len(unsupported) / len(claims)
    evidence = {"claims": len(claims), "unsupported": unsupported}
    return Finding("judge", "failed" if unsupported else "passed", "model", share, evidence, said.ask_id)


def _numbered(statements: Any) -> str:
    return "\n".join(f"{number}. {statement}" for number, statement in enumerate(statements, 1))


async def _statements(ask: Ask, system: str, request: str, fields: Sequence[str], role: str) -> Completion:
    messages: list[Message] = [
        {"role": "system", "content": system.strip()},
        {"role": "user", "content": request.strip()},
    ]
    schema = {
        "type": "object",
        "properties": {field: {"type": "boolean"} for field in fields},
        "required": list(fields),
        "additionalProperties": False,
    }
    tokens = 32 + ANSWER_TOKENS * len(fields)
    return await ask(messages, role=role, schema=schema, max_tokens=tokens, temperature=0.0)


_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")


def sentences(text: str) -> list[str]:
    """The sentences of a text, as claims to be judged. Lines end sentences."""
    return [one.strip() for one in _SENTENCE_END.split(text) if len(one.split()) >= 3]


def facts_kept(source: str, text: str) -> float:
    """How well a text keeps to its source, from -1 to 1: the mean share of the source's numbers and names that it keeps,
    less the share of its own that the source lacks. For choosing between candidates; gates have rules of their own.
    """
    from synth.text.mentions import names, numbers

    scores = []
    for there, here in (
        ({one.value for one in numbers(source)}, {one.value for one in numbers(text)}),
        ({one.words for one in names(source)}, {one.words for one in names(text)}),
    ):
        if there or here:
            scores.append(len(there & here) / max(1, len(there)) - len(here - there) / max(1, len(here)))
    return sum(scores) / len(scores) if scores else 0.0
