"""What is tried for one ask, and in which order: the retry ladder within a model, the cascade over models.

A pure function of the role and of what came so far, so that a run that was killed goes on at the very step it was at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from synth.ask import Outcome
from synth.engine.roles import RoleConfig, Rung

Verdict = Literal["accepted", "not_accepted"] | Outcome
_GROWTH = 2  # of token budgets, per `larger_budget`


@dataclass(frozen=True, slots=True)
class Step:
    """One question to one model. `model` counts from 0 in the role's list; `growth` multiplies the token budgets; `sample`
    counts what is sampled anew: with a larger budget the same sample goes on where it was cut."""

    number: int = 0
    model: int = 0
    rung: Literal["first"] | Rung = "first"
    growth: int = 1
    thinking: bool = True
    sample: int = 0


def after(role: RoleConfig, sampling: dict[str, Any], steps: Sequence[Step], verdict: Verdict) -> Step | None:
    """The step that follows the last of `steps`, whose answer got `verdict`; None when that answer stands.

    `sampling` is the ask's own, merged. An accepted answer stands; one that the family does not accept goes to the next
    model of a cascade.
    """
    last = steps[-1]
    if verdict == "accepted":
        return None
    wanted: list[Rung] = [] if verdict == "not_accepted" else list(role.retry.get(verdict, ()))
    if role.choose == "cascade":
        wanted.append("next_model")
    used = {step.rung for step in steps if step.model == last.model}
    for rung in wanted:
        if rung == "next_model":
            if last.model + 1 < len(role.models):
                return Step(last.number + 1, last.model + 1, rung)
        elif rung not in used and (rung != "thinking_off" or (last.thinking and sampling["thinking_tokens"])):
            growth = last.growth * (_GROWTH if rung == "larger_budget" else 1)
            thinking = last.thinking and rung != "thinking_off"
            return Step(last.number + 1, last.model, rung, growth, thinking, last.sample + (rung == "again"))
    return None


def replay(role: RoleConfig, sampling: dict[str, Any], verdicts: Sequence[Verdict]) -> list[Step]:
    """The steps of an ask of which `verdicts` are known: one more than those, or as many when the last one stands."""
    steps = [Step()]
    for verdict in verdicts:
        following = after(role, sampling, steps, verdict)
        if following is None:
            break
        steps.append(following)
    return steps


def spent_sampling(sampling: dict[str, Any], step: Step) -> dict[str, Any]:
    """The ask's sampling as this step sends it."""
    return {
        **sampling,
        "max_tokens": sampling["max_tokens"] * step.growth,
        "thinking_tokens": sampling["thinking_tokens"] * step.growth if step.thinking else 0,
    }
