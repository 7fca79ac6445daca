"""A job's forecast as a person and a program read it: seeds, asks, tokens, documents, hours and money, each with its range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flows.display import usd_text
from flows.projection import AMOUNTS, CONFIDENCE, Load, Range, Sample, effective, minus, plus, project, times
from flows.recipe import Recipe
from flows.usage import BUSY, Interval, Prices, active_seconds
from synth.engine.roles import ModelRun

_FEW_SEEDS = 20  # below, ranges are so wide that it has to be said
METHOD = f"{CONFIDENCE:.0%} ranges by Student's t over seeds"


def forecast(
    recipe: Recipe,
    samples: Mapping[str, Sample],
    loads: Mapping[str, Load],
    hours: Range | None,
    part_of_job: bool,
    notes: Sequence[str] = (),
    held: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The forecast as a JSON value. `part_of_job`: the sampled seeds are some of the job's own; `held`: what is taken off
    each total because it is there already."""
    held = held or {}
    totals = {name: minus(project(samples, loads, name, part_of_job), held.get(name, 0.0)) for name in AMOUNTS}
    prices = Prices(recipe)
    tokens = minus(project(samples, loads, "token_usd", part_of_job), held.get("token_usd", 0.0))
    gpu_hours = times(hours, _gpus(recipe)) if hours and _gpus(recipe) else None
    gpu_usd = times(hours, _usd_per_hour(recipe)) if hours else None
    usd = _usd(recipe, tokens, gpu_usd)
    sampled = {seed for sample in samples.values() for seed in sample.seeds}
    return {
        "sampled_seeds": len(sampled),
        "families": {
            name: {
                "seeds": round(load.seeds * (1 + load.copies)),
                **{one: project(samples, {name: load}, one, part_of_job).value() for one in AMOUNTS},
            }
            for name, load in sorted(loads.items())
            if name in samples
        },
        **{name: total.value() for name, total in totals.items()},
        "hours": hours.value(6) if hours else None,
        "gpu_hours": gpu_hours.value(6) if gpu_hours else None,
        "usd": usd.value(6) if usd else None,
        "unpriced_models": prices.unpriced(),
        "budget": _budget(recipe, totals, usd, gpu_hours),
        "confidence": CONFIDENCE,
        "method": METHOD,
        "notes": [*notes, *_notes(recipe, len(sampled), samples)],
    }


def _usd(recipe: Recipe, tokens: Range, gpus: Range | None) -> Range | None:
    """Both together; None when no model has a price, or when GPU time is priced and hours are not known."""
    if not Prices(recipe).any() or (gpus is None and _usd_per_hour(recipe)):
        return None
    return plus(tokens, gpus) if gpus else tokens


def _runs(recipe: Recipe) -> dict[str, ModelRun]:
    """Of the models that roles ask: they are what an engine starts."""
    used = sorted({name for role in recipe.roles.values() for name in role.models})
    return {name: recipe.run.models.get(name, ModelRun()) for name in used}


def _gpus(recipe: Recipe) -> int:
    return sum(run.gpus * run.copies for run in _runs(recipe).values())


def _usd_per_hour(recipe: Recipe) -> float:
    return sum(run.gpus * run.copies * run.usd_per_gpu_hour for run in _runs(recipe).values())


def _notes(recipe: Recipe, seeds: int, samples: Mapping[str, Sample]) -> list[str]:
    notes = []
    unpriced = Prices(recipe).unpriced()
    if unpriced:
        notes.append("no price in " + ", ".join(f"[run.models.{name}]" for name in unpriced))
    worth = min((effective(sample) for sample in samples.values()), default=_FEW_SEEDS)
    if worth < 2:
        notes.append("so few seeds say nothing about how much seeds differ: no ranges; three and more give some")
    elif worth < _FEW_SEEDS:
        notes.append(f"the ranges are wide because {seeds:,} seeds are few")
    notes.append("kept: near-duplicates grow with the corpus, so the more seeds, the smaller a share is kept")
    return notes


def _budget(
    recipe: Recipe, totals: Mapping[str, Range], usd: Range | None, gpu_hours: Range | None
) -> dict[str, Any] | None:
    """The budget that ends the run first, and after which share of the job; None when none is expected to."""
    budget = recipe.run.budget
    limits = {
        "max_usd": (budget.max_usd, usd),
        "max_gpu_hours": (budget.max_gpu_hours, gpu_hours),
        "max_asks": (budget.max_asks, totals["asks"]),
        "target_kept_tokens": (budget.target_kept_tokens, totals["kept_tokens"]),
    }
    shares = {name: limit / total.point for name, (limit, total) in limits.items() if limit and total and total.point}
    reached = min(shares, key=lambda name: shares[name], default=None)
    if reached is None or shares[reached] >= 1.0:
        return None
    return {"limit": reached, "value": limits[reached][0], "share_of_job": round(shares[reached], 4)}


