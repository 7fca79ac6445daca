"""Where every key of a recipe stands, for one that was written into the wrong table."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel

import filters.rules  # noqa: F401  (registers the bundled rules)
from filters.registry import rules
from generators.registry import families
from synth.config import Places
from synth.config_errors import model_in


@functools.cache
def places() -> Places:
    """Key -> dotted places. NAME stands for what a recipe names itself: a model, a role, a family."""
    from flows.recipe import Recipe  # which asks for the places when a recipe is wrong

    found: dict[str, dict[str, None]] = {}
    for dotted in [*_fields(Recipe, ""), *_options()]:
        found.setdefault(dotted.rsplit(".", 1)[-1], {})[dotted] = None
    return {name: tuple(several) for name, several in found.items()}


def _fields(kind: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        yield f"{prefix}{name}"
        inner = model_in(field.annotation)
        if inner is not None:
            yield from _fields(inner, f"{prefix}{name}.{'NAME.' if _is_named(field.annotation) else ''}")


def _is_named(annotation: Any) -> bool:
    """Whether the models inside are entries of a table or list, each with a name."""
    origin = get_origin(annotation)
    if origin in (dict, tuple):
        return True
    return any(_is_named(argument) for argument in get_args(annotation)) if origin else False


def _options() -> Iterator[str]:
    for family in families:
        for name in family.Options.model_fields:
            yield f"families.NAME.options.{name}"
    for rule in rules:
        for name in rule.Options.model_fields:
            yield f"score.rules.NAME.options.{name}"
