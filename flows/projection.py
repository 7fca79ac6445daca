"""What a whole job will take, from what some of its seeds took: a point and a range per amount. Numbers alone, no home.

The range is Student's t over seeds: a seed is drawn, all that families made of it comes with it, so its amounts move
together. Two imagined seeds beside those of each family keep the range open where all seen were alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

CONFIDENCE = 0.9
AMOUNTS = (
    "asks",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "documents",
    "kept",
    "kept_tokens",
)
"""What is projected and shown. `completion_tokens` are all that is written and paid, thoughts included."""

_MOST = {"kept": "documents", "kept_tokens": "written_tokens"}  # what would be if nothing were dropped
_UNLIKE = 0.25  # the imagined seeds of what is spent lie this share below and above the mean; so may a copy
_REACH = 3.0  # of logarithms: twenty times the point is as good as unknown
_Z = 1.6448536269514722  # 95% of a normal distribution lie below
_T = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)  # the same of Student's t, 1 to 10 degrees


@dataclass(frozen=True)
class Range:
    """An expected amount and the bounds of its range; bounds are None where nothing can be said (one seed has no spread)."""

    point: float
    low: float | None
    high: float | None

    def value(self, digits: int | None = None) -> dict[str, float | None]:
        """As a JSON value, rounded to whole numbers or to `digits`."""
        parts = {"expected": self.point, "low": self.low, "high": self.high}
        return {name: None if one is None else round(float(one), digits) for name, one in parts.items()}


@dataclass(frozen=True)
class Sample:
    """What one family made of some seeds: for each amount a value per seed. `weights`: how many seeds of the job each
    seed stands for, up to a factor."""

    seeds: Sequence[str]
    amounts: Mapping[str, Values]
    weights: Values = field(default_factory=lambda: np.ones(0))

    def column(self, name: str) -> Values:
        """The amount of each seed; zeros where it never came up."""
        return self.amounts.get(name, np.zeros(len(self.seeds)))

    def shares(self) -> Values:
        """The weights, summing to one."""
        weights = self.weights if len(self.weights) else np.ones(len(self.seeds))
        return np.asarray(weights / weights.sum(), dtype=np.float64)

    def mean(self, name: str) -> float:
        """The amount of a seed, on average."""
        return float((self.shares() * self.column(name)).sum())


@dataclass(frozen=True)
class Load:
    """How many seeds a family will work on in the job, and the standard deviation of that number. `copies`: further seeds
    that are asked about and never kept (canaries), as a share; `copies_deviation` that of their number."""

    seeds: float
    deviation: float = 0.0
    copies: float = 0.0
    copies_deviation: float = 0.0

    def count(self, name: str) -> float:
        """The seeds that count for this amount."""
        return self.seeds if name in _MOST else self.seeds * (1.0 + self.copies)

    def spread(self, name: str) -> float:
        """The standard deviation of that number. A copy is longer than its seed, by a line that no sample shows."""
        if name in _MOST:
            return self.deviation
        return self.deviation * (1.0 + self.copies) + self.copies_deviation + self.seeds * self.copies * _UNLIKE


def quantile(degrees: float) -> float:
    """Below it lie 95% of Student's t distribution; so between minus and plus it lie 90%."""
    if degrees < 1:
        return math.inf
    if degrees <= len(_T):
        return _T[int(degrees) - 1]
    z = _Z  # Cornish and Fisher's expansion
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def project(samples: Mapping[str, Sample], loads: Mapping[str, Load], name: str, part_of_job: bool) -> Range:
    """The sum of one amount over the families' loads. `part_of_job`: the seeds of the samples are some of the job's own,
    so that all of them leave nothing uncertain; else the job's own seeds differ by chance, too."""
    names = [family for family in loads if family in samples and len(samples[family].seeds)]
    point = sum(loads[family].count(name) * samples[family].mean(name) for family in names)
    variance = _between_seeds(samples, loads, name, names, part_of_job)
    variance += sum(_unseen(samples[family], loads[family], name, part_of_job) for family in names)
    counts = sum(loads[family].spread(name) * samples[family].mean(name) for family in names)
    deviation = math.sqrt(variance + counts**2)
    if deviation == 0.0:
        return Range(point, point, point)
    reach = quantile(min(effective(samples[family]) for family in names) - 1) * deviation
    if math.isinf(reach):
        return Range(point, None, None)
    return Range(point, max(0.0, point - reach), _upper(samples, loads, name, point, reach))


def _between_seeds(
    samples: Mapping[str, Sample], loads: Mapping[str, Load], name: str, names: Iterable[str], part_of_job: bool
) -> float:
    """Variance of the sum because seeds differ. What several families made of one seed is added up before it is squared."""
    moved: dict[str, float] = {}
    seeds: set[str] = set()
    for family in names:
        sample, count = samples[family], loads[family].count(name)
        scale = count * math.sqrt(_finite(sample, loads[family], part_of_job))
        for seed, by in zip(
            sample.seeds, scale * sample.shares() * (sample.column(name) - sample.mean(name)), strict=True
        ):
            moved[seed] = moved.get(seed, 0.0) + float(by)
        seeds.update(sample.seeds)
    number = len(seeds)
    return sum(by**2 for by in moved.values()) * number / (number - 1) if number > 1 else 0.0


def _unseen(sample: Sample, load: Load, name: str, part_of_job: bool) -> float:
    """Variance because what was not seen may exist: two imagined seeds, with nothing and all kept, or asked less and more."""
    mean, number = sample.mean(name), effective(sample)
    imagined = (0.0, sample.mean(_MOST[name])) if name in _MOST else ((1 - _UNLIKE) * mean, (1 + _UNLIKE) * mean)
    spread = sum((one - mean) ** 2 for one in imagined) / ((number + 1) * number)
    return load.count(name) ** 2 * spread * _finite(sample, load, part_of_job)


def _finite(sample: Sample, load: Load, part_of_job: bool) -> float:
    """The share of the variance of a mean that stays: none when the job is the sample; more when it is another sample."""
    ratio = len(sample.seeds) / max(load.seeds, 1e-9)
    return max(0.0, 1.0 - ratio) if part_of_job else 1.0 + ratio


def effective(sample: Sample) -> float:
    """How many seeds of equal weight say as much as these (Kish)."""
    return float(1.0 / (sample.shares() ** 2).sum())


def _upper(samples: Mapping[str, Sample], loads: Mapping[str, Load], name: str, point: float, reach: float) -> float:
    """No more can be kept than is written. What is spent has rare large amounts, which few seeds seldom show: its upper bound
    is taken on the scale of logarithms."""
    if name not in _MOST:
        return point * math.exp(min(_REACH, reach / point)) if point else reach
    names = [family for family in loads if family in samples and len(samples[family].seeds)]
    most = sum((loads[one].seeds + 2 * loads[one].deviation) * samples[one].mean(_MOST[name]) for one in names)
    return min(point + reach, most)


def plus(*ranges: Range) -> Range:
    """The sum of amounts that may be large and small together."""
    lows, highs = [one.low for one in ranges], [one.high for one in ranges]
    return Range(
        sum(one.point for one in ranges),
        None if None in lows else sum(filter(None, lows)),
        None if None in highs else sum(filter(None, highs)),
    )


def minus(one: Range, by: float) -> Range:
    """An amount of which a part is there already."""
    low, high = (None if bound is None else max(0.0, bound - by) for bound in (one.low, one.high))
    return Range(max(0.0, one.point - by), low, high)


def times(one: Range, by: float) -> Range:
    """An amount at a price."""
    return Range(one.point * by, None if one.low is None else one.low * by, None if one.high is None else one.high * by)
