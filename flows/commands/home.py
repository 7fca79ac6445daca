"""Where the home is."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from flows.recipe import Recipe

DEFAULT_HOME = "corpus"


def home_of(options: argparse.Namespace, recipe: Recipe | None = None) -> Path:
    """--home, else SYNTH_HOME, else the recipe's run.home, else ./corpus."""
    if options.home:
        return Path(options.home)
    if os.environ.get("SYNTH_HOME"):
        return Path(os.environ["SYNTH_HOME"])
    return Path(recipe.run.home if recipe and recipe.run.home else DEFAULT_HOME)
