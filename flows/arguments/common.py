"""What several commands share: the options of a recipe, of a home, of the form of the answer."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Commands = Any  # argparse's own name for it is private


@dataclass(frozen=True)
class Parents:
    """Parsers to name as `parents` of a command's own."""

    recipe: argparse.ArgumentParser  # RECIPE --set A.B=C
    home: argparse.ArgumentParser  # --home
    machine: argparse.ArgumentParser  # --json


def parents() -> Parents:
    """One of each."""
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument(
        "--home", help="the home: a folder or s3://bucket/prefix (default: SYNTH_HOME, the recipe's, or ./corpus)"
    )
    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument("--json", action="store_true", help="print JSON instead of a table")
    recipe = argparse.ArgumentParser(add_help=False)
    recipe.add_argument("recipe", type=Path, help="a recipe (.toml), or the name of a bundled one")
    recipe.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", dest="assignments", help="change a field of the recipe"
    )
    return Parents(recipe, home, machine)
