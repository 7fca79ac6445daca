"""What each seed took and gave in objects of generate: asks and tokens, documents, what is kept, how long it waited."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from flows.projection import Sample
from flows.recipe import Recipe
from synth.engine.roles import ModelRun

_ANSWERED = ("ok", "rejected")  # attempts that an endpoint decided; others are tried again
BUSY = "busy_seconds/"
"""An amount per model, by its name in the recipe: the time that its requests were under way."""

DOCUMENT_COLUMNS = ("id", "seed_ids", "written_tokens")
ASK_COLUMNS = (
    "ask_id",
    "seed_id",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "model",
    "accepted_attempt",
)
ATTEMPT_COLUMNS = (
    "attempt_id",
    "ask_id",
    "endpoint",
    "started_at",
    "ended_at",
    "status",
    "usage_prompt_tokens",
    "usage_completion_tokens",
)

Interval = tuple[datetime, datetime]


@dataclass
class Usage:
    """Amounts by seed, of one family; and when its requests were under way, for all models."""

    by_seed: dict[str, dict[str, float]] = field(default_factory=dict)
    intervals: list[Interval] = field(default_factory=list)

    def sample(self, weights: Mapping[str, float] | None = None) -> Sample:
        """The seeds in the order of their ids, without those that have no weight."""
        seeds = sorted(seed for seed in self.by_seed if weights is None or weights[seed])
        names = sorted({name for amounts in self.by_seed.values() for name in amounts})
        columns = {name: np.array([self.by_seed[seed].get(name, 0.0) for seed in seeds]) for name in names}
        return Sample(seeds, columns, np.array([weights[seed] for seed in seeds]) if weights else np.ones(len(seeds)))


class Prices:
    """The price card of a recipe's models."""

    def __init__(self, recipe: Recipe) -> None:
        self._runs = {name: recipe.run.models.get(name, ModelRun()) for name in recipe.models}
        self._recipe = recipe
        self.by_title = {model.title: name for name, model in recipe.models.items()}

    def tokens(self, model: str, prompt_tokens: float, completion_tokens: float) -> float:
        """US dollars for tokens of a model; nothing for a model that the recipe no longer has."""
        run = self._runs.get(model, ModelRun())
        dollars = prompt_tokens * run.usd_per_million_prompt_tokens
        return (dollars + completion_tokens * run.usd_per_million_completion_tokens) / 1e6

    def any(self) -> bool:
        """Whether a model that roles may ask has a price."""
        return any(priced(self._runs[name]) for name in self._used())

    def _used(self) -> set[str]:
        return {name for role in self._recipe.roles.values() for name in role.models}

    def unpriced(self) -> list[str]:
        """Models that roles may ask and that have no price: neither for tokens nor for GPUs that they occupy."""
        return sorted(name for name in self._used() if not priced(self._runs[name]))


def priced(run: ModelRun) -> bool:
    """Whether anything that a model does costs money by the price card."""
    per_token = run.usd_per_million_prompt_tokens or run.usd_per_million_completion_tokens
    return bool(per_token or (run.usd_per_gpu_hour and run.gpus))


def add(
    usage: Usage, documents: pa.Table, asks: pa.Table, attempts: pa.Table, dropped: Collection[str], prices: Prices
) -> None:
    """Take in one object's tables (the columns named above); `dropped` are ids of its documents that no trainer gets."""
    for document in documents.to_pylist():
        amounts = usage.by_seed.setdefault(document["seed_ids"][0], defaultdict(float))
        kept = document["id"] not in dropped
        amounts["documents"] += 1
        amounts["written_tokens"] += document["written_tokens"] or 0
        amounts["kept"] += kept
        amounts["kept_tokens"] += (document["written_tokens"] or 0) * kept
    by_ask = {ask["ask_id"]: ask for ask in asks.to_pylist()}
    paid: set[str] = set()
    for attempt in attempts.to_pylist():
        ask = by_ask.get(attempt["ask_id"])
        if ask is not None and attempt["status"] in _ANSWERED:
            accepted = ask["accepted_attempt"] == attempt["attempt_id"]
            paid.update([attempt["ask_id"]] if accepted else [])
            _add_attempt(usage, attempt, ask if accepted else None, ask["seed_id"], prices)
    for ask_id, ask in by_ask.items():
        amounts = usage.by_seed.setdefault(ask["seed_id"], defaultdict(float))
        amounts["reasoning_tokens"] += ask["reasoning_tokens"] or 0
        if ask_id not in paid:  # it was looked up: an earlier object of the same seeds paid for it
            model = prices.by_title.get(ask["model"], ask["model"])
            _add_tokens(amounts, model, ask["prompt_tokens"], _written(ask), prices)


def _add_attempt(
    usage: Usage, attempt: Mapping[str, Any], ask: Mapping[str, Any] | None, seed_id: str, prices: Prices
) -> None:
    amounts = usage.by_seed.setdefault(seed_id, defaultdict(float))
    model = attempt["endpoint"].rpartition("/")[0] or attempt["endpoint"]
    prompt, written = attempt["usage_prompt_tokens"], attempt["usage_completion_tokens"]
    if written is None and ask is not None:  # an endpoint that reports no usage
        prompt, written = ask["prompt_tokens"], _written(ask)
    _add_tokens(amounts, model, prompt, written, prices)
    if attempt["started_at"] and attempt["ended_at"]:
        amounts[BUSY + model] += (attempt["ended_at"] - attempt["started_at"]).total_seconds()
        usage.intervals.append((attempt["started_at"], attempt["ended_at"]))


def _add_tokens(
    amounts: dict[str, float], model: str, prompt_tokens: int | None, written_tokens: int | None, prices: Prices
) -> None:
    amounts["asks"] += 1
    amounts["prompt_tokens"] += prompt_tokens or 0
    amounts["completion_tokens"] += written_tokens or 0
    amounts["token_usd"] += prices.tokens(model, prompt_tokens or 0, written_tokens or 0)


def _written(ask: Mapping[str, Any]) -> int:
    return (ask["completion_tokens"] or 0) + (ask["reasoning_tokens"] or 0)


def active_seconds(intervals: Iterable[Interval]) -> float:
    """How long at least one request was under way."""
    total, until = 0.0, None
    for start, end in sorted(intervals):
        begin = start if until is None else max(start, until)
        if end > begin:
            total += (end - begin).total_seconds()
            until = end
    return total
