"""Which seeds a family works on: those of the quality that it is for, and of them a share or a weight, by hash."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from synth.config import Config
from synth.digest import hash_share
from synth.rows import Seed

OWN_QUALITY = "quality"
"""The seed's own column, as its source gives it; every other column is a score of the screen."""


class Route(Config):
    """Seeds by one score: low-quality text is cleaned or rewritten, good text restructured (Nemotron-CC, REWIRE)."""

    column: str = Field(
        OWN_QUALITY,
        description="The seed's own `quality`, or a score that a rule of [screen] writes, such as quality_score.",
    )
    min: float | None = Field(None, description="The smallest score that is taken, in the score's unit.")
    below: float | None = Field(None, description="Scores from this one on are not taken, in the score's unit.")
    missing: Literal["take", "leave"] = Field("leave", description="What happens to a seed without this score.")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is None and self.below is None:
            raise ValueError("min, below or both")
        return self

    def takes(self, score: float | None) -> bool:
        """Whether a seed of this score is for the family."""
        if score is None or math.isnan(score):
            return self.missing == "take"
        return (self.min is None or score >= self.min) and (self.below is None or score < self.below)


class Rival(Config):
    """A family that competes for seeds: its weight in seeds, and its route."""

    family: str
    weight: float
    route: Route | None


def chosen(
    family: str,
    seeds: Sequence[Seed],
    scores: Mapping[str, Mapping[str, float | None]],
    share: float,
    route: Route | None,
    rivals: Sequence[Rival],
) -> list[Seed]:
    """The seeds that the family works on. `scores` maps a column of the screen to scores by seed id.

    With `rivals` (itself among them) each seed goes to exactly one of those that take it, in proportion to their weights;
    a changed weight moves only the seeds that it must (weighted rendezvous hashing).
    """

    def takes(one: Route | None, seed: Seed) -> bool:
        if one is None:
            return True
        return one.takes(seed.quality if one.column == OWN_QUALITY else scores[one.column].get(seed.id))

    def wins(seed: Seed) -> bool:
        there = [rival for rival in rivals if takes(rival.route, seed)]
        return min(there, key=lambda rival: _distance(rival, seed)).family == family

    taken = [seed for seed in seeds if takes(route, seed)]
    if rivals:
        return [seed for seed in taken if wins(seed)]
    return [seed for seed in taken if hash_share("family", family, seed.id) < share]


def _distance(rival: Rival, seed: Seed) -> float:
    """An exponential draw with the rate `weight`: the smallest of several is each one's with probability ~ weight."""
    return -math.log(1.0 - hash_share("family", rival.family, seed.id)) / rival.weight
