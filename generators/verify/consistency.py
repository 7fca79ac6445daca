"""Self-consistency: what several solutions of one problem agree on (https://arxiv.org/abs/2203.11171), and how far they do.

Agreement is a label. Raising the bar on it drops the hard problems first, so a gate on it is the recipe's choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from generators.verify.equivalence import vote
from synth.rows import Finding

MOST = 0.5  # more than this share of the solutions is a majority


@dataclass(frozen=True, slots=True)
class Agreement:
    """The answers of several solutions, None where one gave none, and the group of each: same answers share a number."""

    answers: tuple[str | None, ...]
    groups: tuple[int | None, ...]

    @property
    def votes(self) -> dict[int, int]:
        """How many solutions each group has, the first group first."""
        return dict(Counter(group for group in self.groups if group is not None))

    @property
    def members(self) -> list[int]:
        """Places of the solutions in the largest group, the earliest of those equally large; [] where nobody answered."""
        votes = self.votes
        if not votes:
            return []
        winner = max(votes, key=lambda group: (votes[group], -group))
        return [place for place, group in enumerate(self.groups) if group == winner]

    @property
    def share(self) -> float:
        """Share of all solutions, those without an answer included, that are in the largest group."""
        return len(self.members) / len(self.answers) if self.answers else 0.0

    def finding(self, least: float = 0.0) -> Finding:
        """Rung `consistency`: failed where the share is below `least`, passed for a majority, else unsure."""
        outcome = "failed" if self.share < least else "passed" if self.share > MOST else "unsure"
        votes = {str(group): count for group, count in self.votes.items()}
        evidence = {"answers": list(self.answers), "groups": list(self.groups), "votes": votes}
        return Finding("consistency", outcome, "rule", self.share, evidence)


def agreement(answers: Sequence[str | None]) -> Agreement:
    """Group the answers of several solutions of one problem. None votes for nothing."""
    given = [place for place, answer in enumerate(answers) if answer is not None]
    groups: list[int | None] = [None] * len(answers)
    for place, group in zip(given, vote([answers[place] or "" for place in given]), strict=True):
        groups[place] = group
    return Agreement(tuple(answers), tuple(groups))
