"""Questions of our own to an endpoint: does it enforce a thinking budget, is it still the same model, does it answer at all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson

from synth.digest import digest
from synth.engine import thinking
from synth.engine.client import Client, Fault, Misconfigured, Rejected
from synth.engine.roles import ModelConfig

_BUDGET_TOKENS = 8
_MOST_BYTES_PER_TOKEN = 12  # of ordinary prose; what is longer than the budget allows was not cut by it
_PUZZLE = "A train of 12 wagons loses 3 wagons at each of two stops and gains 5 at a third. How many wagons has it at the end?"
_CANARIES = (
    "Name the four seasons, in order, separated by commas.",
    "Write the numbers from one to ten as words, in English.",
    "In one sentence: what is a harbour for?",
)
_CANARY_TOKENS = 24
_SECONDS = 120.0


def switches(config: ModelConfig, think: bool) -> dict[str, Any]:
    """What a request carries to turn a model's thinking on or off; nothing for a model without a switch."""
    return {"chat_template_kwargs": {config.thinking_switch: think}} if config.thinking_switch else {}


async def thinking_budget(client: Client, config: ModelConfig) -> str:
    """Whether the endpoint cuts thoughts at `thinking_token_budget`: enforced, ignored or refused."""
    body = {
        **_question(client.endpoint.model, _PUZZLE, 256),
        **switches(config, True),
        "thinking_token_budget": _BUDGET_TOKENS,
    }
    try:
        reply = await asyncio.wait_for(client.chat(body), _SECONDS)
    except Rejected:
        return "refused"
    except (Fault, Misconfigured, TimeoutError):
        return "ignored"  # nothing is known, and asks will tell what is wrong
    thought = thinking.separate(reply.message).reasoning or ""
    if reply.usage_reasoning_tokens is not None:
        return "enforced" if 0 < reply.usage_reasoning_tokens <= 2 * _BUDGET_TOKENS else "ignored"
    return "enforced" if 0 < len(thought.encode()) <= _BUDGET_TOKENS * _MOST_BYTES_PER_TOKEN else "ignored"


async def answers(client: Client) -> bool:
    """Whether the endpoint answers a harmless question now."""
    try:
        await asyncio.wait_for(client.chat(_question(client.endpoint.model, _CANARIES[0], 1)), _SECONDS)
    except (Fault, Rejected, Misconfigured, TimeoutError):
        return False
    return True


async def changed_canaries(client: Client, identity: dict[str, Any], folder: Path) -> list[str]:
    """The canary questions whose answers at temperature 0 differ from those of the last time, which `folder` remembers.

    Servers batch, so that a single differing answer may be rounding; two or three mean another model.
    """
    try:
        replies = await asyncio.gather(*(client.chat(body) for body in canary_bodies(client.endpoint.model)))
    except (Fault, Rejected, Misconfigured):
        return []  # the asks themselves will tell
    now = {one: thinking.separate(reply.message).answer for one, reply in zip(_CANARIES, replies, strict=True)}
    path = folder / f"{digest([identity, client.endpoint.base_url])[:16]}.json"
    before = orjson.loads(path.read_bytes()) if path.exists() else now
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(orjson.dumps(now))
    part.replace(path)
    return [one for one in _CANARIES if before.get(one) != now[one]]


def canary_bodies(model: str) -> list[dict[str, Any]]:
    """The canary requests, as they are sent to a model of this name."""
    return [_question(model, one, _CANARY_TOKENS) for one in _CANARIES]


def _question(model: str, text: str, max_tokens: int) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0.0,
        "max_tokens": max_tokens,
        "seed": 1,
    }
