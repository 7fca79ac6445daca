"""A threshold swept: the share that would be kept at every place it could have, per family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_MARKS = "ox+*#@%&"
_EDGES = (0.005, 0.995)  # quantiles between which the curves are drawn: a single far value would flatten them


@dataclass(frozen=True)
class Sweep:
    """Kept shares (families, thresholds). `bound` says what a threshold is: the smallest score that passes, or the largest."""

    column: str
    bound: Literal["min", "max"]
    thresholds: Floats
    kept: Mapping[str, Floats]
    texts: Mapping[str, int]
    now: float | None  # the threshold of the gate as it is; None: there is no gate


def sweep(
    column: str, bound: Literal["min", "max"], scores: Mapping[str, Floats], now: float | None, points: int = 101
) -> Sweep:
    """The curves of `scores` (family -> one per text, NaN for one that could not be scored: it is never kept)."""
    scored = np.concatenate([values[~np.isnan(values)] for values in scores.values()] or [np.zeros(0)])
    low, high = np.quantile(scored, _EDGES) if len(scored) else (0.0, 1.0)
    if now is not None:
        low, high = min(low, now), max(high, now)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    thresholds = np.unique([*np.linspace(low, high, points), *([] if now is None else [now])])
    kept = {family: _kept(values, bound, thresholds) for family, values in sorted(scores.items())}
    return Sweep(column, bound, thresholds, kept, {name: len(values) for name, values in sorted(scores.items())}, now)


def _kept(values: Floats, bound: str, thresholds: Floats) -> Floats:
    """The share of `values` that pass each threshold."""
    ordered = np.sort(values[~np.isnan(values)])
    if bound == "max":
        passed = np.searchsorted(ordered, thresholds, side="right")
    else:
        passed = len(ordered) - np.searchsorted(ordered, thresholds, side="left")
    return passed / max(len(values), 1)


def table(swept: Sweep, rows: int = 11) -> list[tuple[float, dict[str, float]]]:
    """Some thresholds, evenly spread, and the one that holds now, with the kept share of each family."""
    chosen = {*np.linspace(swept.thresholds[0], swept.thresholds[-1], rows).tolist()}
    chosen |= {swept.now} if swept.now is not None else set()
    return [(at, {family: share_at(swept, family, at) for family in swept.kept}) for at in sorted(chosen)]


def share_at(swept: Sweep, family: str, threshold: float) -> float:
    """The kept share of a family at a threshold; between two points of its curve on the line through them."""
    return float(np.interp(threshold, swept.thresholds, swept.kept[family]))


def plot(swept: Sweep, width: int = 72, height: int = 16) -> list[str]:
    """The curves as lines of text: a mark per family, `|` where the threshold stands now."""
    grid = [[" "] * width for _ in range(height)]
    places = np.linspace(swept.thresholds[0], swept.thresholds[-1], width)
    if swept.now is not None:
        for line in grid:
            line[int(np.abs(places - swept.now).argmin())] = "|"
    for mark, family in zip(_MARKS * len(swept.kept), swept.kept, strict=False):
        for at, threshold in enumerate(places):
            share = share_at(swept, family, float(threshold))
            grid[height - 1 - round(share * (height - 1))][at] = mark
    lines = [f"{_percent(row, height):>5} {''.join(line).rstrip()}" for row, line in enumerate(grid)]
    lines.append(" " * 6 + _axis(swept, width))
    marks = zip(_MARKS * len(swept.kept), swept.kept, strict=False)
    said = [f"{mark} {family} ({swept.texts[family]:,})" for mark, family in marks]
    now = [f"| now: {swept.now:g}"] if swept.now is not None else []
    return [*lines, " " * 6 + "   ".join([*said, *now])]


def _percent(row: int, height: int) -> str:
    return f"{100 * (height - 1 - row) / (height - 1):.0f}%" if row % 5 == 0 or row == height - 1 else ""


def _axis(swept: Sweep, width: int) -> str:
    low, high = f"{swept.thresholds[0]:.4g}", f"{swept.thresholds[-1]:.4g}"
    what = f"{swept.bound} {swept.column}"
    room = max(width - len(low) - len(high), len(what) + 2)
    return f"{low}{what:^{room}}{high}"


def as_json(swept: Sweep) -> dict[str, object]:
    """The curves as a JSON value."""
    return {
        "column": swept.column,
        "bound": swept.bound,
        "now": swept.now,
        "texts": dict(swept.texts),
        "thresholds": swept.thresholds.tolist(),
        "kept": {family: shares.tolist() for family, shares in swept.kept.items()},
    }


def scores_by_family(parts: Sequence[tuple[Sequence[str], Floats]]) -> dict[str, Floats]:
    """Scores of all batches by family. `parts`: the families and the scores of each batch."""
    found: dict[str, list[Floats]] = {}
    for families, values in parts:
        names = np.array(families, dtype=object)
        for family in dict.fromkeys(families):
            found.setdefault(family, []).append(values[names == family])
    return {family: np.concatenate(values) for family, values in found.items()}
