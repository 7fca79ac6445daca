"""Whether the models that answered for partitions which an earlier run left open are still the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from synth.engine.journal import models_of
from synth.errors import RecipeError, fail


def refuse_changed_models(journals: Iterable[Path], identities: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to go on when a model is another one than when the partitions of these journals were begun.

    `identities` by the names that the recipe gives its models now. The old answers would stay paid for and unused, and
    the partition would be written by two models.
    """
    changed: dict[str, tuple[Mapping[str, Any], int]] = {}
    for path in journals:
        for name, identity in (models_of(path) or {}).items():
            if name in identities and identity != identities[name]:
                changed[name] = (identity, changed.get(name, ({}, 0))[1] + 1)
    if changed:
        lines = [
            f"models.{name}: it changed while {count} partition{'s are' if count > 1 else ' is'} open, "
            f"half answered by the one before: {_difference(before, identities[name])}"
            for name, (before, count) in sorted(changed.items())
        ]
        raise fail(
            RecipeError,
            "\n".join(lines),
            allowed="the model that began them",
            do="change it back to finish them; or add --new-model: the answers stay recorded, and what the new model is "
            "asked is paid for",
        )


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return ", ".join(f"{name} was {_shown(before.get(name))}, is {_shown(now.get(name))}" for name in names)


def _shown(value: Any) -> str:
    return "not set" if value is None else f"{str(value)[:16]}…" if len(str(value)) > 24 else str(value)
