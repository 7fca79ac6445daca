"""`synth doctor`: is this installation, this home and this recipe fit for a run?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.text import Text

from flows.commands.home import home_of
from flows.display import console
from flows.doctor import Line, Patient, examine, of_error, report
from flows.recipe import Recipe, load
from flows.recipe_files import recipe_file
from flows.samples import visible
from synth.errors import RecipeError

_STYLES = {"ok": "green", "warning": "yellow", "broken": "red"}
_NAME_COLUMNS = 18
EXIT_BROKEN = 1


def main(options: argparse.Namespace) -> int:
    """Look. Exit codes: 0 nothing is broken (there may be warnings), 1 something is, 2 there is no such recipe."""
    recipe, wrong = _recipe(options)
    base = options.recipe.absolute().parent if options.recipe else Path()
    lines = [*wrong, *examine(Patient(home_of(options, recipe), recipe, base, options.network))]
    value = report(lines)
    if options.json:
        print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(lines)
        print(f"\n{value['ok']} ok, {value['warning']} warnings, {value['broken']} broken")
    return EXIT_BROKEN if value["broken"] else 0


def _recipe(options: argparse.Namespace) -> tuple[Recipe | None, list[Line]]:
    """The recipe; where it cannot be read, what is wrong with it: the rest is looked at all the same."""
    if options.recipe is None:
        return None, []
    recipe_file(options.recipe)  # none of this name: a slip of the hand, not an illness
    try:
        return load(options.recipe, options.assignments), []
    except RecipeError as error:
        return None, [of_error("recipe", error)]


def _print(lines: Sequence[Line]) -> None:
    out = console()
    for line in lines:
        text = Text(f"{line.state:<8}", _STYLES[line.state]).append(
            f" {visible(line.name):<{_NAME_COLUMNS}} ", "default"
        )
        out.print(text.append(visible(line.found), "default"), soft_wrap=True)
        if line.do:
            out.print(Text(f"{'':<8} {'':<{_NAME_COLUMNS}} do: {visible(line.do)}"), soft_wrap=True)
