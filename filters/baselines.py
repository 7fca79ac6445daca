"""What a quality model must be better than: the length of a text, and its words without their order. And how better is told.

All scores are float64 arrays, larger is better; NaN (unscorable) ranks below everything, as a gate treats it. `positive`
says which texts are good ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LENGTH_BINS = 20
UNIGRAM_TEXTS = 40_000  # read for the unigram baseline, the first ones in the order of their digests
RESAMPLES = 1000
LEVEL = 0.95  # of the bootstrap's interval
RELIABILITY_BINS = 10


def auc(scores: Floats, positive: Flags, weights: Floats | None = None) -> float:
    """The chance that a good text scores above a bad one, ties counted half. NaN where there are not both kinds."""
    return _Ranked(scores, positive).auc(np.ones(len(scores)) if weights is None else weights)


class _Ranked:
    """Scores put in order once, so that many weightings of the texts cost one pass each."""

    def __init__(self, scores: Floats, positive: Flags) -> None:
        filled = np.where(np.isnan(scores), -np.inf, scores)
        self._order = np.argsort(filled, kind="stable")
        ordered = filled[self._order]
        self._good = positive[self._order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, int)

    def auc(self, weights: Floats) -> float:
        if not len(self._starts):
            return float("nan")
        ordered = weights[self._order]
        good = np.add.reduceat(np.where(self._good, ordered, 0.0), self._starts)
        bad = np.add.reduceat(np.where(self._good, 0.0, ordered), self._starts)
        pairs = good.sum() * bad.sum()
        below = np.cumsum(bad) - bad
        return float((good * (below + bad / 2)).sum() / pairs) if pairs else float("nan")


def intervals(scores: Mapping[str, Floats], positive: Flags, roots: Sequence[str]) -> dict[str, dict[str, float]]:
    """For each name its AUC with a bootstrap interval, and for all but the first (the model) how far the model is above it.

    Whole roots are drawn, because siblings resemble each other; the same draws serve all names, so that differences are
    paired. Deterministic.
    """
    _, root_of = np.unique(np.asarray(roots, dtype=object).astype(str), return_inverse=True)
    ranked = {name: _Ranked(values, positive) for name, values in scores.items()}
    generator = np.random.Generator(np.random.PCG64(0))
    count = int(root_of.max()) + 1 if len(root_of) else 0
    drawn: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(RESAMPLES if count else 0):
        times = np.bincount(generator.integers(0, count, count), minlength=count).astype(np.float64)
        for name, one in ranked.items():
            drawn[name].append(one.auc(times[root_of]))
    model = next(iter(scores))
    found = {}
    for name, values in scores.items():
        own = auc(values, positive)
        found[name] = {"auc": own, **_bounds(drawn[name], "auc")}
        if name != model:
            gains = np.asarray(drawn[model]) - np.asarray(drawn[name])
            found[name] |= {"gain": auc(scores[model], positive) - own, **_bounds(gains, "gain")}
    return found


def _bounds(values: Sequence[float] | Floats, name: str) -> dict[str, float]:
    tail = (1 - LEVEL) / 2
    known = np.asarray(values)[~np.isnan(values)]
    low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else (np.nan, np.nan)
    return {f"{name}_low": float(low), f"{name}_high": float(high)}


def length_scores(train: Sequence[str], good: Flags, held_out: Sequence[str]) -> dict[str, Floats]:
    """What can be told from length alone: by bytes and by words, each once as it is (longer is better, or shorter, as the
    training texts say) and once as the share of good ones among training texts of about that length."""
    found = {}
    for name, measure in (("bytes", _bytes), ("words", _words)):
        known, asked = measure(train), measure(held_out)
        found[name] = asked if auc(known, good) >= 0.5 else -asked
        found[f"{name}_bins"] = _by_bins(known, good, asked)
    return found


def _bytes(texts: Sequence[str]) -> Floats:
    return np.array([len(text.encode()) for text in texts], np.float64)


def _words(texts: Sequence[str]) -> Floats:
    return np.array([len(text.split()) for text in texts], np.float64)


def _by_bins(known: Floats, good: Flags, asked: Floats) -> Floats:
    """The share of good ones in the bin that a length falls into, drawn to the share of all as if by two further texts."""
    edges = np.unique(np.quantile(known, np.linspace(0, 1, LENGTH_BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, known, side="right")
    size = np.bincount(bins, minlength=len(edges) + 1)
    hits = np.bincount(bins, weights=good.astype(np.float64), minlength=len(edges) + 1)
    shares = (hits + 2 * good.mean()) / (size + 2)
    return np.asarray(shares[np.searchsorted(edges, asked, side="right")], np.float64)


def unigram_scores(train: Sequence[str], good: Flags, held_out: Sequence[str]) -> Floats:
    """Naive Bayes on words as fastText splits them: the mean over a text's known words of the log ratio of their smoothed
    frequencies in good and bad training texts. NaN for a text of which no word is known."""
    counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for text, is_good in islice(zip(train, good, strict=True), UNIGRAM_TEXTS):
        counts[int(is_good)].update(text.split())
    words = {word: number for number, word in enumerate(sorted(counts[0].keys() | counts[1].keys()))}
    frequencies = []
    for count in counts:
        seen = np.array([count[word] for word in words], np.float64)
        frequencies.append((seen + 1) / (seen.sum() + len(words)))
    ratios = np.log(frequencies[1]) - np.log(frequencies[0])
    return np.array([_mean(ratios, [words[word] for word in text.split() if word in words]) for text in held_out])


def _mean(ratios: Floats, numbers: list[int]) -> float:
    return float(ratios[numbers].mean()) if numbers else float("nan")


def reliability(scores: Floats, positive: Flags) -> list[dict[str, Any]]:
    """Of the texts in each tenth of the score: how many, the mean score, and the share that is good. Empty tenths too."""
    known = ~np.isnan(scores)
    bins = np.minimum((scores[known] * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    table = []
    for number in range(RELIABILITY_BINS):
        mine = bins == number
        texts = int(mine.sum())
        table.append(
            {
                "from": number / RELIABILITY_BINS,
                "to": (number + 1) / RELIABILITY_BINS,
                "texts": texts,
                "predicted": float(scores[known][mine].mean()) if texts else None,
                "observed": float(positive[known][mine].mean()) if texts else None,
            }
        )
    return table


def at_thresholds(scores: Floats, positive: Flags, thresholds: Sequence[float]) -> list[dict[str, Any]]:
    """What a gate `min = threshold` would do: the share it keeps, how many of those are good, how many good ones it keeps."""
    table = []
    for threshold in thresholds:
        kept = scores >= threshold  # NaN is never
        hits, all_kept = int((kept & positive).sum()), int(kept.sum())
        table.append(
            {
                "threshold": threshold,
                "kept": all_kept / len(scores),
                "precision": hits / all_kept if all_kept else None,
                "recall": hits / max(int(positive.sum()), 1),
            }
        )
    return table


def flip_share(one: Floats, other: Floats, threshold: float) -> float:
    """The share of pairs of which a gate `min = threshold` keeps one text and drops the other. NaN without pairs."""
    return float(((one >= threshold) != (other >= threshold)).mean()) if len(one) else float("nan")


def shortest_between(low: float, high: float) -> float:
    """The decimal of fewest digits in (low, high]: a threshold that a person can write down and that keeps exactly what
    `high` would. `high` itself when nothing shorter lies there."""
    for digits in range(18):
        scale = 10.0**digits
        candidate = float(f"{np.floor(high * scale) / scale:.{digits}f}")
        if low < candidate <= high:
            return candidate
    return high
