"""From scores to a threshold: the number that a recipe's gate gets, so that it keeps a wanted share of a pool of texts.

Scores are float64, NaN for a text that could not be scored: a gate `min` drops it, so it is in the pool and never kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from filters.baselines import Floats, shortest_between

KEEP_SHARES = (0.95, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05)  # of the quantile table


@dataclass(frozen=True)
class Lane:
    """One family's texts of one source: how many, how many unscorable, which threshold would keep which share (None: no
    threshold does, too few are scored), and the share that the chosen threshold keeps."""

    family: str
    source: str
    texts: int
    unscorable: int
    thresholds: tuple[float | None, ...]  # for KEEP_SHARES
    threshold: float
    kept: int


def threshold_for(scores: Floats, share: float) -> float:
    """The `min` that keeps the wanted share of all texts, or as near to it as equal scores allow; at least one text.

    It is the shortest decimal that keeps exactly those texts. NaN when nothing is scored.
    """
    ordered = np.sort(scores[~np.isnan(scores)])[::-1]
    if not len(ordered):
        return float("nan")
    wanted = min(max(round(share * len(scores)), 1), len(ordered))
    lowest = ordered[wanted - 1]
    with_ties, without = int((ordered >= lowest).sum()), int((ordered > lowest).sum())
    if without and wanted - without < with_ties - wanted:
        lowest, with_ties = ordered[without - 1], without
    below = float(ordered[with_ties]) if with_ties < len(ordered) else -np.inf
    return shortest_between(below, float(lowest))


def kept_by(scores: Floats, threshold: float) -> int:
    """How many texts a gate `min = threshold` keeps."""
    return int((scores >= threshold).sum())


def lane(family: str, source: str, scores: Floats, threshold: float) -> Lane:
    """One lane under a threshold that may be its family's."""
    unscorable = int(np.isnan(scores).sum())
    scored = 1 - unscorable / len(scores)
    quantiles = tuple(threshold_for(scores, share) if share <= scored else None for share in KEEP_SHARES)
    return Lane(family, source, len(scores), unscorable, quantiles, threshold, kept_by(scores, threshold))


def nearest_to(scores: Floats, threshold: float, count: int) -> tuple[list[int], list[int]]:
    """The places of the texts just above the threshold (kept, the nearest first) and just below it."""
    order = np.argsort(scores, kind="stable")  # NaN last
    scored = order[: int((~np.isnan(scores)).sum())]
    kept = [int(at) for at in scored if scores[at] >= threshold][:count]
    dropped = [int(at) for at in scored[::-1] if scores[at] < threshold][:count]
    return kept, dropped


def gate_lines(column: str, thresholds: Sequence[tuple[str | None, float]]) -> str:
    """TOML for a recipe: a gate per family; None stands for all families."""
    gates = []
    for family, threshold in thresholds:
        only = f'families = ["{family}"], ' if family is not None else ""
        gates.append(f'  {{ column = "{column}", min = {threshold!r}, {only}reason = "low_{column}" }},')
    return "\n".join(["[keep]", "more_gates = [", *gates, "]", ""])