# How long it takes


def hours_of_preview(
    recipe: Recipe, samples: Mapping[str, Sample], loads: Mapping[str, Load], intervals: Sequence[Interval]
) -> Range | None:
    """Between every place of the job busy at the speed per request that was seen, and no faster than the preview was,
    replica by replica. The point is their geometric mean: the fewer places the preview used, the less it says."""
    busy = {name: project(samples, loads, BUSY + name, True) for name in _runs(recipe)}
    seen = sum(sample.column(BUSY + name).sum() for sample in samples.values() for name in busy)
    active = active_seconds(intervals)
    if not seen or not active:
        return None
    # The preview had one server of each model that we start, and each of the endpoints of others.
    ours = [1 if run.urls else run.replicas for name, run in _runs(recipe).items() if busy[name].point]
    faster = min(ours, default=1)
    slow = [times(one, active / seen / faster) for one in busy.values()]
    fast = [times(busy[name], 1 / (run.in_flight * run.copies)) for name, run in _runs(recipe).items()]
    slowest = plus(*slow)
    fastest = max(fast, key=lambda one: one.point)
    point = math.sqrt(max(fastest.point, 1e-9) * max(slowest.point, fastest.point))
    high = None if slowest.high is None else max(slowest.high, fastest.high or 0.0)
    return times(Range(point, fastest.low, high), 1 / 3600)


def hours_of_history(tokens: Range, tokens_per_second: Sequence[float]) -> Range | None:
    """At the speed of earlier runs; of several the fastest and the slowest bound it."""
    rates = [rate for rate in tokens_per_second if rate > 0]
    if not rates:
        return None
    middle = sorted(rates)[len(rates) // 2]
    low = None if tokens.low is None else tokens.low / max(rates)
    high = None if tokens.high is None else tokens.high / min(rates)
    return times(Range(tokens.point / middle, low, high), 1 / 3600)


# As text


def forecast_lines(value: Mapping[str, Any], title: str) -> list[str]:
    """The forecast for a person, a line per amount."""
    rows = [
        ("asks", _counts(value["asks"])),
        ("tokens read", _counts(value["prompt_tokens"])),
        ("tokens written", _counts(value["completion_tokens"]) + _thoughts(value)),
        ("documents", _counts(value["documents"])),
        ("  kept", _counts(value["kept"]) + _share(value)),
        ("  their tokens", _counts(value["kept_tokens"])),
        ("hours", _span(value["hours"], _hours) if value["hours"] else "not known: nothing was asked"),
    ]
    if value["gpu_hours"]:
        rows.append(("GPU-hours", _span(value["gpu_hours"], lambda one: f"{one:,.2f}")))
    if value["usd"]:
        rows.append(("money", _span(value["usd"], usd_text) + _per_million(value)))
    elif value["unpriced_models"]:
        rows.append(("money", "no price in " + ", ".join(f"[run.models.{one}]" for one in value["unpriced_models"])))
    budget = value["budget"]
    if budget:
        rows.append(
            ("budget", f"{budget['limit']} = {budget['value']:,} ends it after {budget['share_of_job']:.0%} of that")
        )
    said = [note for note in value["notes"] if value["usd"] or not note.startswith("no price")]
    lines = [f"{title} ({value['method']}):", *(f"  {name:<16} {text}" for name, text in rows)]
    return [*lines, *(f"  note: {note}" for note in said)]


def _hours(hours: float) -> str:
    return f"{hours * 60:,.1f} min" if hours < 1 else f"{hours:,.1f} h"


def _counts(value: Mapping[str, Any]) -> str:
    return _span(value, lambda one: f"{one:,.0f}")


def _span(value: Mapping[str, Any], text: Any) -> str:
    low, high = value["low"], value["high"]
    if low is None or high is None:
        return f"~{text(value['expected'])}"
    return f"~{text(value['expected'])} ({text(low)} to {text(high)})"


def _thoughts(value: Mapping[str, Any]) -> str:
    thoughts = value["reasoning_tokens"]["expected"]
    return f", of them thoughts ~{thoughts:,.0f}" if thoughts else ""


def _share(value: Mapping[str, Any]) -> str:
    documents = value["documents"]["expected"]
    return f", {value['kept']['expected'] / documents:.0%} of the documents" if documents else ""


def _per_million(value: Mapping[str, Any]) -> str:
    kept = value["kept_tokens"]["expected"]
    return f", {usd_text(value['usd']['expected'] / kept * 1e6)} per million kept tokens" if kept else ""
